// Products with float32 activations, which have no tensor cores: a warp an output row, over so many tokens at a
// time; lane l takes units l, l + 32, ... of the row in order, then the lanes' sums are added as a tree. Where gate and
// up of a column meet a warp has one row after the other.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_FLOAT_MATMUL_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_FLOAT_MATMUL_CUH_

#include <algorithm>

#include "engine/kernels/cuda/packed_units.cuh"
#include "engine/kernels/cuda/product_source.cuh"

namespace ropeway::cuda {

inline constexpr int kFloatWarps = 4;  // rows of a block

// Weights of a matrix, a unit of kWidth columns at a time: unit i of a row is the matrix's UnitsOf(K) row + i.
template <int kColumns>
struct FloatRows {
  static constexpr int kWidth = kColumns;
  const float* data;

  static ROPEWAY_DEVICE int64_t UnitsOf(int columns) { return columns / kWidth; }
  ROPEWAY_DEVICE FloatRows(const PackedLayout&, const uint8_t* matrix)
      : data(reinterpret_cast<const float*>(matrix)) {}
  ROPEWAY_DEVICE void Load(int64_t unit, float (&weights)[kWidth]) const {
    LoadFloats(data + unit * kWidth, weights);
  }
};

template <DType kType>
struct PackedRows {
  static constexpr int kWidth = kUnitColumns;
  PackedPlanes planes;

  static ROPEWAY_DEVICE int64_t UnitsOf(int columns) { return RowUnits(columns); }
  ROPEWAY_DEVICE PackedRows(const PackedLayout& layout, const uint8_t* matrix)
      : planes(PlanesAt(layout, matrix)) {}
  ROPEWAY_DEVICE void Load(int64_t unit, float (&weights)[kWidth]) const {
    UnpackUnit<kType>(planes, unit, weights);
  }
};

// sums = a row of W with tokens [tile.first, tile.first + min(tile.count, kTokens)), in all lanes.
template <class Rows, int kTokens, class Source>
ROPEWAY_DEVICE void SumRow(const Product<Source>& product, const TokenTile& tile, int row,
                           float (&sums)[kTokens]) {
  constexpr int kStep = Rows::kWidth == 1 ? 1 : 8;  // columns of x at a time
  const int lane = static_cast<int>(threadIdx.x % 32), units = product.columns / Rows::kWidth;
  const Rows rows(product.layout, tile.weights);
  const float* x[kTokens];
#pragma unroll
  for (int t = 0; t < kTokens; ++t)  // past the last that one again, whose sums are not stored
    x[t] = static_cast<const float*>(product.x) +
           product.source.RowOfX(tile.first + min(t, tile.count - 1)) * product.columns;
#pragma unroll
  for (float& sum : sums) sum = 0;
  for (int unit = lane; unit < units; unit += 32) {
    float weights[Rows::kWidth];
    rows.Load(row * Rows::UnitsOf(product.columns) + unit, weights);
#pragma unroll
    for (int first = 0; first < Rows::kWidth; first += kStep) {
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        float values[kStep];
        LoadFloats(x[t] + int64_t{unit} * Rows::kWidth + first, values);
#pragma unroll
        for (int i = 0; i < kStep; ++i) sums[t] = __fmaf_rn(weights[first + i], values[i], sums[t]);
      }
    }
  }
#pragma unroll
  for (float& sum : sums) sum = WarpSum(sum);
}

// What comes of an output row for those tokens.
template <class Rows, int kTokens, class Source>
ROPEWAY_DEVICE void MultiplyRow(const Product<Source>& product, const TokenTile& tile, int row) {
  const typename Source::Store& end = StoreOf(product.end);
  const bool pairs = Source::kEndsFloats && end.Pairs();
  const int other = pairs ? end.gate.columns + row : end.rows;
  float gates[kTokens] = {}, sums[kTokens] = {};
  SumRow<Rows>(product, tile, row, sums);
  if (pairs) {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) gates[t] = sums[t];
    SumRow<Rows>(product, tile, other, sums);
  }
  // A lane a token.
  const int lane = static_cast<int>(threadIdx.x % 32);
  float gate = 0, sum = 0;
#pragma unroll
  for (int t = 0; t < kTokens; ++t)
    if (lane == t) gate = gates[t], sum = sums[t];
  if (lane >= min(tile.count, kTokens)) return;
  if constexpr (Source::kEndsFloats)
    StoreTwo<float>(end, tile.first + lane, row, other, pairs ? float2{gate, sum} : float2{sum, 0});
  else
    StoreSum<float>(end, tile.first + lane, row, sum);
}

// Blocks of a processor that the registers must allow; 0: as many as the compiler thinks best.
constexpr int FloatBlocks(int tokens) { return tokens == 1 ? 6 : 0; }

template <class Rows, int kTokens, class Source>
__global__ void __launch_bounds__(kFloatWarps * 32, FloatBlocks(kTokens))
    FloatKernel(Product<Source> product) {
  const int row = static_cast<int>(blockIdx.x * kFloatWarps + threadIdx.x / 32);
  if (row >= StoreOf(product.end).Outputs()) return;  // whole warps, and no barrier follows
  const int tiles = product.source.NumTiles();
#pragma unroll 1
  for (int i = static_cast<int>(blockIdx.y); i < tiles; i += static_cast<int>(gridDim.y)) {
    TokenTile tile = product.source.Tile(i);
#pragma unroll 1
    for (; tile.count > 0; tile.first += kTokens, tile.count -= kTokens)
      MultiplyRow<Rows, kTokens>(product, tile, row);
  }
}

template <class Rows, int kTokens, class Source>
ErrorCode LaunchFloat(const Product<Source>& product, Stream stream) {
  constexpr int64_t kMostGridRows = 1024;  // a grid may have 65,535; so many keep any device busy
  const int outputs = StoreOf(product.end).Outputs();
  const dim3 grid(static_cast<unsigned>((outputs + kFloatWarps - 1) / kFloatWarps),
                  static_cast<unsigned>(std::min(product.source.MostTiles(), kMostGridRows)));
  return Launch(stream, FloatKernel<Rows, kTokens, Source>, grid, dim3(kFloatWarps * 32), 0, product);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_FLOAT_MATMUL_CUH_
