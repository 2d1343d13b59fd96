#include "server/rpc/reactors.h"

#include <chrono>
#include <string>
#include <utility>

#include "grpc/grpc.h"
#include "server/rpc/status_map.h"
#include "server/rpc/wire.h"

namespace ropeway::server {
namespace {

// gRPC tells it by the system's clock, which may have been set since the server began.
absl::Time DeadlineOf(const grpc::CallbackServerContext& context, const Clock& clock) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return clock.Now() + (absl::FromChrono(deadline) - absl::Now());
}

}  // namespace

Call CallOf(const char* method, grpc::CallbackServerContext& context, const Clock& clock) {
  grpc_call_ref(context.c_call());
  const std::shared_ptr<grpc_call> kept(context.c_call(), &grpc_call_unref);
  return {.method = method,
          .connection = context.peer(),
          .arrival = clock.Now(),
          .deadline = DeadlineOf(context, clock),
          .cut = [kept](const absl::Status& status) {
            grpc_call_cancel_with_status(kept.get(), static_cast<grpc_status_code>(status.code()),
                                         std::string(status.message()).c_str(), nullptr);
          }};
}

GenerateReactor::GenerateReactor(const FrontContext& context, const EngineHandle& engine, Call call,
                                 grpc::CallbackServerContext& grpc_call)
    : grpc_call_(grpc_call),
      generation_(std::make_shared<Generation>(context, engine, std::move(call), this)) {}

bool GenerateReactor::Write(v1::GenerateChunk chunk) {
  buffer_ = SerializeMessage(chunk);
  StartWrite(&buffer_);
  return false;
}

void GenerateReactor::End(v1::GenerateChunk* last_chunk, const absl::Status& status) {
  AddRetryMetadata(status, grpc_call_);
  if (last_chunk == nullptr) return Finish(ToGrpcStatus(status));
  buffer_ = SerializeMessage(*last_chunk);
  StartWriteAndFinish(&buffer_, grpc::WriteOptions(), ToGrpcStatus(status));
}

void GenerateReactor::OnDone() {
  generation_->OnClosed();
  delete this;
}

GenerateUnaryReactor::GenerateUnaryReactor(const FrontContext& context, const EngineHandle& engine, Call call,
                                           grpc::CallbackServerContext& grpc_call, grpc::ByteBuffer* response)
    : grpc_call_(grpc_call),
      response_buffer_(response),
      generation_(std::make_shared<Generation>(context, engine, std::move(call), this)) {}

bool GenerateUnaryReactor::Write(v1::GenerateChunk chunk) {
  MergeChunk(std::move(chunk), response_);
  return true;
}

void GenerateUnaryReactor::End(v1::GenerateChunk* last_chunk, const absl::Status& status) {
  AddRetryMetadata(status, grpc_call_);
  if (last_chunk != nullptr) MergeChunk(std::move(*last_chunk), response_);
  if (status.ok()) *response_buffer_ = SerializeMessage(response_);
  Finish(ToGrpcStatus(status));
}

void GenerateUnaryReactor::OnDone() {
  generation_->OnClosed();
  delete this;
}

void AnswerReactor::Answer(const absl::StatusOr<grpc::ByteBuffer>& result) {
  const absl::Status status = WithRetryHint(result.status());
  RecordEnd(context_, call_, status);
  AddRetryMetadata(status, grpc_call_);
  if (result.ok()) *response_ = *result;
  write_ = context_.write_watchdog.Begin([cut = call_.cut, timeout = context_.write_watchdog.timeout()] {
    cut(absl::ResourceExhaustedError(
        absl::StrCat("the answer was not read for ", absl::FormatDuration(timeout))));
  });
  Finish(ToGrpcStatus(status));
}

void AnswerReactor::OnDone() {
  context_.write_watchdog.End(write_);
  delete this;
}

RefusedStreamReactor::RefusedStreamReactor(const absl::Status& status,
                                           grpc::CallbackServerContext& grpc_call) {
  AddRetryMetadata(status, grpc_call);
  Finish(ToGrpcStatus(status));
}

}  // namespace ropeway::server
