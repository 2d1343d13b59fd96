// Paged attention on tensor cores, for prompts and decoding alike.
//
//   queries [T, H, E], pages of keys and values
//     ->  out [T, H, Ev] or partial results [num_partials, G, Ev + 2]
// A block takes (item, KV head) after (item, KV head). It walks the keys in tiles of kKeys, while the keys and
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
#include "engine/kernels/cuda/attention_state.cuh"
#include "engine/kernels/cuda/attention_tile.cuh"
#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/shared_bytes.h"

namespace ropeway::cuda {

// (m, l, o) of a lane's two queries: element r of `max`; element 2 r of `sum`, and its twin; elements 2 r and
// 2 r + 1 of each tile of columns.
template <class Tile>
struct RowStates {
  float max[2];
  float sum[4];
  float values[Tile::kColumnTiles][4];

  ROPEWAY_DEVICE void Clear() {
    max[0] = max[1] = -INFINITY;
#pragma unroll
    for (int j = 0; j < 4; ++j) sum[j] = 0;
#pragma unroll
    for (int n = 0; n < Tile::kColumnTiles; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) values[n][j] = 0;
  }
};

// What is known of a lane's two queries.
template <class Modifier>
struct QueryPair {
  typename Modifier::Query modified[2];
  int first_key[2], position[2];
};

template <class Modifier>
ROPEWAY_DEVICE QueryPair<Modifier> MakeQueries(const AttentionParams& params, const Task& task,
                                               const int (&rows)[2]) {
  const kernels::ScoreModifier& modifier = params.args.modifier;
  QueryPair<Modifier> queries;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const bool exists = rows[r] < task.item.num_pairs;
    const int pair = task.item.first_pair + (exists ? rows[r] : 0);
    queries.position[r] = exists ? PositionOf(params, task.item, pair) : -1;  // -1 sees nothing
    queries.first_key[r] = FirstKey(modifier, queries.position[r]);
    queries.modified[r] =
        Modifier::MakeQuery(modifier, HeadOf(params, pair, task.kv_head), queries.position[r]);
  }
  return queries;
}

// scores = q k^T of a warp's 16 queries and its share of the keys.
template <class Tile>
ROPEWAY_DEVICE void MultiplyKeys(const Place<Tile>& place, const SharedTile<Tile>& shared,
                                 const typename SharedTile<Tile>::Row* rows,
                                 float (&scores)[Tile::kKeyTiles][4]) {
  using T = typename Tile::T;
#pragma unroll
  for (int n = 0; n < Tile::kKeyTiles; ++n)
#pragma unroll
    for (int j = 0; j < 4; ++j) scores[n][j] = 0;
#pragma unroll
  for (int k = 0; k < Tile::kWidth; k += 32) {
    const T* query = &shared.queries[16 * place.row_warp + place.lane % 16][k + place.lane / 16 * 8];
    uint32_t a[2][4];
    LoadMatrixX4(a[0], query);
    LoadMatrixX4(a[1], query + 16);
#pragma unroll
    for (int n = 0; n < Tile::kKeyTiles; ++n) {
      uint32_t keys[4];  // 8 keys, 32 columns
      LoadMatrixX4(keys, &rows[place.Key(n) + place.lane % 8][k + place.lane / 8 * 8]);
      MmaM16N8K16<T>(scores[n], a[0], {keys[0], keys[1]}, scores[n]);
      MmaM16N8K16<T>(scores[n], a[1], {keys[2], keys[3]}, scores[n]);
    }
  }
}

// Scales, modifies and masks the scores of a tile that begins at key `first`; returns the largest of this
// lane.
template <class Tile, class Modifier>
ROPEWAY_DEVICE float2 ModifyScores(const AttentionParams& params, const QueryPair<Modifier>& queries,
                                   const Task& task, const Place<Tile>& place, int first,
                                   float (&scores)[Tile::kKeyTiles][4]) {
  const kernels::ScoreModifier& modifier = params.args.modifier;
  const bool all_visible = first + Tile::kKeys <= task.item.first_position + 1 &&
                           FirstKey(modifier, task.item.num_keys - 1) <= first;
  float largest[2] = {-INFINITY, -INFINITY};
#pragma unroll
  for (int n = 0; n < Tile::kKeyTiles; ++n)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int r = j / 2, key = first + place.Key(n) + 2 * place.quad + j % 2;
      float score = Modifier::Modify(modifier, queries.modified[r], scores[n][j] * params.args.scale, key);
      if (!all_visible && (key > queries.position[r] || key < queries.first_key[r])) score = -INFINITY;
      scores[n][j] = score;
      largest[r] = fmaxf(largest[r], score);
    }
  return {largest[0], largest[1]};
}

