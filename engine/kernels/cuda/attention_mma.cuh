// Paged attention on tensor cores, for prompts and decoding alike.
//
//   queries [T, H, E], pages of keys and values
//     ->  out [T, H, Ev] or partial results [num_partials, G, Ev + 2]
// A block takes (item, KV head) after (item, KV head), tile by tile where an item is wider. It walks the keys in tiles of kKeys, while the keys and
// values of the next ones are under way by cp.async (TokenRing):
//   scores = scale q k^T, modified and masked; the maximum of a row over all warps that share it
//   weights = e^(score - maximum), rounded to 16 bits
//   sum and weighted values by mma, the sum with a column of ones
// Every kChunkTokens keys the result is merged into what came before, or written as a partial result.
//
// Moves, per KV head and item: num_pairs (E + Ev) numbers and its keys and values once; per chunk of a split
// item, num_pairs (TileWidth + 4) floats besides. Decoding is bound by the keys and values: H / G queries
// share each load.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_MMA_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_MMA_CUH_

#include "engine/kernels/cuda/attention_merge.cuh"
#include "engine/kernels/cuda/attention_rows.cuh"
#include "engine/kernels/cuda/attention_state.cuh"
#include "engine/kernels/cuda/attention_tile.cuh"
#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/shared_bytes.h"

namespace ropeway::cuda {

// scores = q k^T of a warp's 16 queries and its share of the keys of a slot.
template <class Tile>
ROPEWAY_DEVICE void MultiplyKeys(const Place<Tile>& place, const SharedTile<Tile>& shared,
                                 const typename SharedTile<Tile>::Row* rows, int part,
                                 float (&scores)[Tile::kKeyTiles][4]) {
  using T = typename Tile::T;
#pragma unroll Tile::kUnrolledColumns
  for (int k = 0; k < Tile::kWidth; k += 32) {
    const T* query = &shared.queries[16 * place.row_warp + place.lane % 16][k + place.lane / 16 * 8];
    uint32_t a[2][4];
    LoadMatrixX4(a[0], query);
    LoadMatrixX4(a[1], query + 16);
#pragma unroll
    for (int n = 0; n < Tile::kSlotTiles; ++n) {
      float(&sums)[4] = scores[part * Tile::kSlotTiles + n];
      uint32_t keys[4];  // 8 keys, 32 columns
      LoadMatrixX4(keys, &rows[place.Key(n) + place.lane % 8][k + place.lane / 8 * 8]);
      MmaM16N8K16<T>(sums, a[0], {keys[0], keys[1]}, sums);
      MmaM16N8K16<T>(sums, a[1], {keys[2], keys[3]}, sums);
    }
  }
}

// The largest score of each of the lane's two queries, over all keys of the tile.
template <class Tile>
ROPEWAY_DEVICE void ShareMaxima(const Place<Tile>& place, SharedTile<Tile>& shared, float (&largest)[2]) {
  LargestOfQuad(largest);
  if constexpr (Tile::kColumnWarps > 1) {
#pragma unroll
    for (int r = 0; r < 2; ++r)
      if (place.quad == 0) shared.maxima[place.column_warp][place.Row(r)] = largest[r];
    __syncthreads();
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int warp = 0; warp < Tile::kColumnWarps; ++warp)
        largest[r] = fmaxf(largest[r], shared.maxima[warp][place.Row(r)]);
  }
}

// Gives the weights of a warp's keys to the other warps of its row.
template <class Tile>
ROPEWAY_DEVICE void StoreWeights(const Place<Tile>& place, const uint32_t (&weights)[Tile::kKeyTiles][2],
                                 SharedTile<Tile>& shared) {
#pragma unroll
  for (int n = 0; n < Tile::kKeyTiles; ++n)
#pragma unroll
    for (int r = 0; r < 2; ++r)
      *reinterpret_cast<uint32_t*>(&shared.weights[place.Row(r)][place.Key(n) + 2 * place.quad]) =
          weights[n][r];
}

