#include "engine/exec/cuda/upload_ring.h"

#include <utility>

#include "engine/base/check.h"
#include "engine/base/exhaustion.h"
#include "engine/base/status_macros.h"

namespace ropeway {

absl::StatusOr<std::unique_ptr<UploadRing>> UploadRing::Make(cuda::Runtime& runtime,
                                                             const UploadRingOptions& options) {
  ROPEWAY_CHECK(options.buffers >= 1);
  std::unique_ptr<UploadRing> ring(new UploadRing(runtime, options));
  RETURN_IF_ERROR(ring->AddBuffer());
  return ring;
}

absl::Status UploadRing::AddBuffer() {
  ASSIGN_OR_RETURN(CudaMemory memory, CudaMemory::Make(runtime_, MemoryKind::kPinned, options_.buffer_bytes,
                                                       "weights on their way to the device"));
  Buffer& buffer = *buffers_.emplace_back(std::make_unique<Buffer>());
  buffer.memory = std::move(memory);
  RETURN_IF_ERROR(CudaStatus(runtime_, runtime_.CreateStream(&buffer.stream), "creating a stream"));
  free_.push_back(&buffer);
  return absl::OkStatus();
}

// One buffer is enough: where there is no memory for more, those that there are must do.
absl::Status UploadRing::TryToAddBuffer() {
  absl::Status status = AddBuffer();
  if (!absl::IsResourceExhausted(status)) return status;
  most_buffers_ = static_cast<int>(buffers_.size());
  return absl::OkStatus();
}

// After an error, too, copies may be under way from memory that is given back here.
UploadRing::~UploadRing() {
  for (const auto& buffer : buffers_) {
    if (buffer->stream.native == nullptr) continue;
    runtime_.Synchronize(buffer->stream);
    runtime_.DestroyStream(buffer->stream);
  }
}

absl::Status UploadRing::Put(Piece piece) {
  for (const Run& run : piece.runs)
    ROPEWAY_CHECK(run.offset >= 0 && run.bytes >= 0 && run.offset + run.bytes <= options_.buffer_bytes);
  ASSIGN_OR_RETURN(Buffer* const buffer, FreeBuffer());
  buffer->piece = std::move(piece);
  ++with_helpers_;
  absl::MutexLock lock(&mutex_);
  to_fill_.push_back(buffer);
  return absl::OkStatus();
}

absl::Status UploadRing::Finish() {
  while (with_helpers_ > 0 || !copying_.empty()) RETURN_IF_ERROR(FreeOne());
  return absl::OkStatus();
}

absl::StatusOr<UploadRing::Buffer*> UploadRing::FreeBuffer() {
  RETURN_IF_ERROR(CopyFilled());
  if (free_.empty() && static_cast<int>(buffers_.size()) < most_buffers_) RETURN_IF_ERROR(TryToAddBuffer());
  while (free_.empty()) RETURN_IF_ERROR(FreeOne());
  Buffer* const buffer = free_.back();
  free_.pop_back();
  return buffer;
}

// Goes on until a buffer has become free; there is one that is not.
absl::Status UploadRing::FreeOne() {
  while (copying_.empty()) {
    {
      const auto filled = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !filled_.empty(); };
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&filled));
    }
    RETURN_IF_ERROR(CopyFilled());
  }
  Buffer* const oldest = copying_.front();
  RETURN_IF_ERROR(
      CudaStatus(runtime_, runtime_.Synchronize(oldest->stream), "copying weights to the device"));
  copying_.pop_front();
  free_.push_back(oldest);
  return CopyFilled();
}

absl::Status UploadRing::CopyFilled() {
  std::deque<Buffer*> filled;
  {
    absl::MutexLock lock(&mutex_);
    filled.swap(filled_);
    RETURN_IF_ERROR(fill_status_);
  }
  for (Buffer* const buffer : filled) {
    --with_helpers_;
    copying_.push_back(buffer);
    for (const Run& run : buffer->piece.runs)
      RETURN_IF_ERROR(CudaStatus(runtime_,
                                 runtime_.Copy(run.to, buffer->memory.data() + run.offset, run.bytes,
                                               cuda::CopyKind::kHostToDevice, buffer->stream),
                                 "copying weights to the device"));
  }
  return absl::OkStatus();
}

void UploadRing::Work() {
  const auto has_work = [this]()
                            ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closed_ || !to_fill_.empty(); };
  while (true) {
    Buffer* buffer = nullptr;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&has_work));
      if (closed_) return;
      buffer = to_fill_.front();
      to_fill_.pop_front();
    }
    const absl::Status status = CatchExhaustion([&] {
      buffer->piece.fill(buffer->memory.data());
      return absl::OkStatus();
    });
    buffer->piece.fill = nullptr;  // and with it what it read from
    absl::MutexLock lock(&mutex_);
    fill_status_.Update(status);
    filled_.push_back(buffer);
  }
}

void UploadRing::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

}  // namespace ropeway
