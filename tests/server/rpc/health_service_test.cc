// Watches of health against a transport whose callbacks come in the order that a test wants.
#include "server/rpc/health_service.h"

#include <memory>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

namespace ropeway::server {
namespace {

using Response = HealthService::Response;
using Reactor = grpc::ServerWriteReactor<Response>;

// Keeps what a watch writes, and whether it ended.
class Transport final : public grpc::ServerCallbackWriter<Response> {
 public:
  explicit Transport(Reactor& reactor) : reactor_(reactor) { BindReactor(&reactor); }
  ~Transport() override { reactor_.OnDone(); }

  void Finish(grpc::Status) override { ++ends; }
  void SendInitialMetadata() override {}
  void Write(const Response* message, grpc::WriteOptions) override { written.push_back(message->status()); }
  void WriteAndFinish(const Response*, grpc::WriteOptions, grpc::Status) override { ++ends; }

  std::vector<Response::ServingStatus> written;
  int ends = 0;

 private:
  grpc::internal::ServerReactor* reactor() override { return &reactor_; }
  void CallOnDone() override {}

  Reactor& reactor_;
};

class HealthWatchTest : public ::testing::Test {
 protected:
  HealthService service_{{"ropeway.v1.Ropeway"}, nullptr};
  grpc::CallbackServerContext context_;
  const grpc::health::v1::HealthCheckRequest request_;
  Reactor& watch_ = *service_.Watch(&context_, &request_);
  Transport transport_{watch_};
};

TEST_F(HealthWatchTest, EachNewStateIsWrittenAfterTheLast) {
  service_.SetServing(true);
  EXPECT_EQ(transport_.written, std::vector({Response::NOT_SERVING}));
  watch_.OnWriteDone(true);
  EXPECT_EQ(transport_.written, std::vector({Response::NOT_SERVING, Response::SERVING}));
  watch_.OnWriteDone(true);
  EXPECT_EQ(transport_.ends, 0);
  watch_.OnCancel();
  EXPECT_EQ(transport_.ends, 1);
}

TEST_F(HealthWatchTest, OneThatIsCancelledDuringAWriteEndsWithIt) {
  for (const bool ok : {true, false}) {
    SCOPED_TRACE(ok);
    Reactor& watch = *service_.Watch(&context_, &request_);
    Transport transport(watch);
    watch.OnCancel();
    EXPECT_EQ(transport.ends, 0);
    watch.OnWriteDone(ok);
    EXPECT_EQ(transport.ends, 1);
    service_.SetServing(ok);
    EXPECT_EQ(transport.ends, 1);
    EXPECT_EQ(transport.written.size(), 1);
  }
  watch_.OnWriteDone(false);
}

}  // namespace
}  // namespace ropeway::server
