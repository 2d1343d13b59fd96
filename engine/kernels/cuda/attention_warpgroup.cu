// Paged attention of prompts by warpgroups, of bf16: the tensor cores of compute capability 9.0, for which alone this
// file is compiled.
//
//   queries [T, H, E], pages of keys and values
//     ->  out [T, H, Ev] or partial results [num_partials, G, Ev + 2]
// The arithmetic is that of attention_mma.cuh, step by step: tiles of 32 keys from the same place on, one chain of 16
// columns at a time for a score, of 16 keys at a time for a value, sums by mma.sync. So the bytes are the same,
// where a chain of wgmma is one of mma.sync, which attention_check.h finds out.
//
// A block of two warpgroups takes (item, KV head) after (item, KV head), 64 pairs each, and walks the keys 64 at a
// time, two steps. While the soft-max of a step is computed, the tensor cores have the scores of the next one and the
// values of the one before. Keys and values come by cp.async into swizzled panels, two to three tiles ahead.
// Queries, scores, weights and the values of a chunk stay in registers.
//
// Moves, per KV head and item: num_pairs (E + Ev) numbers and its keys and values once; per chunk of a split
// item, num_pairs (TileWidth + 4) floats besides.
#include "engine/kernels/cuda/attention_merge.cuh"
#include "engine/kernels/cuda/attention_rows.cuh"
#include "engine/kernels/cuda/attention_state.cuh"
#include "engine/kernels/cuda/attention_tile.cuh"
#include "engine/kernels/cuda/shared_bytes.h"
#include "engine/kernels/cuda/warpgroup.h"

namespace ropeway::cuda {
namespace {

// In the terms of Place and RowStates (attention_tile.cuh): a warp has all columns and all keys of its 16 queries.
template <int kWidth_>
struct WarpgroupTile {
  using T = bf16;
  static constexpr int kWidth = kWidth_;
  static constexpr int kThreads = 256, kPairs = kWarpgroupPairs, kColumnWarps = 1;
  static constexpr int kKeys = 32;      // of one step
  static constexpr int kSlotKeys = 64;  // of one copy: two steps
  static constexpr int kKeyTiles = kKeys / 8, kColumnTiles = kWidth / 8;
  static constexpr int kSlots = 3;  // of keys, and of values
  static constexpr int kPanels = kWidth / kPanelColumns;
  static constexpr int kPanelBytes = kSlotKeys * kPanelRowBytes;
  static_assert(kChunkTokens % kSlotKeys == 0 && kThreads / (kWidth / 8) % kPageTokens == 0);
};

template <class Tile>
struct WarpgroupShared {
  using Panel = bf16[Tile::kSlotKeys][kPanelColumns];
  using Slot = Panel[Tile::kPanels];
  Slot keys[Tile::kSlots], values[Tile::kSlots];
  Vector128<float> totals[Tile::kColumnTiles][Tile::kThreads];
};

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

// Keys and values of an item on their way into slots, in turn: keys of tile t + 3 and values of tile t + 2 come
// to where those of t and t - 1 were, once tile t has its scores.
template <class Tile>
class WarpgroupRing {
 public:
  ROPEWAY_DEVICE WarpgroupRing(const AttentionParams& params, WarpgroupShared<Tile>& shared)
      : params_(params), shared_(shared) {}

  // Starts with the tile at `first`, and waits for it.
  ROPEWAY_DEVICE void Start(const Task& task, int first, int end) {
    slot_ = 0;
    __syncthreads();  // the item before is done with
    Copy(task, false, first, end, 0);
    Copy(task, true, first, end, 0);
    Copy(task, false, first + Tile::kSlotKeys, end, 1);
    Copy(task, true, first + Tile::kSlotKeys, end, 1);
    Copy(task, false, first + 2 * Tile::kSlotKeys, end, 2);
    Arrive<3>();
  }
  // From the tile at `first` to the next one, which is waited for. Its keys are done with, and the values of the
  // tile before it.
  ROPEWAY_DEVICE void Advance(const Task& task, int first, int end) {
    Arrive<1>();
    const int before = slot_ == 0 ? Tile::kSlots - 1 : slot_ - 1;
    Copy(task, true, first + 2 * Tile::kSlotKeys, end, before);
    Copy(task, false, first + 3 * Tile::kSlotKeys, end, slot_);
    slot_ = slot_ + 1 == Tile::kSlots ? 0 : slot_ + 1;
  }

