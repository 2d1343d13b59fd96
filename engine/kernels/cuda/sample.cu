// One token for each row of SampleArgs, and its log-probability: changes to logits, then arg-max or
// temperature, top-k, top-p, min-p and a coin, as engine/sample/sampler.h does it, bit for bit.
//
// A block a row. Greedy reads a row of V logits once; a draw three times, and up to five times more for each
// of top-k and top-p, out of the cache. Rows with changes are copied to scratch first.
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/logit_selection.cuh"

namespace ropeway::cuda {
namespace {

ROPEWAY_DEVICE float Changed(float x, const LogitChange& change) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  if (change.masked != 0) return -INFINITY;
  x += change.add;
  // A tiny penalty must not make a logit infinite; NaN stays NaN.
  if (change.repetition != 1) {
    if (x > 0) {
      x = x / change.repetition;
      if (x > kLargest) x = kLargest;
    } else {
      x *= change.repetition;
    }
  }
  return x - change.subtract;
}

// The row's logits with its changes made.
ROPEWAY_DEVICE const float* ChangedLogits(const SampleArgs& args, const SampleRowParams& row,
                                          const float* logits) {
  if (row.num_changes == 0) return logits;
  float* changed = args.scratch + static_cast<int64_t>(blockIdx.x) * args.vocab_size;
  for (int32_t id = static_cast<int32_t>(threadIdx.x); id < args.vocab_size; id += kSelectionThreads)
    changed[id] = logits[id];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < row.num_changes; i += kSelectionThreads) {
    const LogitChange change = args.changes[row.first_change + i];
    changed[change.token] = Changed(changed[change.token], change);
  }
  __syncthreads();
  return changed;
}

// floor(coin * sum / 2^64), below `sum`.
ROPEWAY_DEVICE uint64_t Target(uint64_t coin, uint64_t sum) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(coin) * sum) >> 64);
}

ROPEWAY_DEVICE int32_t Draw(const SampleRowParams& row, WeighedLogits tokens, const Peak& peak) {
  const int32_t vocab_size = tokens.vocab_size;
  if (row.top_k > 0 && row.top_k < vocab_size) tokens.cut = KeyOfRank(tokens.logits, vocab_size, row.top_k);
  if (row.top_p < 1) {
    const uint64_t mass =
        static_cast<uint64_t>(ceil(static_cast<double>(row.top_p) * static_cast<double>(tokens.Total())));
    const uint64_t cut =
        KeyAt(tokens.logits, vocab_size, mass, [&](int32_t id) { return tokens.Weight(id); });
    tokens.cut = cut > tokens.cut ? cut : tokens.cut;
  }
  if (row.least > -INFINITY) {
    const float least = static_cast<float>(static_cast<double>(peak.logit) + row.least);
    const uint64_t cut = uint64_t{OrderedBits(least)} << kIdBits;
    tokens.cut = cut > tokens.cut ? cut : tokens.cut;
  }
  return tokens.TokenAt(Target(row.coin, tokens.Total()));
}

__global__ void __launch_bounds__(kSelectionThreads, 1) SampleKernel(SampleArgs args) {
  const SampleRowParams row = args.rows[blockIdx.x];
  const float* logits = args.logits + row.logit_row * args.logit_stride;
  const float* changed = ChangedLogits(args, row, logits);
  const Peak peak = FindPeak(changed, args.vocab_size);
  int32_t token = peak.found ? peak.id : kNoChoice;
  if (peak.found && row.scale > 0) token = Draw(row, {changed, args.vocab_size, peak.logit, row.scale}, peak);
  if (threadIdx.x == 0) args.tokens[blockIdx.x] = token;
  if (row.num_logprobs < 0) return;  // alike for all threads
  const int64_t first = static_cast<int64_t>(blockIdx.x) * args.max_top;
  const float logprob =
      WriteLogprobs(logits, args.vocab_size, max(token, 0), min(row.num_logprobs, args.max_top),
                    {args.top_tokens + first, args.top_logprobs + first});
  if (threadIdx.x == 0) args.logprobs[blockIdx.x] = logprob;
}

}  // namespace

ErrorCode Sample(const SampleArgs& args, Stream stream) {
  return Launch(stream, SampleKernel, dim3(static_cast<unsigned>(args.num_rows)), dim3(kSelectionThreads), 0,
                args);
}

}  // namespace ropeway::cuda
