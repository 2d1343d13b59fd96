#include "server/rpc/reactors.h"

#include <chrono>
#include <utility>

#include "server/rpc/status_map.h"
#include "server/rpc/wire.h"

namespace ropeway::server {
namespace {

absl::Time DeadlineOf(const grpc::CallbackServerContext& call) {
  const auto deadline = call.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

}  // namespace

StreamReactor::StreamReactor(const FrontContext& context, const EngineHandle& engine,
                             grpc::CallbackServerContext& call)
    : call_(call),
      generation_(std::make_shared<Generation>(
          context, engine, Generation::Call{.method = "Generate", .deadline = DeadlineOf(call)}, this)) {}

bool StreamReactor::Write(v1::GenerateChunk chunk) {
  buffer_ = SerializeMessage(chunk);
  StartWrite(&buffer_);
  return false;
}

void StreamReactor::End(v1::GenerateChunk* last_chunk, const absl::Status& status) {
  AddRetryMetadata(status, call_);
  if (last_chunk == nullptr) return Finish(ToGrpcStatus(status));
  buffer_ = SerializeMessage(*last_chunk);
  StartWriteAndFinish(&buffer_, grpc::WriteOptions(), ToGrpcStatus(status));
}

UnaryReactor::UnaryReactor(const FrontContext& context, const EngineHandle& engine,
                           grpc::CallbackServerContext& call, grpc::ByteBuffer* response)
    : call_(call),
      response_buffer_(response),
      generation_(std::make_shared<Generation>(
          context, engine, Generation::Call{.method = "GenerateUnary", .deadline = DeadlineOf(call)}, this)) {
}

bool UnaryReactor::Write(v1::GenerateChunk chunk) {
  MergeChunk(std::move(chunk), response_);
  return true;
}

void UnaryReactor::End(v1::GenerateChunk* last_chunk, const absl::Status& status) {
  AddRetryMetadata(status, call_);
  if (last_chunk != nullptr) MergeChunk(std::move(*last_chunk), response_);
  if (status.ok()) *response_buffer_ = SerializeMessage(response_);
  Finish(ToGrpcStatus(status));
}

}  // namespace ropeway::server
