// Paged attention of prompts by warpgroups, of bf16: the tensor cores of compute capability 9.0, for which alone this
// file is compiled.
//
//   queries [T, H, E], pages of keys and values
//     ->  out [T, H, Ev] or partial results [num_partials, G, Ev + 2]
// The arithmetic is that of attention_mma.cuh, step by step: tiles of 32 keys from the same place on, one chain of 16
// columns at a time for a score, of 16 keys at a time for a value, sums by mma.sync. So the bytes are the same,
// where a chain of wgmma is one of mma.sync, which attention_check.h finds out.
//
// A block takes (item, KV head) after (item, KV head). Two warpgroups have 64 pairs each and walk the keys 64 at a time,
// two steps; each by itself, so that one may compute soft-max while the other has the tensor cores. While the soft-max of a
// step is computed, the tensor cores have the scores of the next one and the values of the one before. A ninth warp brings
// keys and values by bulk copies, up to four tiles ahead, those of the next task too (attention_ring.cuh). Queries, scores,
// weights and the values of a chunk stay in registers, of which the two have more than a block of three would give them.
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

// No caps and no biases.
struct NoModifier {
  struct Query {};
  static ROPEWAY_DEVICE Query MakeQuery(const kernels::ScoreModifier&, int, int) { return {}; }
  static ROPEWAY_DEVICE float Modify(const kernels::ScoreModifier&, const Query&, float score, int) {
    return score;
  }
};

// The queries of a lane as mma takes them; those that are not there, and columns beyond E, are zeros.
template <class Tile>
ROPEWAY_DEVICE void LoadQueries(const AttentionParams& params, const Task& task, const Place<Tile>& place,
                                uint32_t (&queries)[Tile::kWidth / 16][4]) {
  const int head_dim = params.args.kv.head_dim;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const bool exists = place.Row(r) < task.item.num_pairs;
    const int pair = task.item.first_pair + (exists ? place.Row(r) : 0);
    const bf16* row =
        static_cast<const bf16*>(params.args.queries) + RowOf(params, pair, task.kv_head) * head_dim;
#pragma unroll
    for (int i = 0; i < Tile::kWidth / 8; ++i) {
      const int column = 8 * i + 2 * place.quad;
      queries[i / 2][i % 2 * 2 + r] =
          exists && column < head_dim ? *reinterpret_cast<const uint32_t*>(row + column) : 0;
    }
  }
}

// Puts scores = q k^T of a step on its way: of the keys of a slot from `key` on.
template <class Tile>
ROPEWAY_DEVICE void StartScores(const uint32_t (&queries)[Tile::kWidth / 16][4],
                                const typename WarpgroupShared<Tile>::Slot& keys, int key,
                                float (&scores)[Tile::kKeyTiles][4]) {
#pragma unroll
  for (int k = 0; k < Tile::kWidth; k += 16)
    MultiplyWide<false>(scores, queries[k / 16],
                        PanelDescriptor(&keys[k / kPanelColumns][key][k % kPanelColumns], Tile::kPanelBytes),
                        k > 0);
  WarpgroupCommit();
}

// Weights of a step as mma takes them: of 16 keys, and of 16 more.
template <class Tile>
using WeightFragments = uint32_t[Tile::kKeys / 16][4];

// Puts values += weights v of a step on its way.
template <class Tile>
ROPEWAY_DEVICE void StartValues(const WeightFragments<Tile>& weights,
                                const typename WarpgroupShared<Tile>::Slot& values, int key,
                                RowStates<Tile>& chunk) {
#pragma unroll
  for (int k = 0; k < Tile::kKeys; k += 16)
    MultiplyWide<true>(chunk.values, weights[k / 16],
                       PanelDescriptor(&values[0][key + k][0], Tile::kPanelBytes), true);
  WarpgroupCommit();
}

// sum += weights, with a column of ones.
template <class Tile>
ROPEWAY_DEVICE void AddWeights(const WeightFragments<Tile>& weights, RowStates<Tile>& chunk) {
  const uint32_t ones = PackPair<bf16>(1, 1);
#pragma unroll
  for (int k = 0; k < Tile::kKeys; k += 16)
    MmaM16N8K16<bf16>(chunk.sum, weights[k / 16], {ones, ones}, chunk.sum);
}

