// Products on tensor cores by the rule of sums (gemm.h): the steps of mma over tiles in shared memory.
//
// One for all kernels that multiply: they differ in how the tiles come there.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_MMA_STEPS_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_MMA_STEPS_CUH_

#include "engine/kernels/cuda/device.h"

namespace ropeway::cuda {

// Of one mma: rows of W, tokens, columns; and the columns of 16 bytes.
inline constexpr int kMmaRows = 16, kMmaTokens = 8, kMmaColumns = 16;
inline constexpr int kChunkColumns = 8;

// Columns that are multiplied: up to a whole step, with zeros past the last one.
constexpr int PaddedColumns(int columns) { return (columns + kMmaColumns - 1) / kMmaColumns * kMmaColumns; }

// Rows in shared memory: chunks of eight rows lie such that ldmatrix meets no bank twice.
template <int kRowBytes>
struct ChunkRows {
  uint8_t* data;

  ROPEWAY_DEVICE uint8_t* At(int row, int chunk) const {
    return data + row * kRowBytes + ((chunk ^ (row & 7)) << 4);
  }
  // From a later one on, a multiple of 8.
  ROPEWAY_DEVICE ChunkRows Below(int rows) const { return {data + rows * kRowBytes}; }
};

// sums [row tiles][token tiles][rows g, g + 8][tokens 2 j, 2 j + 1], of lane 4 g + j of a warp, += the products of
// so many steps, of which there are kMost. weights.At(row, chunk) and tokens.At(row, chunk) say where eight columns
// of a row lie. What lies past the last step may be anything.
template <class T, int kMost, int kUnrolled, int kRowTiles, int kTokenTiles, class Weights, class Tokens>
ROPEWAY_DEVICE void MultiplySteps(const Weights& weights, const Tokens& tokens, int steps,
                                  float (&sums)[kRowTiles][kTokenTiles][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32), matrix = lane / 8, row = lane % 8;
#pragma unroll kUnrolled
  for (int step = 0; step < kMost; step += 2) {
    if (step >= steps) break;  // alike for the warp
    // [token tile][step][columns 0..7, 8..15]: four matrices are two steps of a tile.
    uint32_t x[kTokenTiles][4];
#pragma unroll
    for (int t = 0; t < kTokenTiles; ++t)
      LoadMatrixX4(x[t], tokens.At(t * kMmaTokens + row, step * 2 + matrix));
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      if (s > 0 && step + s >= steps) break;
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        uint32_t w[4];
        LoadMatrixX4(w, weights.At(r * kMmaRows + matrix % 2 * 8 + row, (step + s) * 2 + matrix / 2));
#pragma unroll
        for (int t = 0; t < kTokenTiles; ++t)
          MmaM16N8K16<T>(sums[r][t], w, {x[t][2 * s], x[t][2 * s + 1]}, sums[r][t]);
      }
    }
  }
}

template <int kRowTiles, int kTokenTiles>
ROPEWAY_DEVICE void ClearSums(float (&sums)[kRowTiles][kTokenTiles][4]) {
#pragma unroll
  for (auto& row : sums)
#pragma unroll
    for (auto& sum : row) sum[0] = sum[1] = sum[2] = sum[3] = 0;
}

// finish(r, t, sums of token tiles [t, t + kAtOnce) of row tile r) for all of them, some after the others in the first
// ones' place: its code is there once.
template <int kAtOnce, int kRowTiles, int kTokenTiles, class Finish>
ROPEWAY_DEVICE void ForEachPart(float (&sums)[kRowTiles][kTokenTiles][4], const Finish& finish) {
  constexpr int kTiles = kRowTiles * kTokenTiles, kParts = kTokenTiles / kAtOnce;  // of a row tile
  static_assert(kTokenTiles % kAtOnce == 0);
#pragma unroll 1
  for (int part = 0; part < kRowTiles * kParts; ++part) {
    float some[kAtOnce][4];
#pragma unroll
    for (int i = 0; i < kTiles; ++i)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int next = min(i + kAtOnce, kTiles - 1);
        if (i < kAtOnce) some[i][n] = sums[0][i][n];
        sums[i / kTokenTiles][i % kTokenTiles][n] = sums[next / kTokenTiles][next % kTokenTiles][n];
      }
    finish(part / kParts, part % kParts * kAtOnce, some);
  }
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_MMA_STEPS_CUH_
