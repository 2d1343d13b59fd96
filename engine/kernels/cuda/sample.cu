// One token for each row of SampleArgs, and its log-probability, by engine/sample/sampling_rule.h: bit for
// bit as engine/sample/sampler.h.
//
// A block a row. How often it reads a row of V logits, the first time from memory and then from the cache:
//   greedy                                                                       1
//   from all, or with min-p                                                      2
//   top-k, top-p or both: what they leave is a shortlist (logit_shortlist.cuh)   3
//   one of them leaves more; both                                                4; up to 6
//   one of them ends among thousands of nearly equal logits; both                up to 8; up to 14
//   log-probabilities, the likeliest tokens' too                                 1, 2 more, where no logit was changed
// Rows with changes are copied to scratch first.
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/logit_shortlist.cuh"

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

ROPEWAY_DEVICE int32_t Draw(const SamplingRule& rule, WeighedLogits tokens) {
  const auto mass_of = [&](uint64_t sum) { return TopPMass(rule, sum); };
  const auto draw_of = [&](uint64_t sum) { return DrawTarget(rule, sum); };
  int listed = 0;  // tokens, where all that may be drawn are
  if (NarrowsByTopK(rule, tokens.vocab_size)) {
    FillBins<false>(tokens);
    listed = Narrow<false>(tokens, [&](uint64_t) { return static_cast<uint64_t>(rule.top_k); });
  }
  if (NarrowsByTopP(rule)) {
    if (listed > 0) {
      listed = PlaceInList<true>(tokens, listed, mass_of).place + 1;
    } else {
      FillBins<true>(tokens);
      listed = Narrow<true>(tokens, mass_of);
    }
  }
  if (NarrowsByMinP(rule))
    tokens.CutBelow(uint64_t{OrderedBits(LeastLogit(rule, tokens.largest))} << kIdBits);
  return listed > 0 ? ListedTokenAt(tokens, listed, draw_of) : tokens.TokenAt(draw_of);
}

__global__ void __launch_bounds__(kSelectionThreads, 1) SampleKernel(SampleArgs args) {
  const SampleRowParams row = args.rows[blockIdx.x];
  const float* logits = args.logits + row.logit_row * args.logit_stride;
  const float* changed = ChangedLogits(args, row, logits);
  Peak peak = FindPeak(changed, args.vocab_size);
  int32_t token = peak.found ? peak.id : kNoChoice;
  if (peak.found && row.rule.scale > 0)
    token = Draw(row.rule, {changed, args.vocab_size, peak.logit, row.rule.scale});
  if (threadIdx.x == 0) args.tokens[blockIdx.x] = token;
  if (row.num_logprobs < 0) return;  // alike for all threads
  if (changed != logits) peak = FindPeak(logits, args.vocab_size);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * args.max_top;
  const float logprob =
      WriteLogprobs(logits, args.vocab_size, peak, max(token, 0), min(row.num_logprobs, args.max_top),
                    {args.top_tokens + first, args.top_logprobs + first});
  if (threadIdx.x == 0) args.logprobs[blockIdx.x] = logprob;
}

}  // namespace

ErrorCode Sample(const SampleArgs& args, Stream stream) {
  return Launch(stream, SampleKernel, dim3(static_cast<unsigned>(args.num_rows)), dim3(kSelectionThreads), 0,
                args);
}

}  // namespace ropeway::cuda