  ROPEWAY_DEVICE const typename WarpgroupShared<Tile>::Slot& keys() const { return shared_.keys[slot_]; }
  ROPEWAY_DEVICE const typename WarpgroupShared<Tile>::Slot& values() const { return shared_.values[slot_]; }

 private:
  template <int kGroupsInFlight>
  ROPEWAY_DEVICE void Arrive() {
    CpAsyncWait<kGroupsInFlight>();
    FenceForWarpgroups();
    __syncthreads();
  }
  // Tokens from num_keys on and columns beyond the last become zeros.
  ROPEWAY_DEVICE void Copy(const Task& task, bool is_values, int first, int end, int slot) {
    if (first < end) {
      constexpr int kPieces = Tile::kWidth / 8, kRowsAtOnce = Tile::kThreads / kPieces;
      const HeadRows rows(params_.args.kv, task.kv_head, sizeof(bf16), is_values);
      const int row = static_cast<int>(threadIdx.x) / kPieces,
                column = static_cast<int>(threadIdx.x) % kPieces * 8;
      const uint8_t* const piece =
          rows.data + (row % kPageTokens * rows.columns + column) * static_cast<int>(sizeof(bf16));
      auto& panel = (is_values ? shared_.values : shared_.keys)[slot][column / kPanelColumns];
      bf16* const to = &panel[row][SwizzledColumn(row, column % kPanelColumns)];
#pragma unroll
      for (int i = 0; i < Tile::kSlotKeys; i += kRowsAtOnce) {
        const bool exists = first + i + row < task.item.num_keys && column < rows.columns;
        const int64_t page = __ldg(task.pages + (exists ? first + i + row : first) / kPageTokens);
        CpAsync16(to + i * kPanelColumns, exists ? piece + page * params_.page_bytes : rows.data, exists);
      }
    }
    CpAsyncCommit();
  }

  const AttentionParams& params_;
  WarpgroupShared<Tile>& shared_;
  int slot_ = 0;
};

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
                                    SharedTotals<Tile>& shared)
      : params_(params),
        task_(task),
        known_(MakeQueries<NoModifier>(params, task, {place_.Row(0), place_.Row(1)})),
        shared_(shared) {
    ClearTotals(place_, shared_);
    LoadQueries<Tile>(params, task, place_, queries_);
    chunk_.Clear();
  }

  ROPEWAY_DEVICE void Run(WarpgroupRing<Tile>& ring) {
    const AttentionItem& item = task_.item;
    const int first_seen =
        FirstKey(params_.args.modifier, item.first_position) / Tile::kSlotKeys * Tile::kSlotKeys;
    const int begin = max(item.first_chunk * kChunkTokens, first_seen);
    const int end = min(item.last_chunk * kChunkTokens, item.num_keys);
    if (item.partial >= 0) {  // chunks before a window that is smaller than the plan's
      for (int c = item.first_chunk; c < min(begin / kChunkTokens, item.last_chunk); ++c)
        WritePartial(params_, task_, place_, c, chunk_, true);
    }
    if (begin < end) Walk(begin, end, ring);
    if (item.partial < 0) WriteOutput(params_, task_, place_, totals_, shared_);
  }

