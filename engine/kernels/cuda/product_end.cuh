// What stands behind a product, in its kernel: which rows of W a tile has, and where its sums go. One for all weights,
// of one matrix and of experts; a gate may stand behind any of them, all else behind products for few tokens alone.
//
// A tile is the 16 rows of an mma, and a lane has the sums of rows g and g + 8 of it for the same tokens. So
// rows are dealt to tiles such that numbers that meet stand 8 apart: gate and up of a column, the two halves
// of a pair that is turned. What was a number of 16 bits between two kernels is rounded to one here.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_PRODUCT_END_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_PRODUCT_END_CUH_

#include <optional>

#include "engine/kernels/cuda/activation.cuh"
#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/head_rotation.cuh"
#include "engine/kernels/cuda/norm_row.cuh"
#include "engine/kernels/cuda/ops.h"

namespace ropeway::cuda {

// Sums become rows of y, which are tokens or slots of experts, or what a gate makes of those rows.
template <bool kOfSlots_>
struct StoreEnd {
  static constexpr bool kOfSlots = kOfSlots_;

  int rows = 0;  // M
  void* y = nullptr;
  int64_t y_stride = 0;
  bool float_out = false;
  // Of slots: the weights of choices, by which sums are multiplied; or null.
  const float* weights = nullptr;
  const int32_t* slot_choices = nullptr;
  bool activates = false;  // whether `gate` follows; what it makes of a row takes the place of y
  GateArgs gate = {};

  // Whether two rows meet: gate and up of a column.
  constexpr bool Pairs() const { return activates && gate.gated; }
  // What comes of them, for each token.
  constexpr int Outputs() const { return Pairs() ? gate.columns : rows; }
};

using TokenEnd = StoreEnd<false>;
using SlotEnd = StoreEnd<true>;

template <bool kOfSlots>
StoreEnd<kOfSlots> WithGate(StoreEnd<kOfSlots> end, const std::optional<GateArgs>& gate) {
  end.activates = gate.has_value();
  end.gate = gate.value_or(GateArgs());
  return end;
}

enum class EndKind : uint8_t { kStore, kAdd, kQkv };

// Of a product for few tokens.
struct ProductEnd {
  EndKind kind = EndKind::kStore;
  TokenEnd store = {};  // M of all kinds
  // Of the one kind.
  NormArgs add = {};
  QkvArgs qkv = {};
};

inline ProductEnd EndOf(const FusedMatMulArgs& args) {
  const TokenEnd store = {.rows = static_cast<int>(args.product.weights.rows),
                          .y = args.product.y,
                          .y_stride = args.product.y_stride,
                          .float_out = args.product.out == Element::kF32};
  ProductEnd end = {.store = WithGate(store, args.gate)};
  if (args.add) {
    end.kind = EndKind::kAdd;
    end.add = *args.add;
  } else if (args.qkv) {
    end.kind = EndKind::kQkv;
    end.qkv = *args.qkv;
  }
  return end;
}

inline constexpr int kEndTileRows = 16;

// A tile's rows of W, by eights: first + i step and second + i step. They may be past the last one.
struct TileRows {
  int first, second, step;

