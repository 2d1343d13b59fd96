// Paged attention of prompts by warpgroups, of 16-bit keys and values: the tensor cores of compute capability 9.0, for which
// alone this file is compiled.
//
//   queries [T, H, E], pages of keys and values
//     ->  out [T, H, Ev] or partial results [num_partials, G, Ev + 2]
// The arithmetic is that of attention_mma.cuh, step by step: as many keys from the same place on, one chain of 16
// columns at a time for a score, of 16 keys at a time for a value, sums by mma.sync. So the bytes are the same,
// where a chain of wgmma is one of mma.sync, which attention_check.h finds out.
//
// A block takes (item, KV head) after (item, KV head). Two warpgroups have 64 pairs each and walk the keys, each by itself,
// so that one may compute soft-max while the other has the tensor cores. A step's scores are computed in front of the values
// of the step before, and its soft-max beside those. A ninth warp brings keys and values by bulk copies, up to four steps
// ahead, those of the next task too (attention_ring.cuh). Queries, scores, weights and the values of a chunk stay in
// registers, of which the two have more than a block of three would give them.
//
// An H100 80GB HBM3 (2026-11-27, an experiment with this kernel alone) made 337 TFLOP/s of it at 2,048 causal tokens, heads
// of 128, 443 at 8,192 and 464 at 32,768; with steps of 32 keys and soft-max behind the values, 169, 195 and 201. Steps of
// 128, with queries in shared memory, made 351, 478 and 514: they would have to be every kernel's. Queries in shared memory
// at steps of 64 made 327, 416 and 444; chunks of 512 keys made 347, 458 and 485. That was bf16; f16 has run on no device.
//
// Moves, per KV head and item: num_pairs (E + Ev) numbers and its keys and values once; per chunk of a split
// item, num_pairs (TileWidth + 4) floats besides.
#include "engine/kernels/cuda/attention_merge.cuh"
#include "engine/kernels/cuda/attention_ring.cuh"
#include "engine/kernels/cuda/attention_rows.cuh"
#include "engine/kernels/cuda/attention_state.cuh"
#include "engine/kernels/cuda/attention_tile.cuh"
#include "engine/kernels/cuda/shared_bytes.h"
#include "engine/kernels/cuda/warpgroup.h"

namespace ropeway::cuda {
namespace {

// Puts scores = q k^T of a step on its way.
template <class Tile>
ROPEWAY_DEVICE void StartScores(const QueryFragments<Tile>& queries,
                                const typename RingShared<Tile>::Slot& keys,
                                float (&scores)[Tile::kKeyTiles][4]) {
#pragma unroll
  for (int k = 0; k < Tile::kWidth; k += 16) {
    const uint64_t b = PanelDescriptor(&keys[k / kPanelColumns][0][k % kPanelColumns], Tile::kPanelBytes);
    MultiplyWide<typename Tile::T, false>(scores, queries[k / 16], b, k > 0);
  }
  WarpgroupCommit();
}

// Puts values += weights v of a step on its way; the first step of a chunk begins anew.
template <class Tile>
ROPEWAY_DEVICE void StartValues(const WeightFragments<Tile>& weights,
                                const typename RingShared<Tile>::Slot& values, bool begins_chunk,
                                RowStates<Tile>& chunk) {
#pragma unroll
  for (int k = 0; k < Tile::kKeys; k += 16)
    MultiplyWide<typename Tile::T, true>(chunk.values, weights[k / 16],
                                         PanelDescriptor(&values[0][k][0], Tile::kPanelBytes),
                                         k > 0 || !begins_chunk);
  WarpgroupCommit();
}

// The state of one task, of one lane.
template <class Tile>
class WarpgroupAttention {
 public:
  ROPEWAY_DEVICE WarpgroupAttention(const AttentionParams& params, const Task& task,
                                    const KeyRange<Tile>& range, RingShared<Tile>& shared)
      : params_(params),
        task_(task),
        range_(range),
        known_(MakeQueries<NoModifier>(params, task, {place_.Row(0), place_.Row(1)})),
        shared_(shared) {
    ClearTotals(place_, shared_.totals);
    LoadQueries<Tile>(params, task, place_, queries_);
    chunk_.Clear();
  }

