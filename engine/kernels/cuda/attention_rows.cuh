// Soft-max over tiles of keys, as the kernels on tensor cores do it: what a lane has of its two queries, and how
// scores become weights. One arithmetic for mma.sync and wgmma, whose fragments are alike, so that their bytes are.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_ROWS_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_ROWS_CUH_

#include "engine/kernels/cuda/attention_state.cuh"
#include "engine/kernels/cuda/attention_tile.cuh"
#include "engine/kernels/cuda/device.h"

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
  // To a larger maximum.
  ROPEWAY_DEVICE void Shrink(float2 factors) {
#pragma unroll
    for (int j = 0; j < 4; ++j) sum[j] *= j < 2 ? factors.x : factors.y;
#pragma unroll
    for (int n = 0; n < Tile::kColumnTiles; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) values[n][j] *= j < 2 ? factors.x : factors.y;
  }
};

// What is known of a lane's two queries, and of all of its tile.
template <class Modifier>
struct QueryPair {
  typename Modifier::Query modified[2];
  int first_key[2], position[2];
  int all_see_from, all_see_to;  // keys that every query of the tile sees

  ROPEWAY_DEVICE bool AllSee(int first, int keys) const {
    return first >= all_see_from && first + keys <= all_see_to;
  }
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
  queries.all_see_from = FirstKey(modifier, task.item.num_keys - 1);
  queries.all_see_to = task.item.first_position + 1;
  return queries;
}

// Modifies and masks the scores of a tile that begins at key `first`; returns the largest of this lane.
template <class Tile, class Modifier>
ROPEWAY_DEVICE float2 ModifyScores(const AttentionParams& params, const QueryPair<Modifier>& queries,
                                   const Place<Tile>& place, int first, float (&scores)[Tile::kKeyTiles][4]) {
  if (Modifier::kChanges && params.changes_scores) {
    const kernels::ScoreModifier& modifier = params.args.modifier;
#pragma unroll
    for (int n = 0; n < Tile::kKeyTiles; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int key = first + place.Key(n) + 2 * place.quad + j % 2;
        scores[n][j] =
            Modifier::Modify(modifier, queries.modified[j / 2], scores[n][j] * params.args.scale, key);
      }
  }
  if (!queries.AllSee(first, Tile::kKeys)) {
#pragma unroll
    for (int n = 0; n < Tile::kKeyTiles; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int key = first + place.Key(n) + 2 * place.quad + j % 2;
        if (key > queries.position[j / 2] || key < queries.first_key[j / 2]) scores[n][j] = -INFINITY;
      }
  }
  float largest[4] = {scores[0][0], scores[0][1], scores[0][2], scores[0][3]};
#pragma unroll
  for (int n = 1; n < Tile::kKeyTiles; ++n)
#pragma unroll
    for (int j = 0; j < 4; ++j) largest[j] = fmaxf(largest[j], scores[n][j]);
  return {fmaxf(largest[0], largest[1]), fmaxf(largest[2], largest[3])};
}

// The largest of what the four lanes of a query have, for each of the lane's two queries.
ROPEWAY_DEVICE void LargestOfQuad(float (&largest)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    largest[r] = fmaxf(largest[r], __shfl_xor_sync(kFullWarp, largest[r], 1));
    largest[r] = fmaxf(largest[r], __shfl_xor_sync(kFullWarp, largest[r], 2));
  }
}

// From scores, each worth `unit`, to weights, in their place: raises the maxima of the chunk's states. Returns what the
// sums and values of the states must be multiplied with to match.
template <int kKeyTiles>
ROPEWAY_DEVICE float2 Weigh(float unit, const float (&largest)[2], float (&maxima)[2],
                            float (&scores)[kKeyTiles][4]) {
  const float factor = unit * kLog2E;
  float shrink[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float max = fmaxf(maxima[r], largest[r]);
    const float base = max == -INFINITY ? 0 : max;  // such a query has seen nothing: all weights are 0
    const float exponent = -base * factor;
    shrink[r] = FastExp2((maxima[r] - base) * factor);
    maxima[r] = max;
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
      for (int j = 2 * r; j < 2 * r + 2; ++j) scores[n][j] = FastExp2(fmaf(scores[n][j], factor, exponent));
  }
  return {shrink[0], shrink[1]};
}

// A query's weights of two neighbouring keys, rounded to 16 bits.
template <class T>
ROPEWAY_DEVICE uint32_t PackWeights(const float (&weights)[4], int r) {
  return PackPair<T>(weights[2 * r], weights[2 * r + 1]);
}

// The queries of a lane as mma takes them; those that are not there, and columns beyond E, are zeros.
template <class Tile>
using QueryFragments = uint32_t[Tile::kWidth / 16][4];

