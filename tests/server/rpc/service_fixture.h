// The service over real gRPC, with an engine that says what the test tells it to say.
#ifndef ROPEWAY_TESTS_SERVER_RPC_SERVICE_FIXTURE_H_
#define ROPEWAY_TESTS_SERVER_RPC_SERVICE_FIXTURE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/grpcpp.h"
#include "prometheus/text_serializer.h"
#include "proto/google/rpc/error_details.pb.h"
#include "proto/google/rpc/status.pb.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "server/front/convert_chunk.h"
#include "server/rpc/rpc_server.h"
#include "server/rpc/service.h"
#include "server/rpc/status_map.h"
#include "tests/server/front/manual_engine.h"
#include "tests/server/front/test_front.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {

inline constexpr int64_t kMaxRequestBytes = 1 << 20;
inline constexpr absl::Duration kWriteTimeout = absl::Milliseconds(500);

class ServiceTest : public ::testing::Test {
 protected:
  ServiceTest() {
    service_ = MakeRopewayService(front_.context, kMaxRequestBytes);
    auto server = RpcServer::Start({.address = "127.0.0.1:0"}, *service_);
    EXPECT_OK(server);
    server_ = *std::move(server);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    channel_ = grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                         grpc::InsecureChannelCredentials(), arguments);
    stub_ = v1::Ropeway::NewStub(channel_);
    Serve();
  }

  ~ServiceTest() override { server_->Shutdown(absl::ZeroDuration()); }

  void Serve() {
    front_.context.engine = &front_.engine;
    front_.health.StartServing();
    server_->SetServing();
  }

  static v1::GenerateRequest Request(const std::string& text = "hi") {
    v1::GenerateRequest request;
    request.mutable_text()->set_text(text);
    return request;
  }

  // The last chunk of a request of one sample.
  static StreamChunk Last(const std::string& text, SampleEnd finish, absl::Status status = absl::OkStatus()) {
    return {.text = text,
            .finish = std::move(finish),
            .end = RequestEnd{.status = std::move(status),
                              .prompt_tokens = 3,
                              .completion_tokens = 6,
                              .receipt = {.queue = absl::Milliseconds(1),
                                          .prefill = absl::Milliseconds(2),
                                          .decode = absl::Milliseconds(3),
                                          .cached_tokens = 1,
                                          .recomputed_tokens = 2,
                                          .preemptions = 3}}};
  }
  static StreamChunk LastOfLength(const std::string& text = "a") {
    return Last(text, {.reason = FinishReason::kLength});
  }
  static StreamChunk LastOfCancelled() {
    return Last("", {.reason = FinishReason::kCancelled}, absl::CancelledError("the request was cancelled"));
  }

  // More than gRPC takes for a client that does not read.
  void SayMuch() {
    for (int i = 0; i < 8; ++i) {
      engine_.Say({.text = std::string(1 << 20, 'a')});
      absl::SleepFor(absl::Milliseconds(20));
    }
  }

  // All messages of a stream until its end.
  static std::vector<v1::GenerateChunk> ReadAll(grpc::ClientReader<v1::GenerateChunk>& reader) {
    std::vector<v1::GenerateChunk> chunks;
    for (v1::GenerateChunk chunk; reader.Read(&chunk);) chunks.push_back(chunk);
    return chunks;
  }

  static v1::GenerateResponse Merge(const std::vector<v1::GenerateChunk>& chunks) {
    v1::GenerateResponse response;
    for (const v1::GenerateChunk& chunk : chunks) MergeChunk(chunk, response);
    return response;
  }

  // As where the system's clock was set back by an hour since the server began.
  class HourAhead final : public Clock {
   public:
    absl::Time Now() const override { return real_.Now() + absl::Hours(1); }

   private:
    const RealClock real_{};
  };
  const HourAhead clock_{};
  testing::TestFront front_{
      {.clock = clock_, .admission = {.max_requests = 4}, .write_timeout = kWriteTimeout}};
  testing::ManualEngine engine_{front_.mailbox};
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Ropeway::Stub> stub_;
};

// Both ways of telling a client when to come again say the same.
inline void ExpectRetryInOneSecond(const grpc::ClientContext& call, const grpc::Status& status) {
  EXPECT_EQ(call.GetServerTrailingMetadata().count(kRetryMetadataKey), 1);
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), status.error_code());
  EXPECT_EQ(details.message(), status.error_message());
  google::rpc::RetryInfo retry;
  ASSERT_EQ(details.details_size(), 1);
  EXPECT_EQ(details.details(0).type_url(), "type.googleapis.com/google.rpc.RetryInfo");
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
}

inline double CallsOf(const Metrics& metrics, const std::string& method, const std::string& code) {
  const std::string text = prometheus::TextSerializer().Serialize(metrics.Collect());
  const std::string series = absl::StrCat("code=\"", code, "\",method=\"", method, "\"} ");
  const size_t found = text.find(series);
  return found == std::string::npos ? 0 : std::stod(text.substr(found + series.size()));
}

}  // namespace ropeway::server

#endif  // ROPEWAY_TESTS_SERVER_RPC_SERVICE_FIXTURE_H_