 private:
  // Each step's scores are computed beside the values of the one before, and its soft-max while those are.
  ROPEWAY_DEVICE void Walk(int begin, int end, WarpgroupRing<Tile>& ring) {
    float scores[Tile::kKeyTiles][4] = {};
    WeightFragments<Tile> weights = {};
    ring.Start(task_, begin, end);
    HoldAll(scores, weights);
    WarpgroupFence();
    StartScores<Tile>(queries_, ring.keys(), 0, scores);
    WarpgroupWait<0>();
    TakeStep(begin, false, scores, weights);
    int first = begin;
    for (; first + Tile::kKeys < end; first += Tile::kKeys) {
      const int next = first + Tile::kKeys;
      const auto& values = ring.values();
      if ((next & (Tile::kSlotKeys - 1)) == 0) ring.Advance(task_, next - Tile::kSlotKeys, end);
      HoldAll(scores, weights);
      WarpgroupFence();
      StartScores<Tile>(queries_, ring.keys(), next & (Tile::kSlotKeys - 1), scores);
      StartValues<Tile>(weights, values, first & (Tile::kSlotKeys - 1), chunk_);
      WarpgroupWait<1>();
      TakeStep(next, (next & (kChunkTokens - 1)) == 0, scores, weights);
    }
    HoldAll(scores, weights);
    WarpgroupFence();
    StartValues<Tile>(weights, ring.values(), first & (Tile::kSlotKeys - 1), chunk_);
    WarpgroupWait<0>();
    HoldAll(scores, weights);
    FinishChunk(first / kChunkTokens);
  }

  ROPEWAY_DEVICE void HoldAll(float (&scores)[Tile::kKeyTiles][4], WeightFragments<Tile>& weights) {
    HoldRegisters(scores);
    HoldRegisters(weights);
    HoldRegisters(chunk_.values);
  }

  // From the scores of the step at `first`, which have arrived, to its weights. `weights` are those of the step before
  // until its values have arrived, too.
  ROPEWAY_DEVICE void TakeStep(int first, bool begins_chunk, float (&scores)[Tile::kKeyTiles][4],
                               WeightFragments<Tile>& weights) {
    HoldRegisters(scores);
    float maxima[2] = {begins_chunk ? -INFINITY : chunk_.max[0], begins_chunk ? -INFINITY : chunk_.max[1]};
    const float2 here = ModifyScores<Tile, NoModifier>(params_, known_, task_, place_, first, scores);
    float largest[2] = {here.x, here.y};
    LargestOfQuad(largest);
    const float2 shrink = Weigh(largest, maxima, scores);
    WarpgroupWait<0>();
    HoldRegisters(weights);
    HoldRegisters(chunk_.values);
    if (begins_chunk) {
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
      MergeChunk(place_, chunk_, totals_, shared_);
  }

  const AttentionParams& params_;
  const Task& task_;
  const Place<Tile> place_;
  const QueryPair<NoModifier> known_;
  uint32_t queries_[Tile::kWidth / 16][4];
  RowStates<Tile> chunk_;
  Totals totals_;
  SharedTotals<Tile>& shared_;
};

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    AttendWarpgroupKernel(AttentionParams params, WorkList<AttentionItem> work) {
  ROPEWAY_DYNAMIC_SHARED(unsigned char, memory);
  const auto misplaced = static_cast<int>(SharedAddress(memory) % kPanelAlignment);
  auto& shared =
      *reinterpret_cast<WarpgroupShared<Tile>*>(memory + (kPanelAlignment - misplaced) % kPanelAlignment);
  LaunchDependents();
  GridDependencyWait();
  WarpgroupRing<Tile> ring(params, shared);
  const int kv_heads = params.args.kv.num_kv_heads, total = *work.count * kv_heads;
  for (int w = static_cast<int>(blockIdx.x); w < total; w += static_cast<int>(gridDim.x)) {
    const AttentionItem item = work.data[w / kv_heads];
    const Task task = MakeTask(params, item, w % kv_heads, 0, Tile::kPairs);
    WarpgroupAttention<Tile>(params, task, shared.totals).Run(ring);
    if (item.partial >= 0) MergeIfLast<bf16>(params, item, task.kv_head);
  }
  CpAsyncWait<0>();
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
                         dim3(Tile::kThreads), kBytes, params, work);
}

}  // namespace

ErrorCode AttendWarpgroups(const AttentionParams& params, Stream stream) {
  return TileWidth(params.args.kv.head_dim, params.args.kv.value_dim) == 64
             ? LaunchWarpgroups<64>(params, stream)
             : LaunchWarpgroups<128>(params, stream);
}

}  // namespace ropeway::cuda
