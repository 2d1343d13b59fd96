// token_ids [T] of a step, where they are those that the step before chose (TakeTokensArgs).
//
// A thread a token. Moves 4 to 12 bytes per token.
#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) TakeTokensKernel(TakeTokensArgs args) {
  const int t = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (t >= args.num_tokens || args.token_ids[t] >= 0) return;
  const int32_t token = args.sampled[TokenOfResult(args.token_ids[t])];
  args.token_ids[t] = token >= 0 && token < args.vocab_size ? token : 0;
}

}  // namespace

ErrorCode TakeTokens(const TakeTokensArgs& args, Stream stream) {
  const auto blocks = static_cast<unsigned>((args.num_tokens + kThreads - 1) / kThreads);
  return Launch(stream, TakeTokensKernel, dim3(blocks), dim3(kThreads), 0, args);
}

}  // namespace ropeway::cuda