// The weights of a warp's queries and 16 keys from `key` of the tile on, as mma takes them. A warp alone in
// its row has them in registers.
template <class Tile>
ROPEWAY_DEVICE void WeightFragment(const Place<Tile>& place, const SharedTile<Tile>& shared,
                                   const uint32_t (&weights)[Tile::kKeyTiles][2], int key, uint32_t (&a)[4]) {
  if constexpr (Tile::kColumnWarps > 1) {
    LoadMatrixX4(a, &shared.weights[16 * place.row_warp + place.lane % 16][key + place.lane / 16 * 8]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = weights[key / 8 + i / 2][i % 2];
  }
}

// sum += weights; values += weights v, for all keys of a slot and a warp's share of the columns.
template <class Tile>
ROPEWAY_DEVICE void MultiplyValues(const Place<Tile>& place, const SharedTile<Tile>& shared,
                                   const typename SharedTile<Tile>::Row* rows, int part,
                                   const uint32_t (&weights)[Tile::kKeyTiles][2], RowStates<Tile>& chunk) {
  using T = typename Tile::T;
  const uint32_t ones = PackPair<T>(1, 1);
#pragma unroll
  for (int key = 0; key < Tile::kSlotKeys; key += 32) {
    uint32_t a[2][4];
    WeightFragment<Tile>(place, shared, weights, part * Tile::kSlotKeys + key, a[0]);
    WeightFragment<Tile>(place, shared, weights, part * Tile::kSlotKeys + key + 16, a[1]);
    MmaM16N8K16<T>(chunk.sum, a[0], {ones, ones}, chunk.sum);
    MmaM16N8K16<T>(chunk.sum, a[1], {ones, ones}, chunk.sum);
#pragma unroll
    for (int n = 0; n < Tile::kColumnTiles; ++n) {
      uint32_t values[4];  // 32 keys, 8 columns
      LoadMatrixX4Trans(values, &rows[key + place.lane][place.Column(n)]);
      MmaM16N8K16<T>(chunk.values[n], a[0], {values[0], values[1]}, chunk.values[n]);
      MmaM16N8K16<T>(chunk.values[n], a[1], {values[2], values[3]}, chunk.values[n]);
    }
  }
}

// One tile of an item for one KV head. The barriers: keys arrive and the last tile's values are used up; (maxima are
// known;) values arrive, weights are known and the keys are used up.
template <class Tile, class Modifier>
ROPEWAY_DEVICE void AttendTask(const AttentionParams& params, const Task& task, SharedTile<Tile>& shared,
                               TokenRing<Tile>& ring) {
  constexpr int kParts = Tile::kKeys / Tile::kSlotKeys;
  const AttentionItem& item = task.item;
  const Place<Tile> place;
  const float unit = params.score_unit;
  const QueryPair<Modifier> queries = MakeQueries<Modifier>(params, task, {place.Row(0), place.Row(1)});
  const int first_seen = FirstKey(params.args.modifier, item.first_position) / Tile::kKeys * Tile::kKeys;
  const int begin = max(item.first_chunk * kChunkTokens, first_seen);
  const int end = min(item.last_chunk * kChunkTokens, item.num_keys);
  Totals totals;
  RowStates<Tile> chunk;
  chunk.Clear();
  ClearTotals(place, shared.totals);
  if (item.partial >= 0) {  // chunks before a window that is smaller than the plan's
    for (int c = item.first_chunk; c < min(begin / kChunkTokens, item.last_chunk); ++c)
      WritePartial(params, task, place, c, unit, chunk, true);
  }
  if (begin < end) ring.Start(task, begin, end);
  for (int first = begin; first < end; first += Tile::kKeys) {
    const int next = first + Tile::kKeys;
    float scores[Tile::kKeyTiles][4] = {};
#pragma unroll
    for (int part = 0; part < kParts; ++part)
      MultiplyKeys(place, shared, ring.template Arrive<false>(task, first, part, end), part, scores);
    const float2 largest_here = ModifyScores(params, queries, place, first, scores);
    float largest[2] = {largest_here.x, largest_here.y};
    ShareMaxima(place, shared, largest);
    chunk.Shrink(Weigh(unit, largest, chunk.max, scores));
    uint32_t weights[Tile::kKeyTiles][2];
#pragma unroll
    for (int n = 0; n < Tile::kKeyTiles; ++n)
#pragma unroll
      for (int r = 0; r < 2; ++r) weights[n][r] = PackWeights<typename Tile::T>(scores[n], r);
    if constexpr (Tile::kColumnWarps > 1) StoreWeights(place, weights, shared);
#pragma unroll
    for (int part = 0; part < kParts; ++part)
      MultiplyValues(place, shared, ring.template Arrive<true>(task, first, part, end), part, weights, chunk);
    if (next % kChunkTokens != 0 && next < end) continue;
    if (item.partial >= 0)
      WritePartial(params, task, place, first / kChunkTokens, unit, chunk, false);
    else
      MergeChunk(place, unit, chunk, totals, shared.totals);
    chunk.Clear();
  }
  if (item.partial < 0) WriteOutput(params, task, place, totals, shared.totals);
}

template <class Tile, class Modifier>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kMinBlocks)
    AttendKernel(AttentionParams params, WorkList<AttentionItem> work) {
  ROPEWAY_DYNAMIC_SHARED(SharedTile<Tile>, shared);
  LaunchDependents();
  GridDependencyWait();
  TokenRing<Tile> ring(params, *shared);
  const int kv_heads = params.args.kv.num_kv_heads, total = *work.count * kv_heads;
  for (int w = static_cast<int>(blockIdx.x); w < total; w += static_cast<int>(gridDim.x)) {
    const AttentionItem item = work.data[w / kv_heads];
    for (int first = 0; first < item.num_pairs; first += Tile::kPairs)
      AttendTask<Tile, Modifier>(params, MakeTask(params, item, w % kv_heads, first, Tile::kPairs), *shared,
                                 ring);
    if (item.partial >= 0) MergeIfLast<typename Tile::T>(params, item, w % kv_heads);
  }
  CpAsyncWait<0>();
}