// The largest score of each of the lane's two queries, over all keys of the tile.
template <class Tile>
ROPEWAY_DEVICE void ShareMaxima(const Place<Tile>& place, SharedTile<Tile>& shared, float (&largest)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    largest[r] = fmaxf(largest[r], __shfl_xor_sync(kFullWarp, largest[r], 1));
    largest[r] = fmaxf(largest[r], __shfl_xor_sync(kFullWarp, largest[r], 2));
  }
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

// From scores to weights: raises the maxima of the chunk's states, shrinks their sums and values to match,
// and packs the weights by pairs of keys: weights[n][r].
template <class Tile>
ROPEWAY_DEVICE void Weigh(const float (&largest)[2], const float (&scores)[Tile::kKeyTiles][4],
                          RowStates<Tile>& chunk, uint32_t (&weights)[Tile::kKeyTiles][2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float max = fmaxf(chunk.max[r], largest[r]);
    const float base = max == -INFINITY ? 0 : max;  // such a query has seen nothing: all weights are 0
    const float shrink = SoftmaxWeight(chunk.max[r] - base), exponent = -base * kLog2E;
    chunk.max[r] = max;
    chunk.sum[2 * r] *= shrink;
    chunk.sum[2 * r + 1] *= shrink;
#pragma unroll
    for (int n = 0; n < Tile::kColumnTiles; ++n) {
      chunk.values[n][2 * r] *= shrink;
      chunk.values[n][2 * r + 1] *= shrink;
    }
#pragma unroll
    for (int n = 0; n < Tile::kKeyTiles; ++n)
      weights[n][r] = PackPair<typename Tile::T>(FastExp2(fmaf(scores[n][2 * r], kLog2E, exponent)),
                                                 FastExp2(fmaf(scores[n][2 * r + 1], kLog2E, exponent)));
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

// sum += weights; values += weights v, for all keys of the tile and a warp's share of the columns.
template <class Tile>
ROPEWAY_DEVICE void MultiplyValues(const Place<Tile>& place, const SharedTile<Tile>& shared,
                                   const typename SharedTile<Tile>::Row* rows,
                                   const uint32_t (&weights)[Tile::kKeyTiles][2], RowStates<Tile>& chunk) {
  using T = typename Tile::T;
  const uint32_t ones = PackPair<T>(1, 1);
#pragma unroll
  for (int key = 0; key < Tile::kKeys; key += 32) {
    uint32_t a[2][4];
    WeightFragment<Tile>(place, shared, weights, key, a[0]);
    WeightFragment<Tile>(place, shared, weights, key + 16, a[1]);
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

// Writes the states of one chunk as partial results; `empty` states without their values.
template <class Tile>
ROPEWAY_DEVICE void WritePartial(const AttentionParams& params, const Task& task, const Place<Tile>& place,
                                 int chunk_index, const RowStates<Tile>& chunk, bool empty) {
  const AttentionItem& item = task.item;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (place.Row(r) >= item.num_pairs) continue;
    const int64_t index = item.partial + (chunk_index - item.first_chunk) * item.num_pairs + place.Row(r);
    float* partial = PartialAt(params, index, task.kv_head);
    if (place.quad == 0 && place.column_warp == 0)
      *PartialStatistics(params, partial) = {chunk.max[r], chunk.sum[2 * r]};
    if (empty) continue;
#pragma unroll
    for (int n = 0; n < Tile::kColumnTiles; ++n) {
      float* pair = partial + place.Column(n) + 2 * place.quad;
      *reinterpret_cast<float2*>(pair) = {chunk.values[n][2 * r], chunk.values[n][2 * r + 1]};
    }
  }
}

// M and L of a lane's two queries; O lies in SharedTile::totals.
struct Totals {
  float max[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};
};

template <class Tile>
ROPEWAY_DEVICE void MergeChunk(const Place<Tile>& place, const RowStates<Tile>& chunk, Totals& totals,
                               SharedTile<Tile>& shared) {
  const Merge merges[2] = {Merge(totals.max[0], chunk.max[0]), Merge(totals.max[1], chunk.max[1])};
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    totals.max[r] = merges[r].max;
    totals.sum[r] = merges[r].Apply(totals.sum[r], chunk.sum[2 * r]);
  }
#pragma unroll
  for (int n = 0; n < Tile::kColumnTiles; ++n) {
    Vector128<float>& values = shared.totals[n][place.thread];
#pragma unroll
    for (int j = 0; j < 4; ++j) values.values[j] = merges[j / 2].Apply(values.values[j], chunk.values[n][j]);
  }
}

template <class Tile>
ROPEWAY_DEVICE void WriteOutput(const AttentionParams& params, const Task& task, const Place<Tile>& place,
                                const Totals& totals, const SharedTile<Tile>& shared) {
  using T = typename Tile::T;
  const int value_dim = params.args.kv.value_dim;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (place.Row(r) >= task.item.num_pairs) continue;
    const int pair = task.item.first_pair + place.Row(r);
    const float sink = SinkOf(params.args.modifier, HeadOf(params, pair, task.kv_head));
    const float factor = FinalFactor(totals.max[r], totals.sum[r], sink);
    T* out = static_cast<T*>(params.args.out) + RowOf(params, pair, task.kv_head) * value_dim;
#pragma unroll
    for (int n = 0; n < Tile::kColumnTiles; ++n) {
      const int column = place.Column(n) + 2 * place.quad;
      const float* values = shared.totals[n][place.thread].values + 2 * r;
      if (column < value_dim)
        *reinterpret_cast<uint32_t*>(out + column) = PackPair<T>(values[0] * factor, values[1] * factor);
    }
  }
}

// One item for one KV head. The barriers: keys arrive and the last tile's values are used up; (maxima are
// known;) values arrive, weights are known and the keys are used up.
template <class Tile, class Modifier>
ROPEWAY_DEVICE void AttendTask(const AttentionParams& params, const Task& task, SharedTile<Tile>& shared,
                               TokenRing<Tile>& ring) {
  const AttentionItem& item = task.item;
  const Place<Tile> place;
  const QueryPair<Modifier> queries = MakeQueries<Modifier>(params, task, {place.Row(0), place.Row(1)});
  const int first_seen = FirstKey(params.args.modifier, item.first_position) / Tile::kKeys * Tile::kKeys;
  const int begin = max(item.first_chunk * kChunkTokens, first_seen);
  const int end = min(item.last_chunk * kChunkTokens, item.num_keys);
  Totals totals;
  RowStates<Tile> chunk;
  chunk.Clear();
#pragma unroll
  for (int n = 0; n < Tile::kColumnTiles; ++n) shared.totals[n][place.thread] = {};
  if (item.partial >= 0) {  // chunks before a window that is smaller than the plan's
    for (int c = item.first_chunk; c < min(begin / kChunkTokens, item.last_chunk); ++c)
      WritePartial(params, task, place, c, chunk, true);
  }
  if (begin < end) ring.Start(task, begin, end);
  for (int first = begin; first < end; first += Tile::kKeys) {
    const int next = first + Tile::kKeys;
    float scores[Tile::kKeyTiles][4];
    MultiplyKeys(place, shared, ring.template Arrive<false>(task, first, end), scores);
    const float2 largest_here = ModifyScores(params, queries, task, place, first, scores);
    float largest[2] = {largest_here.x, largest_here.y};
    ShareMaxima(place, shared, largest);
    uint32_t weights[Tile::kKeyTiles][2];
    Weigh(largest, scores, chunk, weights);
    if constexpr (Tile::kColumnWarps > 1) StoreWeights(place, weights, shared);
    MultiplyValues(place, shared, ring.template Arrive<true>(task, first, end), weights, chunk);
    if (next % kChunkTokens != 0 && next < end) continue;
    if (item.partial >= 0)
      WritePartial(params, task, place, first / kChunkTokens, chunk, false);
    else
      MergeChunk(place, chunk, totals, shared);
    chunk.Clear();
  }
  if (item.partial < 0)
    WriteOutput(params, task, place, totals, shared);
  else
    MergeIfLast<typename Tile::T>(params, item, task.kv_head);
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
    Task task{.item = work.data[w / kv_heads], .kv_head = w % kv_heads};
    task.pages = params.args.page_tables + int64_t{task.item.row} * params.args.max_pages;
    AttendTask<Tile, Modifier>(params, task, *shared, ring);
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
  constexpr int kWideRowWarps = kWidth > 128 ? 2 : 4;  // of WidePairs(); more would not fit the registers
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