  ROPEWAY_DEVICE void Run() {
    const AttentionItem& item = task_.item;
    if (item.partial >= 0) {  // chunks before a window that is smaller than the plan's
      for (int c = item.first_chunk; c < min(range_.begin / kChunkTokens, item.last_chunk); ++c)
        WritePartial(params_, task_, place_, c, params_.score_unit, chunk_, true);
    }
    if (range_.begin < range_.end) Walk();
    if (item.partial < 0) WriteOutput(params_, task_, place_, totals_, shared_.totals);
  }

 private:
  ROPEWAY_DEVICE void Walk() {
    float scores[Tile::kKeyTiles][4] = {};
    WeightFragments<Tile> weights = {};
    int first = range_.begin;
    bool begins_chunk = true;  // the step at `first` does
    unsigned tile = range_.first_tile;
    const auto& first_keys = SlotOf<false>(shared_, tile);
    HoldAll(scores, weights);
    WarpgroupFence();
    StartScores<Tile>(queries_, first_keys, scores);
    WarpgroupWait<0>();
    EmptySlot<false>(shared_, tile);
    HoldRegisters(scores);
    TakeFirst(first, scores, weights);
    while (first + Tile::kKeys < range_.end) {
      first += Tile::kKeys;
      const auto& keys = SlotOf<false>(shared_, tile + 1);
      const auto& values = SlotOf<true>(shared_, tile);
      HoldAll(scores, weights);
      WarpgroupFence();
      StartScores<Tile>(queries_, keys, scores);
      StartValues<Tile>(weights, values, begins_chunk, chunk_);
      WarpgroupWait<1>();
      EmptySlot<false>(shared_, tile + 1);
      begins_chunk = first % kChunkTokens == 0;
      TakeStep(first, begins_chunk, tile, scores, weights);
      ++tile;
    }
    const auto& last_values = SlotOf<true>(shared_, tile);
    HoldAll(scores, weights);
    WarpgroupFence();
    StartValues<Tile>(weights, last_values, begins_chunk, chunk_);
    WarpgroupWait<0>();
    HoldAll(scores, weights);
    EmptySlot<true>(shared_, tile);
    FinishChunk(first / kChunkTokens);
  }

  ROPEWAY_DEVICE void HoldAll(float (&scores)[Tile::kKeyTiles][4], WeightFragments<Tile>& weights) {
    HoldRegisters(scores);
    HoldRegisters(weights);
    HoldRegisters(chunk_.values);
  }

  // From the scores of the first step to its weights.
  ROPEWAY_DEVICE void TakeFirst(int first, float (&scores)[Tile::kKeyTiles][4],
                                WeightFragments<Tile>& weights) {
    const float2 here = ModifyScores<Tile, NoModifier>(params_, known_, place_, first, scores);
    float largest[2] = {here.x, here.y};
    LargestOfQuad(largest);
    Weigh(params_.score_unit, largest, chunk_.max, scores);
    PackAll<Tile>(scores, weights);
    AddWeights<Tile>(weights, chunk_);
  }

