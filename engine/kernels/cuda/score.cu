// Log-probabilities of given tokens [rows] and of the likeliest [rows, max_top] under softmax(logits [rows,
// V]).
//
// A block a row. Reads a row of V logits twice, and once more for the likeliest, out of the cache; up to seven times more
// where thousands of logits are nearly equal.
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/logit_shortlist.cuh"

namespace ropeway::cuda {
namespace {

__global__ void __launch_bounds__(kSelectionThreads, 1) ScoreKernel(ScoreArgs args) {
  const ScoreRowParams row = args.rows[blockIdx.x];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * args.max_top;
  const float* logits = args.logits + row.logit_row * args.logit_stride;
  const float logprob = WriteLogprobs(logits, args.vocab_size, FindPeak(logits, args.vocab_size), row.token,
                                      min(row.num_logprobs, args.max_top),
                                      {args.top_tokens + first, args.top_logprobs + first});
  if (threadIdx.x == 0) args.logprobs[blockIdx.x] = logprob;
}

}  // namespace

ErrorCode Score(const ScoreArgs& args, Stream stream) {
  return Launch(stream, ScoreKernel, dim3(static_cast<unsigned>(args.num_rows)), dim3(kSelectionThreads), 0,
                args);
}

}  // namespace ropeway::cuda
