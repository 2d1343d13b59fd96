// The merge of partial results of attention, by the block that is done last:
//
//   partial results [num_partials, G, partial_floats]  ->  out [T, H, Ev]
// Moves num_chunks (Ev + 4) floats a query, and its output. A warp merges one query, a lane four columns of it.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_MERGE_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_MERGE_CUH_

#include "engine/kernels/cuda/attention_state.cuh"
#include "engine/kernels/cuda/device.h"

namespace ropeway::cuda {

// Four columns of one query: merges the chunks of `merge` in order.
template <class T>
ROPEWAY_DEVICE void MergeColumns(const AttentionParams& params, const AttentionMerge& merge, int pair,
                                 int kv_head, float sink, int column) {
  float largest = -INFINITY, sum = 0, values[4] = {};
#pragma unroll 8
  for (int chunk = 0; chunk < merge.num_chunks; ++chunk) {
    const int64_t index = int64_t{merge.first_partial} + chunk * merge.num_pairs + pair;
    float* partial = PartialAt(params, index, kv_head);
    const Vector128<float> statistics =
        Load128FromOthers(reinterpret_cast<float*>(PartialStatistics(params, partial)));
    if (statistics.values[0] == -INFINITY && statistics.values[1] == 0)
      continue;  // its values were not written
    const Vector128<float> part = Load128FromOthers(partial + column);
    const Merge factors(largest, statistics.values[0]);
    largest = factors.max;
    sum = factors.Apply(sum, statistics.values[1]);
    for (int i = 0; i < 4; ++i) values[i] = factors.Apply(values[i], part.values[i]);
  }
  const float factor = FinalFactor(largest, sum, sink);
  const int value_dim = params.args.kv.value_dim;
  T* out = static_cast<T*>(params.args.out) + RowOf(params, merge.first_pair + pair, kv_head) * value_dim;
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

// Called by all threads of a meeting, among them the block's first, that have written partial results of an item for a
// KV head. Which block is the last differs from run to run; what it computes does not.
template <class T, class Meeting = BlockMeeting>
ROPEWAY_DEVICE void MergeIfLast(const AttentionParams& params, const AttentionItem& item, int kv_head,
                                Meeting meeting = {}) {
  const AttentionMerge merge = params.args.merges[item.merge];
  __threadfence();
  meeting.Sync();
  bool is_last = false;
  if (threadIdx.x == 0) {
    int32_t* arrivals = params.args.arrivals + int64_t{item.merge} * params.args.kv.num_kv_heads + kv_head;
    is_last = atomicAdd(arrivals, 1) == merge.num_items - 1;
    if (is_last) atomicExch(arrivals, 0);
  }
  if (!meeting.First(is_last)) return;
  __threadfence();
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  for (int pair = warp; pair < merge.num_pairs; pair += meeting.num_warps()) {
    const float sink = SinkOf(params.args.modifier, HeadOf(params, merge.first_pair + pair, kv_head));
    for (int column = 4 * lane; column < params.args.kv.value_dim; column += 128)
      MergeColumns<T>(params, merge, pair, kv_head, sink, column);
  }
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_MERGE_CUH_