  // From the scores of a later step at `first`, which have arrived, to its weights. `weights` are those of the step before,
  // which has tile `before`, until its values have arrived, too.
  ROPEWAY_DEVICE void TakeStep(int first, bool begins_chunk, unsigned before,
                               float (&scores)[Tile::kKeyTiles][4], WeightFragments<Tile>& weights) {
    HoldRegisters(scores);
    float maxima[2] = {begins_chunk ? -INFINITY : chunk_.max[0], begins_chunk ? -INFINITY : chunk_.max[1]};
    const float2 here = ModifyScores<Tile, NoModifier>(params_, known_, place_, first, scores);
    float largest[2] = {here.x, here.y};
    LargestOfQuad(largest);
    const float2 shrink = Weigh(params_.score_unit, largest, maxima, scores);
    HoldRegisters(scores);  // so that it is not put off until the values are there
    if (begins_chunk) {
      WarpgroupWait<0, 1>();
      HoldRegisters(weights);
      HoldRegisters(chunk_.values);
      EmptySlot<true>(shared_, before);
      FinishChunk(first / kChunkTokens - 1);
    } else {
      WarpgroupWait<0, 2>();
      HoldRegisters(weights);
      HoldRegisters(chunk_.values);
      EmptySlot<true>(shared_, before);
    }
#pragma unroll
    for (float& sum : chunk_.sum) sum = begins_chunk ? 0 : sum;
    chunk_.max[0] = maxima[0];
    chunk_.max[1] = maxima[1];
    chunk_.Shrink(shrink);
    PackAll<Tile>(scores, weights);
    AddWeights<Tile>(weights, chunk_);
  }

  ROPEWAY_DEVICE void FinishChunk(int chunk_index) {
    if (task_.item.partial >= 0)
      WritePartial(params_, task_, place_, chunk_index, params_.score_unit, chunk_, false);
    else
      MergeChunk(place_, params_.score_unit, chunk_, totals_, shared_.totals);
  }

  const AttentionParams& params_;
  const Task& task_;
  const KeyRange<Tile>& range_;
  const Place<Tile> place_;
  const QueryPair<NoModifier> known_;
  QueryFragments<Tile> queries_;
  RowStates<Tile> chunk_;
  Totals totals_;
  RingShared<Tile>& shared_;
};

template <class Tile>
__global__ void __launch_bounds__(Tile::kBlockThreads, 1)
    AttendWarpgroupKernel(AttentionParams params, WorkList<AttentionItem> work,
                          const __grid_constant__ KvMaps maps) {
  ROPEWAY_DYNAMIC_SHARED(unsigned char, memory);
  auto& shared = Align<RingShared<Tile>>(memory);
  if (threadIdx.x == 0) shared.InitBarriers();
  __syncthreads();
  LaunchDependents();
  GridDependencyWait();
  // From here on they go apart: no __syncthreads any more.
  if (threadIdx.x >= Tile::kThreads) {
    LowerRegisters<Tile::kProducerRegisters>();
    if (threadIdx.x >= Tile::kThreads + 32) return;
    SlotProducer<Tile> producer(params, maps, shared);
    ForTasks<Tile>(params, work, [&](const AttentionItem&, const Task& task, const KeyRange<Tile>& range) {
      producer.Fill(task, range, 0);
    });
    return;
  }
  RaiseRegisters<Tile::kConsumerRegisters>();
  unsigned phase = 0;
  ForTasks<Tile>(params, work, [&](const AttentionItem& item, const Task& task, const KeyRange<Tile>& range) {
    WarpgroupAttention<Tile>(params, task, range, shared).Run();
    if (item.partial >= 0)
      MergeIfLast<typename Tile::T>(params, item, task.kv_head, ConsumerMeeting<Tile>{shared, phase});
  });
}

template <class T, int kWidth>
ErrorCode LaunchWarpgroups(const AttentionParams& params, Stream stream) {
  using Tile = WarpgroupTile<T, kWidth>;
  const WorkList<AttentionItem>& work = params.args.wide;
  if (work.blocks == 0) return 0;
  // With room to begin where the swizzle wants it.
  constexpr size_t kBytes = sizeof(RingShared<Tile>) + kPanelAlignment;
  static_assert(kBytes <= kMostWarpgroupSharedBytes);
  return LaunchDependent(stream, AttendWarpgroupKernel<Tile>, dim3(static_cast<unsigned>(work.blocks)),
                         dim3(Tile::kBlockThreads), kBytes, params, work, *params.args.maps);
}

}  // namespace

ErrorCode AttendWarpgroups(const AttentionParams& params, Stream stream) {
  return WithRingTile(params,
                      [&]<class T, int kWidth>() { return LaunchWarpgroups<T, kWidth>(params, stream); });
}

}  // namespace ropeway::cuda
