// One token for each row of SampleArgs, and its log-probability, by engine/sample/sampling_rule.h: bit for
// bit as engine/sample/sampler.h.
//
// A block a row. Greedy reads a row of V logits once; a draw twice, and up to five times more for each of
// top-k and top-p (three where no logits are equal), out of the cache. Rows with changes are copied to
// scratch first.
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/logit_selection.cuh"

namespace ropeway::cuda {
namespace {

// The row's logits with its changes made.
ROPEWAY_DEVICE const float* ChangedLogits(const SampleArgs& args, const SampleRowParams& row,
                                          const float* logits) {
  const int32_t uncounted = row.uncounted < 0 ? kNoChoice : args.token_ids[row.uncounted];
  if (row.num_changes == 0 && uncounted == kNoChoice) return logits;
  float* changed = args.scratch + static_cast<int64_t>(blockIdx.x) * args.vocab_size;
  for (int32_t id = static_cast<int32_t>(threadIdx.x); id < args.vocab_size; id += kSelectionThreads)
    changed[id] = logits[id];
  __syncthreads();
  bool named = false;
  for (int i = static_cast<int>(threadIdx.x); i < row.num_changes; i += kSelectionThreads) {
    LogitChange change = args.changes[row.first_change + i];
    if (change.token == uncounted) {
      change = WithOccurrence(change);
      named = true;
    }
    changed[change.token] = ChangedLogit(changed[change.token], change, row.rule);
  }
  named = __syncthreads_or(named);
  if (threadIdx.x == 0 && !named && uncounted != kNoChoice)
    changed[uncounted] = ChangedLogit(changed[uncounted], WithOccurrence({uncounted}), row.rule);
  __syncthreads();
  return changed;
}

ROPEWAY_DEVICE int32_t Draw(const SamplingRule& rule, WeighedLogits tokens, const Peak& peak) {
  const int32_t vocab_size = tokens.vocab_size;
  if (NarrowsByTopK(rule, vocab_size)) tokens.cut = KeyOfRank(tokens.logits, vocab_size, rule.top_k);
  if (NarrowsByTopP(rule)) {
    const uint64_t cut = KeyAt(tokens.logits, vocab_size, WeightMeasure{tokens},
                               [&](uint64_t sum) { return TopPMass(rule, sum); });
    tokens.cut = cut > tokens.cut ? cut : tokens.cut;
  }
  if (NarrowsByMinP(rule)) {
    const uint64_t cut = uint64_t{OrderedBits(LeastLogit(rule, peak.logit))} << kIdBits;
    tokens.cut = cut > tokens.cut ? cut : tokens.cut;
  }
  return tokens.TokenAt([&](uint64_t sum) { return DrawTarget(rule, sum); });
}

__global__ void __launch_bounds__(kSelectionThreads, 1) SampleKernel(SampleArgs args) {
  const SampleRowParams row = args.rows[blockIdx.x];
  const float* logits = args.logits + row.logit_row * args.logit_stride;
  const float* changed = ChangedLogits(args, row, logits);
  const Peak peak = FindPeak(changed, args.vocab_size);
  int32_t token = peak.found ? peak.id : kNoChoice;
  if (peak.found && row.rule.scale > 0)
    token = Draw(row.rule, {changed, args.vocab_size, peak.logit, row.rule.scale}, peak);
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