template <class Tile>
ErrorCode LaunchTiles(const AttentionParams& params, const WorkList<AttentionItem>& work, Stream stream) {
  static_assert(sizeof(SharedTile<Tile>) <= kMostSharedBytes);
  if (work.blocks == 0) return 0;
  const kernels::BiasKind kind = params.args.modifier.bias.kind;
  const bool slopes = kind == kernels::BiasKind::kNone || kind == kernels::BiasKind::kSlope;
  const auto kernel = slopes ? AttendKernel<Tile, SlopeModifier> : AttendKernel<Tile, TableModifier>;
  return LaunchDependent(stream, kernel, dim3(static_cast<unsigned>(work.blocks)), dim3(Tile::kThreads),
                         sizeof(SharedTile<Tile>), params, work);
}

template <class T, int kWidth, bool kCodes>
ErrorCode LaunchItems(const AttentionParams& params, Stream stream) {
  const ErrorCode error = LaunchTiles<Tile<T, kWidth, kCodes, 1>>(params, params.args.narrow, stream);
  if (error != 0) return error;
  constexpr int kWideRowWarps = kWidth > 128 ? 2 : 4;  // more would not fit the registers
  return LaunchTiles<Tile<T, kWidth, kCodes, kWideRowWarps>>(params, params.args.wide, stream);
}

template <class T, bool kCodes>
ErrorCode AttendByWidth(const AttentionParams& params, Stream stream) {
  switch (TileWidth(params.args.kv.head_dim, params.args.kv.value_dim)) {
    case 64:
      return LaunchItems<T, 64, kCodes>(params, stream);
    case 96:
      return LaunchItems<T, 96, kCodes>(params, stream);
    case 128:
      return LaunchItems<T, 128, kCodes>(params, stream);
    default:
      return LaunchItems<T, 256, kCodes>(params, stream);
  }
}

template <class T>
ErrorCode AttendMma(const AttentionParams& params, Stream stream) {
  return HasScales(params.args.kv.element) ? AttendByWidth<T, true>(params, stream)
                                           : AttendByWidth<T, false>(params, stream);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_MMA_CUH_
