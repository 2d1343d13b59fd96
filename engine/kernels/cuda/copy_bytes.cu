// Bytes between device memory and the host's pinned memory, where they are too few for the copy engine, which begins some
// microseconds later than a kernel.
//
// A thread 16 bytes. Moves each byte once.
#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 128, kVectorBytes = 16;

__global__ void __launch_bounds__(kThreads) CopyBytesKernel(CopyBytesArgs args) {
  const int64_t at = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVectorBytes;
  if (at < args.bytes) Store128(args.to + at, Load128(args.from + at));
}

}  // namespace

ErrorCode CopyBytes(const CopyBytesArgs& args, Stream stream) {
  if (args.bytes % kVectorBytes != 0) return kInvalidValue;
  constexpr int64_t kBlockBytes = kThreads * kVectorBytes;
  const auto blocks = static_cast<unsigned>((args.bytes + kBlockBytes - 1) / kBlockBytes);
  return blocks == 0 ? 0 : Launch(stream, CopyBytesKernel, dim3(blocks), dim3(kThreads), 0, args);
}

}  // namespace ropeway::cuda