template <class Tile>
ROPEWAY_DEVICE void LoadQueries(const AttentionParams& params, const Task& task, const Place<Tile>& place,
                                QueryFragments<Tile>& queries) {
  using T = typename Tile::T;
  const int head_dim = params.args.kv.head_dim;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const bool exists = place.Row(r) < task.item.num_pairs;
    const int pair = task.item.first_pair + (exists ? place.Row(r) : 0);
    const T* row = static_cast<const T*>(params.args.queries) + RowOf(params, pair, task.kv_head) * head_dim;
#pragma unroll
    for (int i = 0; i < Tile::kWidth / 8; ++i) {
      const int column = 8 * i + 2 * place.quad;
      queries[i / 2][i % 2 * 2 + r] =
          exists && column < head_dim ? *reinterpret_cast<const uint32_t*>(row + column) : 0;
    }
  }
}

// Weights of a step as mma takes them, of 16 keys after the other.
template <class Tile>
using WeightFragments = uint32_t[Tile::kKeys / 16][4];

template <class Tile>
ROPEWAY_DEVICE void PackAll(const float (&scores)[Tile::kKeyTiles][4], WeightFragments<Tile>& weights) {
#pragma unroll
  for (int n = 0; n < Tile::kKeyTiles; ++n)
#pragma unroll
    for (int r = 0; r < 2; ++r) weights[n / 2][n % 2 * 2 + r] = PackWeights<typename Tile::T>(scores[n], r);
}

// sum += weights, with a column of ones.
template <class Tile>
ROPEWAY_DEVICE void AddWeights(const WeightFragments<Tile>& weights, RowStates<Tile>& chunk) {
  using T = typename Tile::T;
  const uint32_t ones = PackPair<T>(1, 1);
#pragma unroll
  for (int k = 0; k < Tile::kKeys; k += 16)
    MmaM16N8K16<T>(chunk.sum, weights[k / 16], {ones, ones}, chunk.sum);
}

// Writes the states of one chunk, whose maxima are worth `unit` each, as partial results; `empty` states without their
// values.
template <class Tile>
ROPEWAY_DEVICE void WritePartial(const AttentionParams& params, const Task& task, const Place<Tile>& place,
                                 int chunk_index, float unit, const RowStates<Tile>& chunk, bool empty) {
  const AttentionItem& item = task.item;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (place.Row(r) >= item.num_pairs) continue;
    const int64_t index = item.partial + (chunk_index - item.first_chunk) * task.item_pairs + place.Row(r);
    float* partial = PartialAt(params, index, task.kv_head);
    if (place.quad == 0 && place.column_warp == 0)
      *PartialStatistics(params, partial) = {chunk.max[r] * unit, chunk.sum[2 * r]};
    if (empty) continue;
#pragma unroll
    for (int n = 0; n < Tile::kColumnTiles; ++n) {
      float* pair = partial + place.Column(n) + 2 * place.quad;
      *reinterpret_cast<float2*>(pair) = {chunk.values[n][2 * r], chunk.values[n][2 * r + 1]};
    }
  }
}

// M and L of a lane's two queries. O would not fit the registers: each thread has its own in shared memory.
struct Totals {
  float max[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};
};

template <class Tile>
using SharedTotals = Vector128<float>[Tile::kColumnTiles][Tile::kThreads];

template <class Tile>
ROPEWAY_DEVICE void ClearTotals(const Place<Tile>& place, SharedTotals<Tile>& shared) {
#pragma unroll
  for (int n = 0; n < Tile::kColumnTiles; ++n) shared[n][place.thread] = {};
}

template <class Tile>
ROPEWAY_DEVICE void MergeChunk(const Place<Tile>& place, float unit, const RowStates<Tile>& chunk,
                               Totals& totals, SharedTotals<Tile>& shared) {
  const Merge merges[2] = {Merge(totals.max[0], chunk.max[0] * unit),
                           Merge(totals.max[1], chunk.max[1] * unit)};
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    totals.max[r] = merges[r].max;
    totals.sum[r] = merges[r].Apply(totals.sum[r], chunk.sum[2 * r]);
  }
#pragma unroll
  for (int n = 0; n < Tile::kColumnTiles; ++n) {
    Vector128<float> values = Load128(shared[n][place.thread].values);
#pragma unroll
    for (int j = 0; j < 4; ++j) values.values[j] = merges[j / 2].Apply(values.values[j], chunk.values[n][j]);
    Store128(shared[n][place.thread].values, values);
  }
}

template <class Tile>
ROPEWAY_DEVICE void WriteOutput(const AttentionParams& params, const Task& task, const Place<Tile>& place,
                                const Totals& totals, const SharedTotals<Tile>& shared) {
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
      const float* values = shared[n][place.thread].values + 2 * r;
      if (column < value_dim)
        *reinterpret_cast<uint32_t*>(out + column) = PackPair<T>(values[0] * factor, values[1] * factor);
    }
  }
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_ROWS_CUH_
