// y [T, M] = x [T, K] W^T for few tokens, W [M, K] of 16 bits, with what stands in front of it and behind it in
// a layer (FusedMatMulArgs): reads W once per 16 tokens, the least up to 16.
//
// Each warp walks tiles of 16 rows of W, by itself: no barrier but the warp's own. cp.async fills a ring of
// stages in shared memory, each of so many columns of a tile and of the tokens, and one chain of mma per
// output runs over them (the rule of sums in gemm.h). The ring goes on over the ends of tiles, so that the
// memory is asked without a pause. Tokens that are normed here lie in shared memory whole, one copy for all
// warps (normed_tokens.cuh), while the first weights are on their way.
//
// Launched as a dependent kernel: the first stages of W are on their way before the one in front has ended,
// unless that one writes W.
// That needs the shared memory of two blocks on a processor, and few bytes in flight lose more than the
// overlap gains: hence 2 warps with 48 KiB each. On an H100 a prototype with these numbers, without neighbours,
// read 2,870 GB/s of weights over all products of an 8B's decode step (one token; 2,770 with 8), of 3,071 that
// the memory gives.
#include <algorithm>

#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/fused_matmul.h"
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/normed_tokens.cuh"
#include "engine/kernels/cuda/product_end.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kWarps = 2;
constexpr int kTileRows = 16, kTileTokens = 8;  // of one mma
constexpr int kStep = 16;                       // columns of one mma
constexpr int kChunk = 8;                       // numbers in 16 bytes

// What is in shared memory for one warp and kTokenTiles tiles of tokens. kNormed: the tokens lie beside it.
template <int kTokenTiles, bool kNormed>
struct Ring {
  static constexpr int kColumns = kTokenTiles == 1 ? 256 : 128;
  static constexpr int kStages = kTokenTiles == 1 ? 4 : 6;
  static constexpr int kTokens = kTokenTiles * kTileTokens;
  static constexpr int kChunks = kColumns / kChunk;
  static constexpr int kRowBytes = kColumns * 2;
  static constexpr int kStageBytes = (kTileRows + (kNormed ? 0 : kTokens)) * kRowBytes;
  static constexpr int kBytes = kStages * kStageBytes;
};

struct Product {
  const void* weights;
  const void* x;
  int rows, columns, num_tokens;  // M, K, T
  bool fresh_weights;
  NormArgs norm;  // where tokens are normed here
  ProductEnd end;
};

// Chunks of eight rows lie such that ldmatrix meets no bank twice.
template <class R>
ROPEWAY_DEVICE uint8_t* ChunkAt(uint8_t* stage, int row, int chunk) {
  return stage + row * R::kRowBytes + ((chunk ^ (row & 7)) << 4);
}

// Columns that are multiplied: up to a whole step, with zeros past the last one.
ROPEWAY_DEVICE int PaddedColumns(const Product& product) {
  return (product.columns + kStep - 1) / kStep * kStep;
}

// Columns [column, column + kColumns) of a tile of W; past the last row that one again.
template <class T, class R>
ROPEWAY_DEVICE void CopyWeights(const Product& product, const TileRows& rows, int column, uint8_t* stage) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int i = 0; i < kTileRows * R::kChunks / 32; ++i) {
    const int at = i * 32 + lane, row = at / R::kChunks, chunk = at % R::kChunks;
    const int64_t from = min(rows.Row(row), product.rows - 1);
    const int first = column + chunk * kChunk;
    if (first >= PaddedColumns(product)) continue;
    CpAsync16Streamed(ChunkAt<R>(stage, row, chunk),
                      static_cast<const T*>(product.weights) + from * product.columns + first,
                      first < product.columns);
  }
}

// Likewise of the tokens, which lie below the rows of W.
template <class T, class R>
ROPEWAY_DEVICE void CopyTokens(const Product& product, int first_token, int tokens, int column,
                               uint8_t* stage) {
  for (int at = static_cast<int>(threadIdx.x % 32); at < tokens * R::kChunks; at += 32) {
    const int row = at / R::kChunks, chunk = at % R::kChunks, first = column + chunk * kChunk;
    if (first >= PaddedColumns(product)) continue;
    const int64_t token = first_token + row;
    CpAsync16(ChunkAt<R>(stage, kTileRows + row, chunk),
              static_cast<const T*>(product.x) + token * product.columns + first, first < product.columns);
  }
}