// The state of one task, of one lane.
template <class Tile>
class WarpgroupAttention {
 public:
  ROPEWAY_DEVICE WarpgroupAttention(const AttentionParams& params, const Task& task,
                                    const KeyRange<Tile>& range, WarpgroupShared<Tile>& shared)
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
        WritePartial(params_, task_, place_, c, chunk_, true);
    }
    if (range_.begin < range_.end) Walk();
    if (item.partial < 0) WriteOutput(params_, task_, place_, totals_, shared_.totals);
  }

 private:
  // Each step's scores are computed beside the values of the one before, and its soft-max while those are.
  ROPEWAY_DEVICE void Walk() {
    float scores[Tile::kKeyTiles][4] = {};
    WeightFragments<Tile> weights = {};
    int first = range_.begin;
    const auto& first_keys = SlotOf<false>(shared_, range_, first);
    HoldAll(scores, weights);
    WarpgroupFence();
    StartScores<Tile>(queries_, first_keys, 0, scores);
    WarpgroupWait<0>();
    if (range_.EndsTile(first)) EmptySlot<false>(shared_, range_, first);
    TakeStep(first, {}, scores, weights);
    for (; first + Tile::kKeys < range_.end; first += Tile::kKeys) {
      const int next = first + Tile::kKeys;
      const auto& keys = SlotOf<false>(shared_, range_, next);
      const auto& values = SlotOf<true>(shared_, range_, first);
      HoldAll(scores, weights);
      WarpgroupFence();
      StartScores<Tile>(queries_, keys, next % Tile::kSlotKeys, scores);
      StartValues<Tile>(weights, values, first % Tile::kSlotKeys, chunk_);
      WarpgroupWait<1>();
      if (range_.EndsTile(next)) EmptySlot<false>(shared_, range_, next);
      TakeStep(next, {.begins_tile = next % Tile::kSlotKeys == 0, .begins_chunk = next % kChunkTokens == 0},
               scores, weights);
    }
    const auto& last_values = SlotOf<true>(shared_, range_, first);
    HoldAll(scores, weights);
    WarpgroupFence();
    StartValues<Tile>(weights, last_values, first % Tile::kSlotKeys, chunk_);
    WarpgroupWait<0>();
    HoldAll(scores, weights);
    EmptySlot<true>(shared_, range_, first);
    FinishChunk(first / kChunkTokens);
  }

  ROPEWAY_DEVICE void HoldAll(float (&scores)[Tile::kKeyTiles][4], WeightFragments<Tile>& weights) {
    HoldRegisters(scores);
    HoldRegisters(weights);
    HoldRegisters(chunk_.values);
  }

  // Of a step that is not the task's first.
  struct Beginnings {
    bool begins_tile = false, begins_chunk = false;
  };
  // From the scores of the step at `first`, which have arrived, to its weights. `weights` are those of the step before
  // until its values have arrived, too.
  ROPEWAY_DEVICE void TakeStep(int first, Beginnings step, float (&scores)[Tile::kKeyTiles][4],
                               WeightFragments<Tile>& weights) {
    HoldRegisters(scores);
    float maxima[2] = {step.begins_chunk ? -INFINITY : chunk_.max[0],
                       step.begins_chunk ? -INFINITY : chunk_.max[1]};
    const float2 here = ModifyScores<Tile, NoModifier>(params_, known_, task_, place_, first, scores);
    float largest[2] = {here.x, here.y};
    LargestOfQuad(largest);
    const float2 shrink = Weigh(largest, maxima, scores);
    WarpgroupWait<0>();
    HoldRegisters(weights);
    HoldRegisters(chunk_.values);
    if (step.begins_tile) EmptySlot<true>(shared_, range_, first - Tile::kKeys);
    if (step.begins_chunk) {
      FinishChunk(first / kChunkTokens - 1);
      chunk_.Clear();
    }
    chunk_.max[0] = maxima[0];
    chunk_.max[1] = maxima[1];
    chunk_.Shrink(shrink);
#pragma unroll
    for (int n = 0; n < Tile::kKeyTiles; ++n)
#pragma unroll
      for (int r = 0; r < 2; ++r) weights[n / 2][n % 2 * 2 + r] = PackWeights<bf16>(scores[n], r);
    AddWeights<Tile>(weights, chunk_);
  }

  ROPEWAY_DEVICE void FinishChunk(int chunk_index) {
    if (task_.item.partial >= 0)
      WritePartial(params_, task_, place_, chunk_index, chunk_, false);
    else
      MergeChunk(place_, chunk_, totals_, shared_.totals);
  }

  const AttentionParams& params_;
  const Task& task_;
  const KeyRange<Tile>& range_;
  const Place<Tile> place_;
  const QueryPair<NoModifier> known_;
  uint32_t queries_[Tile::kWidth / 16][4];
  RowStates<Tile> chunk_;
  Totals totals_;
  WarpgroupShared<Tile>& shared_;
};

