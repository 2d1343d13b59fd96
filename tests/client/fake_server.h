// A server of the wire contract whose answers a test writes, on a free port of the loopback interface.
#ifndef ROPEWAY_TESTS_CLIENT_FAKE_SERVER_H_
#define ROPEWAY_TESTS_CLIENT_FAKE_SERVER_H_

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"

namespace ropeway::client {

// Handlers are set before the first call that uses them and run on gRPC's threads, one call at a time in
// these tests. A method without a handler answers UNIMPLEMENTED.
class FakeServer final : public v1::Ropeway::Service {
 public:
  using Writer = grpc::ServerWriter<v1::GenerateChunk>;

  // `max_request_bytes`: of a message; -1 takes every size.
  explicit FakeServer(int max_request_bytes = -1, std::shared_ptr<grpc::ServerCredentials> credentials =
                                                      grpc::InsecureServerCredentials()) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", std::move(credentials), &port_);
    builder.SetMaxReceiveMessageSize(max_request_bytes);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeServer() override { server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1)); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  void SetServing(bool serving) { server_->GetHealthCheckService()->SetServingStatus(serving); }

  std::function<grpc::Status(grpc::ServerContext&, const v1::GenerateRequest&, Writer&)> generate;
  std::function<grpc::Status(const v1::EstimateRequest&, v1::EstimateResponse&)> estimate;
  std::function<grpc::Status(const v1::TokenizeRequest&, v1::TokenizeResponse&)> tokenize;
  std::function<grpc::Status(const v1::DetokenizeRequest&, v1::DetokenizeResponse&)> detokenize;
  std::function<grpc::Status(const v1::RenderChatRequest&, v1::RenderChatResponse&)> render_chat;
  std::function<grpc::Status(const v1::GetModelInfoRequest&, v1::GetModelInfoResponse&)> get_model_info;
  std::function<grpc::Status(const v1::GetServerInfoRequest&, v1::GetServerInfoResponse&)> get_server_info;
  std::function<grpc::Status(const v1::AbortRequest&, v1::AbortResponse&)> abort;

 private:
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        Writer* writer) override {
    return generate ? generate(*context, *request, *writer) : Missing();
  }
  grpc::Status Estimate(grpc::ServerContext*, const v1::EstimateRequest* request,
                        v1::EstimateResponse* response) override {
    return estimate ? estimate(*request, *response) : Missing();
  }
  grpc::Status Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    return tokenize ? tokenize(*request, *response) : Missing();
  }
  grpc::Status Detokenize(grpc::ServerContext*, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override {
    return detokenize ? detokenize(*request, *response) : Missing();
  }
  grpc::Status RenderChat(grpc::ServerContext*, const v1::RenderChatRequest* request,
                          v1::RenderChatResponse* response) override {
    return render_chat ? render_chat(*request, *response) : Missing();
  }
  grpc::Status GetModelInfo(grpc::ServerContext*, const v1::GetModelInfoRequest* request,
                            v1::GetModelInfoResponse* response) override {
    return get_model_info ? get_model_info(*request, *response) : Missing();
  }
  grpc::Status GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest* request,
                             v1::GetServerInfoResponse* response) override {
    return get_server_info ? get_server_info(*request, *response) : Missing();
  }
  grpc::Status Abort(grpc::ServerContext*, const v1::AbortRequest* request,
                     v1::AbortResponse* response) override {
    return abort ? abort(*request, *response) : Missing();
  }
  static grpc::Status Missing() { return {grpc::StatusCode::UNIMPLEMENTED, "no handler"}; }

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// A chunk of sample `sample` with one token.
inline v1::GenerateChunk Chunk(const std::string& text, int32_t token_id, int32_t sample = 0) {
  v1::GenerateChunk chunk;
  chunk.set_text(text);
  chunk.add_token_ids(token_id);
  chunk.set_sample(sample);
  return chunk;
}

// `chunk` as the last of its sample.
inline v1::GenerateChunk Last(v1::GenerateChunk chunk, v1::FinishReason reason) {
  chunk.mutable_finish()->set_reason(reason);
  chunk.mutable_usage()->set_prompt_tokens(3);
  chunk.mutable_usage()->set_completion_tokens(2);
  chunk.mutable_receipt()->set_seed(7);
  return chunk;
}

}  // namespace ropeway::client

#endif  // ROPEWAY_TESTS_CLIENT_FAKE_SERVER_H_