// Rows of tokens that are not there: no copy goes to them.
template <class R>
ROPEWAY_DEVICE void ClearMissingTokens(uint8_t* ring, int tokens) {
  const int first = (kTileRows + tokens) * R::kRowBytes;
  for (int stage = 0; stage < R::kStages; ++stage) {
    for (int at = first + static_cast<int>(threadIdx.x % 32) * 16; at < R::kStageBytes; at += 32 * 16)
      Store128(reinterpret_cast<uint32_t*>(ring + stage * R::kStageBytes + at), {});
  }
}

// Where the multiplying warp finds the tokens of a stage: in it, or normed, from its first column on.
template <class R>
struct StageTokens {
  uint8_t* stage;
  ROPEWAY_DEVICE uint8_t* At(int row, int chunk) const { return ChunkAt<R>(stage, kTileRows + row, chunk); }
};
struct NormedStage {
  const NormedTokens& tokens;
  int first_chunk;
  ROPEWAY_DEVICE uint8_t* At(int row, int chunk) const { return tokens.ChunkAt(row, first_chunk + chunk); }
};

// sums [kTokenTiles][rows g, g + 8][tokens 2 j, 2 j + 1], of lane 4 g + j, += the products of so many columns
// of a stage.
template <class T, class R, int kTokenTiles, class Tokens>
ROPEWAY_DEVICE void MultiplyStage(uint8_t* stage, const Tokens& x, int columns,
                                  float (&sums)[kTokenTiles][4]) {
  // One ldmatrix brings the tokens of two steps, or of one step and two tiles.
  constexpr int kSteps = 2 / kTokenTiles;
  const int lane = static_cast<int>(threadIdx.x % 32), matrix = lane / 8, row = lane % 8;
  const int token_row = kTokenTiles == 1 ? row : matrix / 2 * 8 + row;
  const int token_chunk = kTokenTiles == 1 ? matrix : matrix % 2;
#pragma unroll
  for (int step = 0; step < R::kColumns / kStep; step += kSteps) {
    if (step * kStep >= columns) break;  // alike for the warp
    uint32_t tokens[4];
    LoadMatrixX4(tokens, x.At(token_row, step * 2 + token_chunk));
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      if (kSteps > 1 && (step + s) * kStep >= columns) break;
      uint32_t weights[4];
      LoadMatrixX4(weights, ChunkAt<R>(stage, matrix % 2 * 8 + row, (step + s) * 2 + matrix / 2));
#pragma unroll
      for (int t = 0; t < kTokenTiles; ++t) {
        const int pair = (kTokenTiles == 1 ? s : t) * 2;
        MmaM16N8K16<T>(sums[t], weights, {tokens[pair], tokens[pair + 1]}, sums[t]);
      }
    }
  }
}

// Where a warp is in its tiles, first columns of stages at a time.
struct Place {
  int tile, column;

  // Whether that is the next tile's beginning.
  ROPEWAY_DEVICE bool Advance(int columns, int columns_of_stage, int tiles_apart) {
    column += columns_of_stage;
    if (column < columns) return false;
    column = 0;
    tile += tiles_apart;
    return true;
  }
};

