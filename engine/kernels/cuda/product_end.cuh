// What stands behind a product for few tokens, in its kernel: which rows of W a tile has, and where its
// sums go. One for dense and packed weights.
//
// A tile is the 16 rows of an mma, and a lane has the sums of rows g and g + 8 of it for the same tokens. So
// rows are dealt to tiles such that numbers that meet stand 8 apart: gate and up of a column, the two halves
// of a pair that is turned. What was a number of 16 bits between two kernels is rounded to one here.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_PRODUCT_END_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_PRODUCT_END_CUH_

#include "engine/kernels/cuda/activation.cuh"
#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/head_rotation.cuh"
#include "engine/kernels/cuda/norm_row.cuh"
#include "engine/kernels/cuda/ops.h"

namespace ropeway::cuda {

enum class EndKind : uint8_t { kStore, kAdd, kGate, kQkv };

struct ProductEnd {
  EndKind kind = EndKind::kStore;
  int rows = 0;  // M
  // kStore
  void* y = nullptr;
  int64_t y_stride = 0;
  bool float_out = false;
  // Of the one kind.
  NormArgs add = {};
  GateArgs gate = {};
  QkvArgs qkv = {};
};

inline ProductEnd EndOf(const FusedMatMulArgs& args) {
  ProductEnd end = {.rows = static_cast<int>(args.product.weights.rows),
                    .y = args.product.y,
                    .y_stride = args.product.y_stride,
                    .float_out = args.product.out == Element::kF32};
  if (args.add) {
    end.kind = EndKind::kAdd;
    end.add = *args.add;
  } else if (args.gate) {
    end.kind = EndKind::kGate;
    end.gate = *args.gate;
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

ROPEWAY_DEVICE TileRows RowsOf(const ProductEnd& end, int tile) {
  if (end.kind == EndKind::kGate && end.gate.gated) return {8 * tile, end.gate.columns + 8 * tile, 1};
  if (end.kind != EndKind::kQkv) return {16 * tile, 16 * tile + 8, 1};
  const HeadTile at = HeadTileOf(end.qkv, tile);
  const int row = at.first_row + 16 * at.part;
  if (!at.turned) return {row, row + 8, 1};
  if (end.qkv.interleaved) return {row, row + 1, 2};
  return {row - 8 * at.part, row - 8 * at.part + end.qkv.rotary_dim / 2, 1};
}

// How many tiles there are.
constexpr int TilesOf(const ProductEnd& end) {
  return end.kind == EndKind::kGate && end.gate.gated ? (end.gate.columns + 7) / 8 : (end.rows + 15) / 16;
}

template <class T>
ROPEWAY_DEVICE float Rounded(float x) {
  return ToFloat(FromFloat<T>(x));
}

template <class T>
ROPEWAY_DEVICE void StoreSum(const ProductEnd& end, int64_t token, int row, float sum) {
  const int64_t place = token * end.y_stride + row;
  if (end.float_out)
    static_cast<float*>(end.y)[place] = sum;
  else
    static_cast<T*>(end.y)[place] = FromFloat<T>(sum);
}

template <class T>
ROPEWAY_DEVICE void AddSum(const NormArgs& add, int64_t token, int row, float sum) {
  float& residual = add.residual[token * add.columns + row];
  const float bias = add.branch_bias == nullptr ? 0 : add.branch_bias[row];
  residual = AddedTo(residual, add.branch_scale, Rounded<T>(sum) + bias);
}

template <class T>
ROPEWAY_DEVICE void StoreActivated(const GateArgs& gate, int64_t token, int column, float sum) {
  const float bias = gate.bias == nullptr ? 0 : gate.bias[column];
  static_cast<T*>(gate.out)[token * gate.columns + column] =
      FromFloat<T>(Activate(gate.activation, gate.numbers, Rounded<T>(sum) + bias));
}

template <class T>
ROPEWAY_DEVICE void StoreGated(const GateArgs& gate, int64_t token, int column, float2 sums) {
  float left = Rounded<T>(sums.x), right = Rounded<T>(sums.y);
  if (gate.bias != nullptr) {
    left += gate.bias[column];
    right += gate.bias[gate.columns + column];
  }
  static_cast<T*>(gate.out)[token * gate.columns + column] =
      FromFloat<T>(Gated(gate.activation, gate.numbers, left, right));
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

// sums [kTokenTiles][rows g, g + 8][tokens 2 j, 2 j + 1] of a tile, of lane 4 g + j of a warp.
template <class T, int kTokenTiles>
ROPEWAY_DEVICE void FinishTile(const ProductEnd& end, int tile, int first_token, int tokens,
                               const float (&sums)[kTokenTiles][4]) {
  const int g = static_cast<int>(threadIdx.x % 32) / 4, j = static_cast<int>(threadIdx.x % 4);
  const TileRows rows = RowsOf(end, tile);
  const bool gated = end.kind == EndKind::kGate && end.gate.gated;
#pragma unroll
  for (int t = 0; t < kTokenTiles; ++t) {
#pragma unroll
    for (int p = 0; p < 2; ++p) {
      const int token = first_token + t * 8 + 2 * j + p;
      if (token >= first_token + tokens) continue;
      const float2 two = {sums[t][p], sums[t][2 + p]};
      if (gated) {
        if (rows.Row(g) < end.gate.columns) StoreGated<T>(end.gate, token, rows.Row(g), two);
        continue;
      }
      if (end.kind == EndKind::kQkv) {
        StoreHeadPair<T>(end.qkv, HeadTileOf(end.qkv, tile), rows, g, token, two);
        continue;
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = rows.Row(g + 8 * half);
        const float sum = half == 0 ? two.x : two.y;
        if (row >= end.rows) continue;
        if (end.kind == EndKind::kStore) StoreSum<T>(end, token, row, sum);
        if (end.kind == EndKind::kAdd) AddSum<T>(end.add, token, row, sum);
        if (end.kind == EndKind::kGate) StoreActivated<T>(end.gate, token, row, sum);
      }
    }
  }
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_PRODUCT_END_CUH_
