// Between gRPC's callbacks and the front.
//
// Each reactor frees itself in OnDone.
#ifndef ROPEWAY_SERVER_RPC_REACTORS_H_
#define ROPEWAY_SERVER_RPC_REACTORS_H_

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/front/call.h"
#include "server/front/generation.h"

namespace ropeway::server {

// The call as the front knows it.
Call CallOf(const char* method, grpc::CallbackServerContext& context, const Clock& clock);

// A stream of messages, one write in flight.
class GenerateReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                              public Generation::ResponseWriter {
 public:
  GenerateReactor(const FrontContext& context, const EngineHandle& engine, Call call,
                  grpc::CallbackServerContext& grpc_call);
  void Start(v1::GenerateRequest message, Admission::Permit permit) {
    generation_->Start(std::move(message), std::move(permit));
  }

  bool Write(v1::GenerateChunk chunk) override;
  void End(v1::GenerateChunk* last_chunk, const absl::Status& status) override;

  void OnWriteDone(bool ok) override { generation_->OnWritten(ok); }
  void OnCancel() override { generation_->OnCancel(); }
  void OnDone() override;

 private:
  grpc::CallbackServerContext& grpc_call_;
  grpc::ByteBuffer buffer_;  // gRPC's until OnWriteDone
  const std::shared_ptr<Generation> generation_;
};

// One answer at the end.
class GenerateUnaryReactor final : public grpc::ServerUnaryReactor, public Generation::ResponseWriter {
 public:
  GenerateUnaryReactor(const FrontContext& context, const EngineHandle& engine, Call call,
                       grpc::CallbackServerContext& grpc_call, grpc::ByteBuffer* response);
  void Start(v1::GenerateRequest message, Admission::Permit permit) {
    generation_->Start(std::move(message), std::move(permit));
  }

  bool Write(v1::GenerateChunk chunk) override;
  void End(v1::GenerateChunk* last_chunk, const absl::Status& status) override;

  void OnCancel() override { generation_->OnCancel(); }
  void OnDone() override;

 private:
  grpc::CallbackServerContext& grpc_call_;
  grpc::ByteBuffer* const response_buffer_;
  v1::GenerateResponse response_;
  const std::shared_ptr<Generation> generation_;
};

// A call that is answered once, by a message or an error.
class AnswerReactor final : public grpc::ServerUnaryReactor {
 public:
  AnswerReactor(const FrontContext& context, Call call, grpc::CallbackServerContext& grpc_call,
                grpc::ByteBuffer* response)
      : context_(context), call_(std::move(call)), grpc_call_(grpc_call), response_(response) {}

  const Call& call() const { return call_; }
  bool given_up() const { return grpc_call_.IsCancelled(); }

  // To be called once, by any thread.
  void Answer(const absl::StatusOr<grpc::ByteBuffer>& result);

  void OnDone() override;

 private:
  const FrontContext& context_;
  const Call call_;
  grpc::CallbackServerContext& grpc_call_;
  grpc::ByteBuffer* const response_;
  WriteWatchdog::Ticket write_ = WriteWatchdog::kNone;
};

// A stream that is refused before it begins.
class RefusedStreamReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  RefusedStreamReactor(const absl::Status& status, grpc::CallbackServerContext& grpc_call);
  void OnDone() override { delete this; }
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_RPC_REACTORS_H_