template <class T, int kTokenTiles, bool kNormed>
__global__ void __launch_bounds__(kWarps * 32) StreamKernel(Product product) {
  using R = Ring<kTokenTiles, kNormed>;
  ROPEWAY_DYNAMIC_SHARED(uint8_t, shared);
  LaunchDependents();
  if (product.fresh_weights) GridDependencyWait();
  const int warp = static_cast<int>(threadIdx.x / 32);
  uint8_t* const ring = shared + warp * R::kBytes;
  const int first_token = static_cast<int>(blockIdx.y) * R::kTokens;
  const int tokens = min(product.num_tokens - first_token, R::kTokens);
  const NormedTokens normed = {shared + kWarps * R::kBytes, static_cast<int>(NormedRowBytes(product.columns)),
                               tokens};
  if (!kNormed) ClearMissingTokens<R>(ring, tokens);

  const int tiles = TilesOf(product.end);
  const int apart = static_cast<int>(gridDim.x) * kWarps;
  const auto advance = [&](Place& place) { return place.Advance(product.columns, R::kColumns, apart); };
  const Place first = {static_cast<int>(blockIdx.x) + static_cast<int>(gridDim.x) * warp, 0};

  // 1. All stages but one are filled, with W before the wait where the kernel in front does not write it.
  Place ahead = first, again = first;
  TileRows rows = RowsOf(product.end, ahead.tile);
#pragma unroll 1
  for (int stage = 0; stage < R::kStages - 1; ++stage) {
    if (ahead.tile < tiles) CopyWeights<T, R>(product, rows, ahead.column, ring + stage * R::kStageBytes);
    if (advance(ahead)) rows = RowsOf(product.end, ahead.tile);
  }
  if constexpr (kNormed) PrefetchNorm<kWarps>(product.norm);
  GridDependencyWait();
  if constexpr (kNormed) NormTokens<T, kWarps>(product.norm, normed);
#pragma unroll 1
  for (int stage = 0; stage < R::kStages - 1; ++stage) {
    if (!kNormed && again.tile < tiles)
      CopyTokens<T, R>(product, first_token, tokens, again.column, ring + stage * R::kStageBytes);
    CpAsyncCommit();
    advance(again);
  }

  // 2. A stage is multiplied while the one that was multiplied before it is filled.
  float sums[kTokenTiles][4] = {};
  int stage = 0, free_stage = R::kStages - 1;
  for (Place at = first; at.tile < tiles;) {
    CpAsyncWait<R::kStages - 2>();
    __syncwarp();
    if (ahead.tile < tiles) {
      uint8_t* const to = ring + free_stage * R::kStageBytes;
      CopyWeights<T, R>(product, rows, ahead.column, to);
      if (!kNormed) CopyTokens<T, R>(product, first_token, tokens, ahead.column, to);
    }
    CpAsyncCommit();
    if (advance(ahead)) rows = RowsOf(product.end, ahead.tile);
    uint8_t* const here = ring + stage * R::kStageBytes;
    const int columns = PaddedColumns(product) - at.column;
    if constexpr (kNormed)
      MultiplyStage<T, R>(here, NormedStage{normed, at.column / kChunk}, columns, sums);
    else
      MultiplyStage<T, R>(here, StageTokens<R>{here}, columns, sums);
    free_stage = stage;
    stage = stage + 1 == R::kStages ? 0 : stage + 1;
    const int tile = at.tile;
    if (!advance(at)) continue;
    FinishTile<T>(product.end, tile, first_token, tokens, sums);
#pragma unroll
    for (auto& sum : sums) sum[0] = sum[1] = sum[2] = sum[3] = 0;
  }
  CpAsyncWait<0>();
}

template <class T, int kTokenTiles, bool kNormed>
ErrorCode LaunchStream(const Product& product, int processors, Stream stream) {
  using R = Ring<kTokenTiles, kNormed>;
  const int blocks = (TilesOf(product.end) + kWarps - 1) / kWarps;
  const dim3 grid(static_cast<unsigned>(std::min(blocks, processors)),
                  static_cast<unsigned>((product.num_tokens + R::kTokens - 1) / R::kTokens));
  const int64_t normed = kNormed ? product.num_tokens * NormedRowBytes(product.columns) : 0;
  return LaunchDependent(stream, StreamKernel<T, kTokenTiles, kNormed>, grid, dim3(kWarps * 32),
                         static_cast<size_t>(kWarps * R::kBytes + normed), product);
}

template <class T, int kTokenTiles>
ErrorCode LaunchFor(const FusedMatMulArgs& args, const Product& product, Stream stream) {
  const int processors = args.product.processors;
  return args.norm ? LaunchStream<T, kTokenTiles, true>(product, processors, stream)
                   : LaunchStream<T, kTokenTiles, false>(product, processors, stream);
}

}  // namespace

ErrorCode FusedDenseMatMul(const FusedMatMulArgs& args, Stream stream) {
  const MatMulArgs& matmul = args.product;
  if (matmul.element == Element::kF32 || matmul.weights.columns % kChunk != 0) return kInvalidValue;
  if (matmul.out != Element::kF32 && matmul.out != matmul.element) return kInvalidValue;
  const Product product = {.weights = matmul.weights.data,
                           .x = matmul.x,
                           .rows = static_cast<int>(matmul.weights.rows),
                           .columns = static_cast<int>(matmul.weights.columns),
                           .num_tokens = static_cast<int>(matmul.num_tokens),
                           .fresh_weights = matmul.fresh_weights,
                           .norm = args.norm.value_or(NormArgs()),
                           .end = EndOf(args)};
  return WithElement(matmul.element, [&]<class T>() -> ErrorCode {
    if constexpr (std::is_same_v<T, float>) {
      return kInvalidValue;
    } else {
      return product.num_tokens <= kTileTokens ? LaunchFor<T, 1>(args, product, stream)
                                               : LaunchFor<T, 2>(args, product, stream);
    }
  });
}

ErrorCode DenseMatMul(const MatMulArgs& args, Stream stream) {
  return FusedDenseMatMul({.product = args, .norm = {}, .add = {}, .gate = {}, .qkv = {}}, stream);
}

}  // namespace ropeway::cuda
