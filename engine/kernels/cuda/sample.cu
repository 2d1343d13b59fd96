// One token for each row of SampleArgs, and its log-probability, by engine/sample/sampling_rule.h: bit for
// bit as engine/sample/sampler.h.
//
// Two kernels, each of as many blocks a row as keep the device busy (logit_slices.cuh). How often a row of V logits is read,
// the first time from memory and then from the cache:
//   greedy                                                                       1
//   others                                                                       2
//   where top-k, or one bin of BinOf, has more than a list or a shortlist takes, or tokens are nearly equal, one block
//   draws alone (logit_shortlist.cuh): for one of top-k and top-p, for both     4 or 5, 6 to 8 more; up to 14 more
//   log-probabilities, the likeliest tokens' too, by one block                   1, 2 more, where no logit was changed
// Rows with changes are copied to scratch first.
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/logit_list.cuh"

namespace ropeway::cuda {
namespace {

ROPEWAY_DEVICE int32_t UncountedToken(const SampleArgs& args, const SampleRowParams& row) {
  return row.uncounted < 0 ? kNoChoice : args.token_ids[row.uncounted];
}

// The row's logits with its changes made.
ROPEWAY_DEVICE float* ChangedLogits(const SampleArgs& args) {
  return args.scratch + static_cast<int64_t>(blockIdx.y) * args.vocab_size;
}
ROPEWAY_DEVICE const float* LogitsOf(const SampleArgs& args, const SampleRowParams& row) {
  return args.logits + row.logit_row * args.logit_stride;
}
ROPEWAY_DEVICE bool HasChanges(const SampleArgs& args, const SampleRowParams& row) {
  return row.num_changes != 0 || UncountedToken(args, row) != kNoChoice;
}

// Makes the changes of the tokens that this block is dealt.
ROPEWAY_DEVICE void ChangeLogits(const SampleArgs& args, const SampleRowParams& row) {
  const int32_t uncounted = UncountedToken(args, row);
  const float* logits = LogitsOf(args, row);
  float* changed = ChangedLogits(args);
  const bool is_aligned = reinterpret_cast<uintptr_t>(changed) % 16 == 0;
  const DealtTokens dealt;
  dealt.ForEachFour<4>(logits, args.vocab_size, [&](int32_t id, const Vector128<float>& four) {
    if (is_aligned && id + 4 <= args.vocab_size) return Store128(changed + id, four);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (id + i < args.vocab_size) changed[id + i] = four.values[i];
  });
  __syncthreads();
  bool named = false;
  for (int i = static_cast<int>(threadIdx.x); i < row.num_changes; i += kSelectionThreads) {
    LogitChange change = args.changes[row.first_change + i];
    if (!dealt.Has(change.token)) continue;
    if (change.token == uncounted) {
      change = WithOccurrence(change);
      named = true;
    }
    changed[change.token] = ChangedLogit(changed[change.token], change, row.rule);
  }
  named = __syncthreads_or(named);
  if (threadIdx.x == 0 && !named && dealt.Has(uncounted))
    changed[uncounted] = ChangedLogit(changed[uncounted], WithOccurrence({uncounted}), row.rule);
  __syncthreads();
}

// By one block, however many tokens are left.
ROPEWAY_DEVICE int32_t DrawAlone(const SamplingRule& rule, WeighedLogits tokens) {
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
  if (NarrowsByMinP(rule)) tokens.CutBelow(LeastKey(rule, tokens.largest));
  return listed > 0 ? ListedTokenAt(tokens, listed, draw_of) : tokens.TokenAt(draw_of);
}

// By the last block of a row.
ROPEWAY_DEVICE int32_t Draw(const SamplingRule& rule, WeighedLogits tokens, const LogitSlice& slice,
                            const SliceSearch& search, const SampleState& state) {
  if (search.lists) {
    const int32_t token = DrawFromList(rule, tokens, search, state);
    return token == kNoChoice ? DrawAlone(rule, tokens) : token;
  }
  if (NarrowsByMinP(rule)) tokens.CutBelow(LeastKey(rule, tokens.largest));
  return TokenOfParts(tokens, slice, state, [&](uint64_t sum) { return DrawTarget(rule, sum); });
}

__global__ void __launch_bounds__(kSelectionThreads, 1) ScanKernel(SampleArgs args) {
  LaunchDependents();
  GridDependencyWait();
  const SampleRowParams row = args.rows[blockIdx.y];
  const bool changes = HasChanges(args, row);
  if (changes) ChangeLogits(args, row);
  ScanTokens(changes ? ChangedLogits(args) : LogitsOf(args, row), args.vocab_size, args.states[blockIdx.y]);
}

__global__ void __launch_bounds__(kSelectionThreads, 1) SampleKernel(SampleArgs args, int32_t slice_tokens) {
  LaunchDependents();
  GridDependencyWait();
  const SampleRowParams row = args.rows[blockIdx.y];
  SampleState& state = args.states[blockIdx.y];
  Peak peak = PeakOfSlices(state);
  const float* logits = LogitsOf(args, row);
  const bool changes = HasChanges(args, row), draws = peak.found && row.rule.scale > 0;
  int32_t token = peak.found ? peak.id : kNoChoice;
  if (draws) {
    const WeighedLogits tokens = {changes ? ChangedLogits(args) : logits, args.vocab_size, peak.logit,
                                  row.rule.scale};
    const LogitSlice slice = SliceOf(args.vocab_size, slice_tokens);
    const SliceSearch search = SearchFor(row.rule, tokens, state);
    SearchSlice(tokens, slice, search, state);
    if (!IsLastOfRow(state)) return;
    token = Draw(row.rule, tokens, slice, search, state);
  } else if (blockIdx.x != 0) {
    return;
  }
  if (threadIdx.x == 0) args.tokens[blockIdx.y] = token;
  if (row.num_logprobs < 0) return;  // alike for all threads
  if (changes) peak = FindPeak(logits, args.vocab_size);
  const int64_t first = static_cast<int64_t>(blockIdx.y) * args.max_top;
  const float logprob =
      WriteLogprobs(logits, args.vocab_size, peak, max(token, 0), min(row.num_logprobs, args.max_top),
                    {args.top_tokens + first, args.top_logprobs + first});
  if (threadIdx.x == 0) args.logprobs[blockIdx.y] = logprob;
}

}  // namespace

ErrorCode Sample(const SampleArgs& args, Stream stream) {
  const int32_t slice_tokens = SliceTokens(args.vocab_size, args.num_rows, args.processors);
  const dim3 grid(static_cast<unsigned>((args.vocab_size + slice_tokens - 1) / slice_tokens),
                  static_cast<unsigned>(args.num_rows));
  const ErrorCode error = LaunchDependent(stream, ScanKernel, grid, dim3(kSelectionThreads), 0, args);
  if (error != 0) return error;
  return LaunchDependent(stream, SampleKernel, grid, dim3(kSelectionThreads), 0, args, slice_tokens);
}

}  // namespace ropeway::cuda
