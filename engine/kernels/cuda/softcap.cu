// logits [n] f32, in place: cap * tanh(x / cap).
//
// Moves 8 bytes per logit, 128 bits at a time.
#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxBlocks = 1024;

__global__ void __launch_bounds__(kThreads) SoftcapKernel(float* logits, int64_t count, float cap) {
  const int64_t first = int64_t{blockIdx.x} * kThreads + threadIdx.x, step = int64_t{gridDim.x} * kThreads;
  const int64_t vectors = count / 4;
  for (int64_t v = first; v < vectors; v += step) {
    Vector128<float> x = Load128(logits + v * 4);
#pragma unroll
    for (float& value : x.values) value = cap * tanhf(value / cap);
    Store128(logits + v * 4, x);
  }
  const int64_t last = vectors * 4 + first;  // fewer than 4 remain
  if (last < count) logits[last] = cap * tanhf(logits[last] / cap);
}

}  // namespace

ErrorCode Softcap(float* logits, int64_t count, float cap, Stream stream) {
  const int64_t blocks = min((count / 4 + kThreads - 1) / kThreads + 1, kMaxBlocks);
  return Launch(stream, SoftcapKernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, logits, count,
                cap);
}

}  // namespace ropeway::cuda
