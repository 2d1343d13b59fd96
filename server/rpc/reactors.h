// The reactors of the generating calls: between gRPC's callbacks and a Generation.
//
// Each frees itself in OnDone.
#ifndef ROPEWAY_SERVER_RPC_REACTORS_H_
#define ROPEWAY_SERVER_RPC_REACTORS_H_

#include <memory>

#include "grpcpp/impl/codegen/server_callback.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/front/generation.h"

namespace ropeway::server {

// A stream of messages, one write in flight.
class StreamReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                            public Generation::ResponseWriter {
 public:
  StreamReactor(const FrontContext& context, const EngineHandle& engine, grpc::CallbackServerContext& call);
  void Start(v1::GenerateRequest message, Admission::Permit permit) {
    generation_->Start(std::move(message), std::move(permit));
  }

  bool Write(v1::GenerateChunk chunk) override;
  void End(v1::GenerateChunk* last_chunk, const absl::Status& status) override;

  void OnWriteDone(bool ok) override { generation_->OnWritten(ok); }
  void OnCancel() override { generation_->OnCancel(); }
  void OnDone() override { delete this; }

 private:
  grpc::CallbackServerContext& call_;
  grpc::ByteBuffer buffer_;  // gRPC's until OnWriteDone
  const std::shared_ptr<Generation> generation_;
};

// One answer at the end.
class UnaryReactor final : public grpc::ServerUnaryReactor, public Generation::ResponseWriter {
 public:
  UnaryReactor(const FrontContext& context, const EngineHandle& engine, grpc::CallbackServerContext& call,
               grpc::ByteBuffer* response);
  void Start(v1::GenerateRequest message, Admission::Permit permit) {
    generation_->Start(std::move(message), std::move(permit));
  }

  bool Write(v1::GenerateChunk chunk) override;
  void End(v1::GenerateChunk* last_chunk, const absl::Status& status) override;

  void OnCancel() override { generation_->OnCancel(); }
  void OnDone() override { delete this; }

 private:
  grpc::CallbackServerContext& call_;
  grpc::ByteBuffer* const response_buffer_;
  v1::GenerateResponse response_;
  const std::shared_ptr<Generation> generation_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_RPC_REACTORS_H_
