// logits [rows, stride] f32, in place, their first V columns: x = logit + bias; cap * tanh(x / cap).
//
// Moves 8 bytes per logit, 128 bits at a time.
#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 256;

ROPEWAY_DEVICE float Finished(const FinishLogitsArgs& args, float x, int column) {
  if (args.bias != nullptr) x += args.bias[column];
  return args.softcap > 0 ? args.softcap * tanhf(x / args.softcap) : x;
}

__global__ void __launch_bounds__(kThreads) FinishLogitsKernel(FinishLogitsArgs args) {
  const int column = static_cast<int>(blockIdx.y * kThreads + threadIdx.x) * 4;
  float* logits = args.logits + blockIdx.x * args.stride + column;
  if (column + 4 <= args.vocab_size) {
    Vector128<float> x = Load128(logits);
#pragma unroll
    for (int i = 0; i < 4; ++i) x.values[i] = Finished(args, x.values[i], column + i);
    Store128(logits, x);
    return;
  }
  for (int i = 0; column + i < args.vocab_size; ++i) logits[i] = Finished(args, logits[i], column + i);
}

}  // namespace

ErrorCode FinishLogits(const FinishLogitsArgs& args, Stream stream) {
  constexpr int kColumns = 4 * kThreads;
  const dim3 grid(static_cast<unsigned>(args.num_rows),
                  static_cast<unsigned>((args.vocab_size + kColumns - 1) / kColumns));
  return Launch(stream, FinishLogitsKernel, grid, dim3(kThreads), 0, args);
}

}  // namespace ropeway::cuda