  ROPEWAY_DEVICE int Row(int i) const { return (i < 8 ? first : second) + i % 8 * step; }
  // Row i of a half of the tile, of eight: one of each eight in turn, so that what meets stands side by side.
  ROPEWAY_DEVICE int RowOfHalf(int half, int i) const {
    return (i % 2 == 0 ? first : second) + (4 * half + i / 2) * step;
  }
};

// Which part of which head a tile has.
struct HeadTile {
  int head;       // of H + G + G: queries, keys, values
  int first_row;  // of the head
  int part;       // of 16 columns
  bool turned;
};

ROPEWAY_DEVICE HeadTile HeadTileOf(const QkvArgs& qkv, int tile) {
  const int keys_end = qkv.num_heads + qkv.kv.num_kv_heads, parts = qkv.kv.head_dim / kEndTileRows;
  if (tile < keys_end * parts) {
    const int head = tile / parts, part = tile % parts;
    return {head, head * qkv.kv.head_dim, part, part < qkv.rotary_dim / kEndTileRows};
  }
  const int value_parts = qkv.kv.value_dim / kEndTileRows, value = tile - keys_end * parts;
  const int head = value / value_parts;
  return {keys_end + head, keys_end * qkv.kv.head_dim + head * qkv.kv.value_dim, value % value_parts, false};
}

template <bool kOfSlots>
ROPEWAY_DEVICE TileRows RowsOf(const StoreEnd<kOfSlots>& end, int tile) {
  if (end.Pairs()) return {8 * tile, end.gate.columns + 8 * tile, 1};
  return {16 * tile, 16 * tile + 8, 1};
}
ROPEWAY_DEVICE TileRows RowsOf(const ProductEnd& end, int tile) {
  if (end.kind != EndKind::kQkv) return RowsOf(end.store, tile);
  const HeadTile at = HeadTileOf(end.qkv, tile);
  const int row = at.first_row + 16 * at.part;
  if (!at.turned) return {row, row + 8, 1};
  if (end.qkv.interleaved) return {row, row + 1, 2};
  return {row - 8 * at.part, row - 8 * at.part + end.qkv.rotary_dim / 2, 1};
}

constexpr const SlotEnd& StoreOf(const SlotEnd& end) { return end; }
constexpr const TokenEnd& StoreOf(const ProductEnd& end) { return end.store; }

// How many tiles there are.
template <bool kOfSlots>
constexpr int TilesOf(const StoreEnd<kOfSlots>& end) {
  const int outputs = end.Pairs() ? 8 : 16;
  return (end.Outputs() + outputs - 1) / outputs;
}
constexpr int TilesOf(const ProductEnd& end) { return TilesOf(end.store); }

template <class T>
ROPEWAY_DEVICE float Rounded(float x) {
  return ToFloat(FromFloat<T>(x));
}

// ---- What is stored.

template <class T, bool kOfSlots>
ROPEWAY_DEVICE void StoreSum(const StoreEnd<kOfSlots>& end, int64_t row_of_y, int row, float sum) {
  const int64_t place = row_of_y * end.y_stride + row;
  if (end.float_out)
    static_cast<float*>(end.y)[place] = sum;
  else
    static_cast<T*>(end.y)[place] = FromFloat<T>(sum);
}

// What a gate, or an activation without one, makes of a column's sums.
template <class T, bool kOfSlots>
ROPEWAY_DEVICE void StoreGated(const StoreEnd<kOfSlots>& end, int64_t row_of_y, int column, float2 sums) {
  const GateArgs& gate = end.gate;
  const float* const bias = kOfSlots ? GateBias(gate, row_of_y) : gate.bias;
  static_cast<T*>(gate.out)[row_of_y * gate.columns + column] =
      FromFloat<T>(GatedNumber(gate, bias, column, Rounded<T>(sums.x), Rounded<T>(sums.y)));
}
template <class T, bool kOfSlots>
ROPEWAY_DEVICE void StoreActivated(const StoreEnd<kOfSlots>& end, int64_t row_of_y, int column, float sum) {
  const GateArgs& gate = end.gate;
  const float* const bias = kOfSlots ? GateBias(gate, row_of_y) : gate.bias;
  static_cast<T*>(gate.out)[row_of_y * gate.columns + column] =
      FromFloat<T>(ActivatedNumber(gate, bias, column, Rounded<T>(sum)));
}

// Of a slot: sums are multiplied by the weight of its choice.
ROPEWAY_DEVICE float2 Weighted(const SlotEnd& end, int64_t slot, float2 sums) {
  if (end.weights == nullptr) return sums;
  const float weight = end.weights[end.slot_choices[slot]];
  return {__fmul_rn(sums.x, weight), __fmul_rn(sums.y, weight)};
}

// The sums of two rows of W for one of y, either of which may be past the last one; gate and up where they are a pair.
template <class T, bool kOfSlots>
ROPEWAY_DEVICE void StoreTwo(const StoreEnd<kOfSlots>& end, int64_t row_of_y, int first, int second,
                             float2 sums) {
  if constexpr (kOfSlots) sums = Weighted(end, row_of_y, sums);
  if (end.Pairs()) {
    if (first < end.gate.columns) StoreGated<T>(end, row_of_y, first, sums);
    return;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = i == 0 ? first : second;
    const float sum = i == 0 ? sums.x : sums.y;
    if (row >= end.rows) continue;
    if (end.activates)
      StoreActivated<T>(end, row_of_y, row, sum);
    else
      StoreSum<T>(end, row_of_y, row, sum);
  }
}

template <class T>
ROPEWAY_DEVICE void AddSum(const NormArgs& add, int64_t token, int row, float sum) {
  float& residual = add.residual[token * add.columns + row];
  float added = Rounded<T>(sum);
  // A bias of 0 would make 0 of -0, which the kernel of norms keeps.
  if (add.branch_bias != nullptr) added += add.branch_bias[row];
  residual = AddedTo(residual, add.branch_scale, added);
}

// Two numbers of a head, of rows first + i step and second + i step.
template <class T>
ROPEWAY_DEVICE void StoreHeadPair(const QkvArgs& qkv, const HeadTile& at, const TileRows& rows, int i,
                                  int token, float2 sums) {
  const int row[2] = {rows.Row(i), rows.Row(i + 8)}, position = qkv.positions[token];
  const bool is_query = at.head < qkv.num_heads;
  if (!is_query && position < 0) return;
  float2 pair = {Rounded<T>(sums.x), Rounded<T>(sums.y)};
  if (qkv.bias != nullptr) pair = {pair.x + qkv.bias[row[0]], pair.y + qkv.bias[row[1]]};
  pair = {Clipped(qkv, pair.x), Clipped(qkv, pair.y)};
  if (at.turned) {
    const int64_t angle = int64_t{AngleRow(qkv, token, position)} * (qkv.rotary_dim / 2) + 8 * at.part + i;
    pair = Rotated(pair.x, pair.y, qkv.cosines[angle], qkv.sines[angle]);
  }
  T* out;
  if (is_query) {
    const float scale = qkv.query_scales == nullptr ? 1 : qkv.query_scales[max(position, 0)];
    pair = {__fmul_rn(pair.x, scale), __fmul_rn(pair.y, scale)};
    out = static_cast<T*>(qkv.queries) + (int64_t{token} * qkv.num_heads + at.head) * qkv.kv.head_dim;
  } else {
    const int kv_head = at.head - qkv.num_heads;
    const bool is_value = kv_head >= qkv.kv.num_kv_heads;
    out = reinterpret_cast<T*>(
        KvPlaceOf(qkv, token, position, is_value, kv_head - (is_value ? qkv.kv.num_kv_heads : 0)).row);
  }
  out[row[0] - at.first_row] = FromFloat<T>(pair.x);
  out[row[1] - at.first_row] = FromFloat<T>(pair.y);
}

// ---- The end of a tile.

// The sums of rows g and g + 8 of it, for one row of y.
template <class T>
ROPEWAY_DEVICE void StorePair(const SlotEnd& end, int, const TileRows& rows, int g, int row_of_y,
                              float2 sums) {
  StoreTwo<T>(end, row_of_y, rows.Row(g), rows.Row(g + 8), sums);
}
template <class T>
ROPEWAY_DEVICE void StorePair(const ProductEnd& end, int tile, const TileRows& rows, int g, int token,
                              float2 sums) {
  const int first = rows.Row(g), second = rows.Row(g + 8);
  if (end.kind == EndKind::kStore) return StoreTwo<T>(end.store, token, first, second, sums);
  if (end.kind == EndKind::kQkv)
    return StoreHeadPair<T>(end.qkv, HeadTileOf(end.qkv, tile), rows, g, token, sums);
  if (first < end.store.rows) AddSum<T>(end.add, token, first, sums.x);
  if (second < end.store.rows) AddSum<T>(end.add, token, second, sums.y);
}

// sums [kTokenTiles][rows g, g + 8][rows 2 j, 2 j + 1 of y] of a tile, of lane 4 g + j of a warp, for `count` rows of y.
template <class T, class End, int kTokenTiles>
ROPEWAY_DEVICE void FinishTile(const End& end, int tile, int first, int count,
                               const float (&sums)[kTokenTiles][4]) {
  const int g = static_cast<int>(threadIdx.x % 32) / 4, j = static_cast<int>(threadIdx.x % 4);
  const TileRows rows = RowsOf(end, tile);
#pragma unroll
  for (int t = 0; t < kTokenTiles; ++t) {
#pragma unroll
    for (int p = 0; p < 2; ++p) {
      const int at = t * 8 + 2 * j + p;
      if (at < count) StorePair<T>(end, tile, rows, g, first + at, {sums[t][p], sums[t][2 + p]});
    }
  }
}

// The same where W is the second factor of mma: sums [kTokenTiles][kHalves][tokens g, g + 8][rows 2 j, 2 j + 1 of a half]
// of the tile's halves from first_half on, for `count` rows of y.
template <class T, class End, int kTokenTiles, int kHalves>
ROPEWAY_DEVICE void FinishHalves(const End& end, int tile, int first_half, int first, int count,
                                 const float (&sums)[kTokenTiles][kHalves][4]) {
  const int g = static_cast<int>(threadIdx.x % 32) / 4, j = static_cast<int>(threadIdx.x % 4);
  const TileRows rows = RowsOf(end, tile);
#pragma unroll
  for (int t = 0; t < kTokenTiles; ++t) {
#pragma unroll
    for (int i = 0; i < 2 * kHalves; ++i) {
      const int half = i / 2, token = t * 16 + i % 2 * 8 + g;
      if (token >= count) continue;
      StorePair<T>(end, tile, rows, 4 * (first_half + half) + j, first + token,
                   {sums[t][half][i % 2 * 2], sums[t][half][i % 2 * 2 + 1]});
    }
  }
}

// The same of a half of a tile whose rows are the first factor, as RowOfHalf has them: of sums [kTokenTiles][rows 2 j, 2 j + 1
// of y] of row g, which come first. Rows that meet are those of neighbours: of their two tokens each finishes one.
template <class T, class End, int kTokenTiles>
ROPEWAY_DEVICE void FinishHalfTile(const End& end, int tile, int half, int first, int count,
                                   const float (&sums)[kTokenTiles][4]) {
  const int g = static_cast<int>(threadIdx.x % 32) / 4, j = static_cast<int>(threadIdx.x % 4);
  const TileRows rows = RowsOf(end, tile);
  const bool is_second = g % 2 != 0;
#pragma unroll
  for (int t = 0; t < kTokenTiles; ++t) {
    const float own = is_second ? sums[t][1] : sums[t][0];
    const float others = __shfl_xor_sync(~0u, is_second ? sums[t][0] : sums[t][1], 4);
    const int token = t * 8 + 2 * j + (is_second ? 1 : 0);
    if (token < count)
      StorePair<T>(end, tile, rows, 4 * half + g / 2, first + token,
                   is_second ? float2{others, own} : float2{own, others});
  }
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_PRODUCT_END_CUH_