// Calls `take(item, task, range)` for each task of the block.
template <class Tile, class Take>
ROPEWAY_DEVICE void ForTasks(const AttentionParams& params, const WorkList<AttentionItem>& work, Take take) {
  const int kv_heads = params.args.kv.num_kv_heads, total = *work.count * kv_heads;
  unsigned tile = 0;
  for (int w = static_cast<int>(blockIdx.x); w < total; w += static_cast<int>(gridDim.x)) {
    const AttentionItem item = work.data[w / kv_heads];
    const Task task = MakeTask(params, item, w % kv_heads, 0, Tile::kPairs);
    const KeyRange<Tile> range(params, task.item, tile);
    take(item, task, range);
    tile = range.NextTile();
  }
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kBlockThreads, 1)
    AttendWarpgroupKernel(AttentionParams params, WorkList<AttentionItem> work,
                          const __grid_constant__ KvMaps maps) {
  ROPEWAY_DYNAMIC_SHARED(unsigned char, memory);
  const auto misplaced = static_cast<int>(SharedAddress(memory) % kPanelAlignment);
  auto& shared =
      *reinterpret_cast<WarpgroupShared<Tile>*>(memory + (kPanelAlignment - misplaced) % kPanelAlignment);
  if (threadIdx.x == 0) shared.InitBarriers();
  __syncthreads();
  LaunchDependents();
  GridDependencyWait();
  // From here on they go apart: no __syncthreads any more.
  if (threadIdx.x >= Tile::kThreads) {
    LowerRegisters<Tile::kProducerRegisters>();
    if (threadIdx.x >= Tile::kThreads + 32) return;
    FenceGlobalForBulkCopies();
    SlotProducer<Tile> producer(params, maps, shared);
    ForTasks<Tile>(params, work, [&](const AttentionItem&, const Task& task, const KeyRange<Tile>& range) {
      producer.Fill(task, range);
    });
    return;
  }
  RaiseRegisters<Tile::kConsumerRegisters>();
  unsigned phase = 0;
  ForTasks<Tile>(params, work, [&](const AttentionItem& item, const Task& task, const KeyRange<Tile>& range) {
    WarpgroupAttention<Tile>(params, task, range, shared).Run();
    if (item.partial >= 0)
      MergeIfLast<bf16>(params, item, task.kv_head, ConsumerMeeting<Tile>{shared, phase});
  });
}

template <int kWidth>
ErrorCode LaunchWarpgroups(const AttentionParams& params, Stream stream) {
  using Tile = WarpgroupTile<kWidth>;
  const WorkList<AttentionItem>& work = params.args.wide;
  if (work.blocks == 0) return 0;
  // With room to begin where the swizzle wants it.
  constexpr size_t kBytes = sizeof(WarpgroupShared<Tile>) + kPanelAlignment;
  static_assert(kBytes <= kMostWarpgroupSharedBytes);
  return LaunchDependent(stream, AttendWarpgroupKernel<Tile>, dim3(static_cast<unsigned>(work.blocks)),
                         dim3(Tile::kBlockThreads), kBytes, params, work, *params.args.maps);
}

}  // namespace

ErrorCode AttendWarpgroups(const AttentionParams& params, Stream stream) {
  return TileWidth(params.args.kv.head_dim, params.args.kv.value_dim) == 64
             ? LaunchWarpgroups<64>(params, stream)
             : LaunchWarpgroups<128>(params, stream);
}

}  // namespace ropeway::cuda
