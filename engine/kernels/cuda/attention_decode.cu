// Paged attention of decoded tokens, of 16-bit keys and values, by bulk copies: compute capability 9.0, for which alone this
// file is compiled.
//
//   queries [T, H, E], pages of keys and values
//     ->  out [T, H, Ev] or partial results [num_partials, G, Ev + 2]
// The arithmetic is that of attention_mma.cuh, step by step, and so are the bytes. What differs is how its parts meet. A
// fifth warp brings keys and values by bulk copies, up to three steps ahead, those of the next task too
// (attention_ring.cuh), and what is older than the step before the kernel in front has ended. The other four never wait for
// each other within a task: each computes the scores and weights of all keys of a step, which costs less than an exchange
// between them, and its share of the columns of the output.
//
// On an H100 80GB HBM3 (2026-11-27, an experiment with this kernel alone, behind another of it): 64 streams read 2,532 GB/s
// at a context of 512, 2,846 at 2,048 and 2,946 at 4,096, where the kernel by cp.async read 2,107, 2,247 and 2,270; one
// stream took 10.2 us at 512 (16.8), 11.0 at 2,048 (18.4) and 77.6 at 32,768 (90.9). Then queries lay in registers, the
// columns of a score were unrolled, which spilled, and nothing was copied before the kernel in front had ended.
//
// In a step of an 8B and one stream at 513 to 576 it added 20.9 us a layer (e20f052, 2026-11-27). Clocks in another form of it
// told where they went: page numbers, asked for slot by slot, each from memory, let the last of six copies go out 4.0 us
// after the beginning of a block, where the kernel in front had ended after 1.8; queries arrived 0.9 to 1.3 after that. So
// lists, 32 page numbers at once and the addresses of queries are known before the wait. That has run on no device, nor has
// f16.
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

// What the block has of a task's queries: rows that ldmatrix reads begin in different banks.
template <class Tile>
using DecodeQueries = typename Tile::T[Tile::kPairs][Tile::kWidth + 8];

template <class Tile>
struct DecodeShared {
  RingShared<Tile> ring;
  alignas(16) DecodeQueries<Tile> queries;
};

// How a thread brings its part of them. Those that are not there, and columns beyond E, are zeros.
template <class Tile>
class QueryLoader {
 public:
  // Where they lie, which takes divisions, is found before the kernel in front has written them.
  ROPEWAY_DEVICE QueryLoader(const AttentionParams& params, const Task& task) {
    const auto* const from = static_cast<const typename Tile::T*>(params.args.queries);
    const int head_dim = params.args.kv.head_dim;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const bool exists = Row(i) < task.item.num_pairs && Column(i) < head_dim;
      from_[i] = from;
      exists_[i] = exists;
      if (exists)
        from_[i] += RowOf(params, task.item.first_pair + Row(i), task.kv_head) * head_dim + Column(i);
    }
  }
  ROPEWAY_DEVICE void Load(DecodeQueries<Tile>& queries) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) CpAsync16(&queries[Row(i)][Column(i)], from_[i], exists_[i]);
    CpAsyncCommit();
    CpAsyncWait<0>();
  }

 private:
  static constexpr int kPieces = Tile::kWidth / 8, kCount = Tile::kPairs * kPieces / Tile::kThreads;
  static_assert(kCount * Tile::kThreads == Tile::kPairs * kPieces);

  static ROPEWAY_DEVICE int Piece(int i) { return static_cast<int>(threadIdx.x) + i * Tile::kThreads; }
  static ROPEWAY_DEVICE int Row(int i) { return Piece(i) / kPieces; }
  static ROPEWAY_DEVICE int Column(int i) { return Piece(i) % kPieces * 8; }

  const typename Tile::T* from_[kCount];
  bool exists_[kCount];
};

// scores = q k^T of all keys of a slot.
template <class Tile>
ROPEWAY_DEVICE void MultiplyKeys(const Place<Tile>& place, const DecodeQueries<Tile>& queries,
                                 const typename RingShared<Tile>::Slot& keys,
                                 float (&scores)[Tile::kKeyTiles][4]) {
#pragma unroll
  for (int n = 0; n < Tile::kKeyTiles; ++n)
#pragma unroll
    for (int j = 0; j < 4; ++j) scores[n][j] = 0;
  const int row = place.lane % 8;
#pragma unroll 1
  for (int k = 0; k < Tile::kWidth; k += 32) {
    const typename Tile::T* query = &queries[place.lane % 16][k + place.lane / 16 * 8];
    uint32_t a[2][4];
    LoadMatrixX4(a[0], query);
    LoadMatrixX4(a[1], query + 16);
    const int column = SwizzledColumn(row, k % kPanelColumns + place.lane / 8 * 8);
#pragma unroll
    for (int n = 0; n < Tile::kKeyTiles; ++n) {
      uint32_t b[4];  // 8 keys, 32 columns
      LoadMatrixX4(b, &keys[k / kPanelColumns][place.Key(n) + row][column]);
      MmaM16N8K16<typename Tile::T>(scores[n], a[0], {b[0], b[1]}, scores[n]);
      MmaM16N8K16<typename Tile::T>(scores[n], a[1], {b[2], b[3]}, scores[n]);
    }
  }
}

