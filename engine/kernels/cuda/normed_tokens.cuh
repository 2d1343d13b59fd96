// The tokens of a product that norms them itself: each block computes the norms of all its rows from the
// residual and keeps them in shared memory, as mma takes them.
//
// The numbers are those of norm.cu, whose order of sums norm_row.cuh states.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_NORMED_TOKENS_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_NORMED_TOKENS_CUH_

#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/fused_matmul.h"
#include "engine/kernels/cuda/norm_row.cuh"

namespace ropeway::cuda {

inline constexpr int kMaxNormWarps = kMaxNormThreads / 32;
using NormParts = float[kFusedTokens][kMaxNormWarps];

// Rows of 16-bit numbers in chunks of eight, which lie such that ldmatrix meets no bank twice. Rows past the
// last are that one again.
struct NormedTokens {
  uint8_t* data;
  int row_bytes;  // NormedRowBytes
  int tokens;

  ROPEWAY_DEVICE uint8_t* ChunkAt(int row, int chunk) const {
    row = min(row, tokens - 1);
    return data + row * row_bytes + ((chunk ^ (row & 7)) << 4);
  }
};

ROPEWAY_DEVICE float NormTotal(const float (&parts)[kMaxNormWarps], int warps) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  return WarpSum(lane < warps ? parts[lane] : 0.0f);
}

// parts[t] = what the warps of norm.cu would have of add(...add(0, x, offset)..., x, offset) over row t, where
// offset is that of the row: offset_of(t). All threads of a block of kWarps warps; ends with a barrier.
template <int kWarps, class Add, class OffsetOf>
ROPEWAY_DEVICE void SumNormRows(const NormArgs& norm, int tokens, NormParts& parts, const Add& add,
                                const OffsetOf& offset_of) {
  constexpr int kMine = (kMaxNormWarps + kWarps - 1) / kWarps;  // warps of norm.cu that each warp stands for
  const int warps = NormThreads(norm.columns) / 32;
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  for (int t = 0; t < tokens; ++t) {
    const float* row = norm.residual + int64_t{t} * norm.columns;
    const float offset = offset_of(t);
    float sums[kMine] = {};
    for (int base = 0; base < norm.columns; base += warps * 32 * kNormColumns) {
      // All loads first: they wait for memory together.
      float x[kMine][kNormColumns] = {};
      const auto column = [&](int i) { return base + ((warp + i * kWarps) * 32 + lane) * kNormColumns; };
      const auto exists = [&](int i) { return warp + i * kWarps < warps && column(i) < norm.columns; };
#pragma unroll
      for (int i = 0; i < kMine; ++i)
        if (exists(i)) LoadFloats(row + column(i), x[i]);
#pragma unroll
      for (int i = 0; i < kMine; ++i) {
        if (!exists(i)) continue;
#pragma unroll
        for (int j = 0; j < kNormColumns; ++j) sums[i] = add(sums[i], x[i][j], offset);
      }
    }
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      const float sum = WarpSum(sums[i]);
      if (lane == 0 && warp + i * kWarps < warps) parts[t][warp + i * kWarps] = sum;
    }
  }
  __syncthreads();
}

// The device's second cache fetches what the norm is made with.
template <int kWarps>
ROPEWAY_DEVICE void PrefetchNorm(const NormArgs& norm) {
  for (const float* vector : {norm.weight, norm.bias}) {
    if (vector == nullptr) continue;
    for (int i = static_cast<int>(threadIdx.x) * 32; i < norm.columns; i += kWarps * 32 * 32)
      PrefetchL2(vector + i);
  }
}

// Row t of `to` = norm(row t of the residual), and zeros up to a multiple of 16 columns. All threads of a
// block of kWarps warps, which see it afterwards.
template <class T, int kWarps>
ROPEWAY_DEVICE void NormTokens(const NormArgs& norm, const NormedTokens& to) {
  ROPEWAY_SHARED(means, NormParts);
  ROPEWAY_SHARED(squares, NormParts);
  const int warps = NormThreads(norm.columns) / 32;
  const auto mean_of = [&](int t) {
    return norm.kind == NormKind::kLayer ? NormTotal(means[t], warps) / static_cast<float>(norm.columns) : 0;
  };
  if (norm.kind == NormKind::kLayer)
    SumNormRows<kWarps>(
        norm, to.tokens, means, [](float sum, float x, float) { return sum + x; }, [](int) { return 0.0f; });
  if (norm.kind != NormKind::kNone) SumNormRows<kWarps>(norm, to.tokens, squares, AddSquare, mean_of);
  for (int t = 0; t < to.tokens; ++t) {
    Moments moments = {0, 1};
    if (norm.kind != NormKind::kNone)
      moments = {mean_of(t), InverseRoot(NormTotal(squares[t], warps), norm.columns, norm.epsilon)};
    const float* row = norm.residual + int64_t{t} * norm.columns;
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x) * kNormColumns; i < (norm.columns + 15) / 16 * 16;
         i += kWarps * 32 * kNormColumns) {
      float x[kNormColumns] = {}, weights[kNormColumns] = {}, biases[kNormColumns] = {};
      if (i < norm.columns) {
        LoadFloats(row + i, x);
        if (norm.kind != NormKind::kNone) LoadFloats(norm.weight + i, weights);
        if (norm.bias != nullptr) LoadFloats(norm.bias + i, biases);
#pragma unroll
        for (int j = 0; j < kNormColumns; ++j)
          x[j] = NormedNumber(norm.kind, moments, x[j], weights[j], biases[j]);
      }
      StoreFloats(reinterpret_cast<T*>(to.ChunkAt(t, i / kNormColumns)), x);
    }
  }
  __syncthreads();
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_NORMED_TOKENS_CUH_
