// The merge of partial results of attention, by the block that is done last:
//
//   partial results [num_partials, G, partial_floats]  ->  out [T, H, Ev]
// Moves num_chunks (Ev + 4) floats a query, and its output. A warp merges one query, a lane four columns of it.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_MERGE_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_MERGE_CUH_

#include "engine/kernels/cuda/attention_state.cuh"
#include "engine/kernels/cuda/device.h"

namespace ropeway::cuda {

// What the merge of one chunk multiplies with, and the chunk's sum.
struct MergeFactors {
  float before = 1, chunk = 0;
  float sum = 0;
  bool has_values = false;
};

// Those of 32 chunks from `first` on, one a lane: maxima need no order, so that a warp has all of them at once. `largest`
// is that of the chunks before, and becomes that of these, too.
ROPEWAY_DEVICE MergeFactors FindFactors(const AttentionParams& params, const AttentionMerge& merge, int pair,
                                        int kv_head, int first, float& largest) {
  const int lane = static_cast<int>(threadIdx.x % 32), chunk = first + lane;
  MergeFactors factors;
  float max = -INFINITY;
  if (chunk < merge.num_chunks) {
    const int64_t index = int64_t{merge.first_partial} + chunk * merge.num_pairs + pair;
    const Vector128<float> statistics = Load128FromOthers(
        reinterpret_cast<float*>(PartialStatistics(params, PartialAt(params, index, kv_head))));
    max = statistics.values[0];
    factors.sum = statistics.values[1];
    factors.has_values = max != -INFINITY || factors.sum != 0;  // otherwise they were not written
  }
  float up_to = fmaxf(largest, max);
#pragma unroll
  for (int lanes = 1; lanes < 32; lanes *= 2) {
    const float earlier = __shfl_up_sync(kFullWarp, up_to, lanes);
    if (lane >= lanes) up_to = fmaxf(up_to, earlier);
  }
  const float before = __shfl_up_sync(kFullWarp, up_to, 1);
  const Merge merged(lane == 0 ? largest : before, max);
  factors.before = merged.before;
  factors.chunk = merged.chunk;
  largest = __shfl_sync(kFullWarp, up_to, 31);
  return factors;
}

// One query, by a warp: merges the chunks of `merge` in order, four columns a lane.
template <class T>
ROPEWAY_DEVICE void MergePair(const AttentionParams& params, const AttentionMerge& merge, int pair,
                              int kv_head, int column) {
  constexpr int kAtOnce = 8;  // loads in flight
  const int value_dim = params.args.kv.value_dim;
  const bool has_columns = column < value_dim;
  float largest = -INFINITY, sum = 0, values[4] = {};
  for (int first = 0; first < merge.num_chunks; first += 32) {
    MergeFactors factors;
    for (int some = 0; some < min(32, merge.num_chunks - first); some += kAtOnce) {
      // What was not written is taken, too, and not used: so nothing waits for the statistics.
      Vector128<float> parts[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int chunk = first + some + i;
        const int64_t index = int64_t{merge.first_partial} + chunk * merge.num_pairs + pair;
        parts[i] = chunk < merge.num_chunks && has_columns
                       ? Load128FromOthers(PartialAt(params, index, kv_head) + column)
                       : Vector128<float>{};
      }
      if (some == 0) factors = FindFactors(params, merge, pair, kv_head, first, largest);
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        Merge merged;
        merged.before = __shfl_sync(kFullWarp, factors.before, some + i);
        merged.chunk = __shfl_sync(kFullWarp, factors.chunk, some + i);
        sum = merged.Apply(sum, __shfl_sync(kFullWarp, factors.sum, some + i));
        const bool has_values = __shfl_sync(kFullWarp, static_cast<int>(factors.has_values), some + i) != 0;
#pragma unroll
        for (int j = 0; j < 4; ++j)
          values[j] = merged.Apply(values[j], has_values ? parts[i].values[j] : 0.0f);
      }
    }
  }
  const float sink = SinkOf(params.args.modifier, HeadOf(params, merge.first_pair + pair, kv_head));
  const float factor = FinalFactor(largest, sum, sink);
  T* out = static_cast<T*>(params.args.out) + RowOf(params, merge.first_pair + pair, kv_head) * value_dim;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (column + i < value_dim) out[column + i] = FromFloat<T>(values[i] * factor);
}

// How the threads meet that merge: all of a block.
struct BlockMeeting {
  ROPEWAY_DEVICE int num_warps() const { return static_cast<int>(blockDim.x / 32); }
  ROPEWAY_DEVICE void Sync() { __syncthreads(); }
  // Whether the first thread says so, after a Sync.
  ROPEWAY_DEVICE bool First(bool value) { return __syncthreads_or(value) != 0; }
};

// How many items of a merge are done.
ROPEWAY_DEVICE int32_t* ArrivalsOf(const AttentionParams& params, const AttentionItem& item, int kv_head) {
  return params.args.arrivals + int64_t{item.merge} * params.args.kv.num_kv_heads + kv_head;
}

// Called by all threads of a meeting, among them the block's first, that have written partial results of an item for a
// KV head; `merge` is the item's. Which block is the last differs from run to run; what it computes does not.
template <class T, class Meeting>
ROPEWAY_DEVICE void MergeIfLast(const AttentionParams& params, const AttentionItem& item,
                                const AttentionMerge& merge, int kv_head, Meeting meeting) {
  __threadfence();
  meeting.Sync();
  bool is_last = false;
  if (threadIdx.x == 0) {
    int32_t* const arrivals = ArrivalsOf(params, item, kv_head);
    is_last = atomicAdd(arrivals, 1) == merge.num_items - 1;
    if (is_last) atomicExch(arrivals, 0);
  }
  if (!meeting.First(is_last)) return;
  __threadfence();
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  for (int pair = warp; pair < merge.num_pairs; pair += meeting.num_warps())
    for (int column = 4 * lane; column - 4 * lane < params.args.kv.value_dim; column += 128)
      MergePair<T>(params, merge, pair, kv_head, column);
}
template <class T, class Meeting = BlockMeeting>
ROPEWAY_DEVICE void MergeIfLast(const AttentionParams& params, const AttentionItem& item, int kv_head,
                                Meeting meeting = {}) {
  const AttentionMerge merge = params.args.merges[item.merge];
  MergeIfLast<T>(params, item, merge, kv_head, meeting);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_MERGE_CUH_