// sum += weights; values += weights v, for all keys of a slot and a warp's share of the columns.
template <class Tile>
ROPEWAY_DEVICE void MultiplyValues(const Place<Tile>& place, const WeightFragments<Tile>& weights,
                                   const typename RingShared<Tile>::Slot& values, RowStates<Tile>& chunk) {
  AddWeights<Tile>(weights, chunk);
#pragma unroll
  for (int key = 0; key < Tile::kKeys; key += 32) {
#pragma unroll
    for (int n = 0; n < Tile::kColumnTiles; ++n) {
      const int row = key + place.lane, column = place.Column(n);
      uint32_t b[4];  // 32 keys, 8 columns
      LoadMatrixX4Trans(b, &values[column / kPanelColumns][row][SwizzledColumn(row, column % kPanelColumns)]);
      MmaM16N8K16<typename Tile::T>(chunk.values[n], weights[key / 16], {b[0], b[1]}, chunk.values[n]);
      MmaM16N8K16<typename Tile::T>(chunk.values[n], weights[key / 16 + 1], {b[2], b[3]}, chunk.values[n]);
    }
  }
}

template <class Tile>
ROPEWAY_DEVICE void DecodeTask(const AttentionParams& params, const Task& task, const KeyRange<Tile>& range,
                               DecodeShared<Tile>& decode, ConsumerMeeting<Tile>& meeting) {
  RingShared<Tile>& shared = decode.ring;
  const AttentionItem& item = task.item;
  const Place<Tile> place;
  const QueryPair<NoModifier> known = MakeQueries<NoModifier>(params, task, {place.Row(0), place.Row(1)});
  const QueryLoader<Tile> loader(params, task);
  Totals totals;
  RowStates<Tile> chunk;
  chunk.Clear();
  ClearTotals(place, shared.totals);
  meeting.Sync();  // all have read the queries of the task before
  GridDependencyWait();
  loader.Load(decode.queries);
  meeting.Sync();
  if (item.partial >= 0) {  // chunks before a window that is smaller than the plan's
    for (int c = item.first_chunk; c < min(range.begin / kChunkTokens, item.last_chunk); ++c)
      WritePartial(params, task, place, c, params.score_unit, chunk, true);
  }
  unsigned tile = range.first_tile;
  for (int first = range.begin; first < range.end; first += Tile::kKeys, ++tile) {
    const int next = first + Tile::kKeys;
    float scores[Tile::kKeyTiles][4];
    MultiplyKeys<Tile>(place, decode.queries, SlotOf<false>(shared, tile), scores);
    EmptySlot<false>(shared, tile);
    const float2 here = ModifyScores<Tile, NoModifier>(params, known, place, first, scores);
    float largest[2] = {here.x, here.y};
    LargestOfQuad(largest);
    chunk.Shrink(Weigh(params.score_unit, largest, chunk.max, scores));
    WeightFragments<Tile> weights;
    PackAll<Tile>(scores, weights);
    MultiplyValues<Tile>(place, weights, SlotOf<true>(shared, tile), chunk);
    EmptySlot<true>(shared, tile);
    if (next % kChunkTokens != 0 && next < range.end) continue;
    if (item.partial >= 0)
      WritePartial(params, task, place, first / kChunkTokens, params.score_unit, chunk, false);
    else
      MergeChunk(place, params.score_unit, chunk, totals, shared.totals);
    chunk.Clear();
  }
  if (item.partial < 0) WriteOutput(params, task, place, totals, shared.totals);
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kBlockThreads, Tile::kMinBlocks)
    DecodeKernel(AttentionParams params, WorkList<AttentionItem> work, const __grid_constant__ KvMaps maps) {
  ROPEWAY_DYNAMIC_SHARED(unsigned char, memory);
  auto& shared = Align<DecodeShared<Tile>>(memory);
  if (threadIdx.x == 0) shared.ring.InitBarriers();
  __syncthreads();
  LaunchDependents();
  // From here on they go apart: no __syncthreads any more.
  if (threadIdx.x >= Tile::kThreads) {
    SlotProducer<Tile> producer(params, maps, shared.ring);
    ForTasks<Tile>(params, work,
                   [&](const AttentionItem& item, const Task& task, const KeyRange<Tile>& range) {
                     // Weights have swept it from the cache since the layer before.
                     if (item.partial >= 0 && threadIdx.x % 32 == 0)
                       PrefetchL2(ArrivalsOf(params, item, task.kv_head));
                     producer.Fill(task, range, task.item.first_position);
                   });
    producer.Wait();
    return;
  }
  unsigned phase = 0;
  ConsumerMeeting<Tile> meeting{shared.ring, phase};
  ForTasks<Tile>(params, work, [&](const AttentionItem& item, const Task& task, const KeyRange<Tile>& range) {
    AttentionMerge merge;  // known before the kernel in front has ended, like all that is in lists
    if (item.partial >= 0) merge = params.args.merges[item.merge];
    DecodeTask<Tile>(params, task, range, shared, meeting);
    if (item.partial >= 0) MergeIfLast<typename Tile::T>(params, item, merge, task.kv_head, meeting);
  });
  GridDependencyWait();
}

template <class T, int kWidth>
ErrorCode LaunchDecode(const AttentionParams& params, Stream stream) {
  using Tile = DecodeTile<T, kWidth>;
  const WorkList<AttentionItem>& work = params.args.narrow;
  if (work.blocks == 0) return 0;
  constexpr size_t kBytes = sizeof(DecodeShared<Tile>) + kPanelAlignment;
  static_assert(Tile::kMinBlocks * (kBytes + 1024) <= kMostWarpgroupSharedBytes + 1024);
  return LaunchDependent(stream, DecodeKernel<Tile>, dim3(static_cast<unsigned>(work.blocks)),
                         dim3(Tile::kBlockThreads), kBytes, params, work, *params.args.maps);
}

}  // namespace

ErrorCode AttendDecode(const AttentionParams& params, Stream stream) {
  return WithRingTile(params, [&]<class T, int kWidth>() { return LaunchDecode<T, kWidth>(params, stream); });
}

}  // namespace ropeway::cuda
