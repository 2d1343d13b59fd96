// y [T, M] = x [T, K] W^T for few tokens, W [M, K] of 16 bits: reads W once per 16 tokens, the least up to 16.
//
// Each warp walks tiles of 16 rows of W, by itself: no barrier but the warp's own. cp.async fills a ring of
// stages in shared memory, each of so many columns of a tile and of the tokens, and one chain of mma per
// output runs over them (the rule of sums in gemm.h). The ring goes on over the ends of tiles, so that the
// memory is asked without a pause.
//
// Launched as a dependent kernel: the first stages of W are on their way before the one in front has ended,
// unless that one writes W.
// That needs the shared memory of two blocks on a processor, and few bytes in flight lose more than the
// overlap gains: hence 2 warps with 48 KiB each. On an H100 a prototype with these numbers read 2,870 GB/s of
// weights over all products of an 8B's decode step (one token; 2,770 with 8), of 3,071 that the memory gives.
#include <algorithm>

#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {
namespace {

constexpr int kWarps = 2;
constexpr int kTileRows = 16, kTileTokens = 8;  // of one mma
constexpr int kStep = 16;                       // columns of one mma
constexpr int kChunk = 8;                       // numbers in 16 bytes

// What is in shared memory for one warp and kTokenTiles tiles of tokens.
template <int kTokenTiles>
struct Ring {
  static constexpr int kColumns = kTokenTiles == 1 ? 256 : 128;
  static constexpr int kStages = kTokenTiles == 1 ? 4 : 6;
  static constexpr int kTokens = kTokenTiles * kTileTokens;
  static constexpr int kChunks = kColumns / kChunk;
  static constexpr int kRowBytes = kColumns * 2;
  static constexpr int kStageBytes = (kTileRows + kTokens) * kRowBytes;
  static constexpr int kBytes = kStages * kStageBytes;
};

struct Product {
  const void* weights;
  const void* x;
  void* y;
  int rows, columns, num_tokens;  // M, K, T
  int64_t y_stride;
  bool float_out, fresh_weights;
};

// Chunks of eight rows lie such that ldmatrix meets no bank twice.
template <int kTokenTiles>
ROPEWAY_DEVICE uint8_t* ChunkAt(uint8_t* stage, int row, int chunk) {
  return stage + row * Ring<kTokenTiles>::kRowBytes + ((chunk ^ (row & 7)) << 4);
}

// Columns that are multiplied: up to a whole step, with zeros past the last one.
ROPEWAY_DEVICE int PaddedColumns(const Product& product) {
  return (product.columns + kStep - 1) / kStep * kStep;
}

// Columns [column, column + kColumns) of a tile of W; past the last row that one again.
template <class T, int kTokenTiles>
ROPEWAY_DEVICE void CopyWeights(const Product& product, int tile, int column, uint8_t* stage) {
  using R = Ring<kTokenTiles>;
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int i = 0; i < kTileRows * R::kChunks / 32; ++i) {
    const int at = i * 32 + lane, row = at / R::kChunks, chunk = at % R::kChunks;
    const int64_t from = min(tile * kTileRows + row, product.rows - 1);
    const int first = column + chunk * kChunk;
    if (first >= PaddedColumns(product)) continue;
    CpAsync16Streamed(ChunkAt<kTokenTiles>(stage, row, chunk),
                      static_cast<const T*>(product.weights) + from * product.columns + first,
                      first < product.columns);
  }
}

// Likewise of the tokens, which lie below the rows of W.
template <class T, int kTokenTiles>
ROPEWAY_DEVICE void CopyTokens(const Product& product, int first_token, int tokens, int column,
                               uint8_t* stage) {
  using R = Ring<kTokenTiles>;
  for (int at = static_cast<int>(threadIdx.x % 32); at < tokens * R::kChunks; at += 32) {
    const int row = at / R::kChunks, chunk = at % R::kChunks, first = column + chunk * kChunk;
    if (first >= PaddedColumns(product)) continue;
    const int64_t token = first_token + row;
    CpAsync16(ChunkAt<kTokenTiles>(stage, kTileRows + row, chunk),
              static_cast<const T*>(product.x) + token * product.columns + first, first < product.columns);
  }
}

// Rows of tokens that are not there: no copy goes to them.
template <int kTokenTiles>
ROPEWAY_DEVICE void ClearMissingTokens(uint8_t* ring, int tokens) {
  using R = Ring<kTokenTiles>;
  const int first = (kTileRows + tokens) * R::kRowBytes;
  for (int stage = 0; stage < R::kStages; ++stage) {
    for (int at = first + static_cast<int>(threadIdx.x % 32) * 16; at < R::kStageBytes; at += 32 * 16)
      Store128(reinterpret_cast<uint32_t*>(ring + stage * R::kStageBytes + at), {});
  }
}

// sums [kTokenTiles][rows g, g + 8][tokens 2 j, 2 j + 1], of lane 4 g + j, += the products of so many columns
// of a stage.
template <class T, int kTokenTiles>
ROPEWAY_DEVICE void MultiplyStage(uint8_t* stage, int columns, float (&sums)[kTokenTiles][4]) {
  using R = Ring<kTokenTiles>;
  // One ldmatrix brings the tokens of two steps, or of one step and two tiles.
  constexpr int kSteps = 2 / kTokenTiles;
  const int lane = static_cast<int>(threadIdx.x % 32), matrix = lane / 8, row = lane % 8;
  const int token_row = kTileRows + (kTokenTiles == 1 ? row : matrix / 2 * 8 + row);
  const int token_chunk = kTokenTiles == 1 ? matrix : matrix % 2;
#pragma unroll
  for (int step = 0; step < R::kColumns / kStep; step += kSteps) {
    if (step * kStep >= columns) break;  // alike for the warp
    uint32_t tokens[4];
    LoadMatrixX4(tokens, ChunkAt<kTokenTiles>(stage, token_row, step * 2 + token_chunk));
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      if (kSteps > 1 && (step + s) * kStep >= columns) break;
      uint32_t weights[4];
      LoadMatrixX4(weights, ChunkAt<kTokenTiles>(stage, matrix % 2 * 8 + row, (step + s) * 2 + matrix / 2));
#pragma unroll
      for (int t = 0; t < kTokenTiles; ++t) {
        const int pair = (kTokenTiles == 1 ? s : t) * 2;
        MmaM16N8K16<T>(sums[t], weights, {tokens[pair], tokens[pair + 1]}, sums[t]);
      }
    }
  }
}

template <class T, int kTokenTiles>
ROPEWAY_DEVICE void StoreTile(const Product& product, int tile, int first_token, int tokens,
                              const float (&sums)[kTokenTiles][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int t = 0; t < kTokenTiles; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = tile * kTileRows + lane / 4 + i / 2 * 8;
      const int token = t * kTileTokens + lane % 4 * 2 + i % 2;
      if (row >= product.rows || token >= tokens) continue;
      const int64_t place = (first_token + token) * product.y_stride + row;
      if (product.float_out)
        static_cast<float*>(product.y)[place] = sums[t][i];
      else
        static_cast<T*>(product.y)[place] = FromFloat<T>(sums[t][i]);
    }
  }
}

// Where a warp is in its tiles, first columns of stages at a time.
struct Place {
  int tile, column;

  ROPEWAY_DEVICE void Advance(int columns, int columns_of_stage, int tiles_apart) {
    column += columns_of_stage;
    if (column < columns) return;
    column = 0;
    tile += tiles_apart;
  }
};

template <class T, int kTokenTiles>
__global__ void __launch_bounds__(kWarps * 32) StreamKernel(Product product) {
  using R = Ring<kTokenTiles>;
  ROPEWAY_DYNAMIC_SHARED(uint8_t, shared);
  LaunchDependents();
  if (product.fresh_weights) GridDependencyWait();
  const int warp = static_cast<int>(threadIdx.x / 32);
  uint8_t* const ring = shared + warp * R::kBytes;
  const int first_token = static_cast<int>(blockIdx.y) * R::kTokens;
  const int tokens = min(product.num_tokens - first_token, R::kTokens);
  ClearMissingTokens<kTokenTiles>(ring, tokens);

  const int tiles = (product.rows + kTileRows - 1) / kTileRows;
  const int apart = static_cast<int>(gridDim.x) * kWarps;
  const auto advance = [&](Place& place) { place.Advance(product.columns, R::kColumns, apart); };
  const Place first = {static_cast<int>(blockIdx.x) + static_cast<int>(gridDim.x) * warp, 0};

  // 1. All stages but one are filled, with W before the wait where the kernel in front does not write it.
  Place ahead = first;
#pragma unroll
  for (int stage = 0; stage < R::kStages - 1; ++stage) {
    if (ahead.tile < tiles)
      CopyWeights<T, kTokenTiles>(product, ahead.tile, ahead.column, ring + stage * R::kStageBytes);
    advance(ahead);
  }
  GridDependencyWait();
  ahead = first;
#pragma unroll
  for (int stage = 0; stage < R::kStages - 1; ++stage) {
    if (ahead.tile < tiles)
      CopyTokens<T, kTokenTiles>(product, first_token, tokens, ahead.column, ring + stage * R::kStageBytes);
    CpAsyncCommit();
    advance(ahead);
  }

  // 2. A stage is multiplied while the one that was multiplied before it is filled.
  float sums[kTokenTiles][4] = {};
  int stage = 0, free_stage = R::kStages - 1;
  for (Place at = first; at.tile < tiles;) {
    CpAsyncWait<R::kStages - 2>();
    __syncwarp();
    if (ahead.tile < tiles) {
      uint8_t* const to = ring + free_stage * R::kStageBytes;
      CopyWeights<T, kTokenTiles>(product, ahead.tile, ahead.column, to);
      CopyTokens<T, kTokenTiles>(product, first_token, tokens, ahead.column, to);
    }
    CpAsyncCommit();
    advance(ahead);
    MultiplyStage<T>(ring + stage * R::kStageBytes, PaddedColumns(product) - at.column, sums);
    free_stage = stage;
    stage = stage + 1 == R::kStages ? 0 : stage + 1;
    const int tile = at.tile;
    advance(at);
    if (at.tile == tile) continue;
    StoreTile<T>(product, tile, first_token, tokens, sums);
#pragma unroll
    for (auto& sum : sums) sum[0] = sum[1] = sum[2] = sum[3] = 0;
  }
  CpAsyncWait<0>();
}

template <class T, int kTokenTiles>
ErrorCode LaunchStream(const Product& product, int processors, Stream stream) {
  using R = Ring<kTokenTiles>;
  const int blocks = (product.rows + kTileRows * kWarps - 1) / (kTileRows * kWarps);
  const dim3 grid(static_cast<unsigned>(std::min(blocks, processors)),
                  static_cast<unsigned>((product.num_tokens + R::kTokens - 1) / R::kTokens));
  return LaunchDependent(stream, StreamKernel<T, kTokenTiles>, grid, dim3(kWarps * 32), kWarps * R::kBytes,
                         product);
}

}  // namespace

ErrorCode DenseMatMul(const MatMulArgs& args, Stream stream) {
  if (args.element == Element::kF32 || args.weights.columns % kChunk != 0) return kInvalidValue;
  if (args.out != Element::kF32 && args.out != args.element) return kInvalidValue;
  const Product product = {.weights = args.weights.data,
                           .x = args.x,
                           .y = args.y,
                           .rows = static_cast<int>(args.weights.rows),
                           .columns = static_cast<int>(args.weights.columns),
                           .num_tokens = static_cast<int>(args.num_tokens),
                           .y_stride = args.y_stride,
                           .float_out = args.out == Element::kF32,
                           .fresh_weights = args.fresh_weights};
  return WithElement(args.element, [&]<class T>() -> ErrorCode {
    if constexpr (std::is_same_v<T, float>) {
      return kInvalidValue;
    } else {
      return product.num_tokens <= kTileTokens ? LaunchStream<T, 1>(product, args.processors, stream)
                                               : LaunchStream<T, 2>(product, args.processors, stream);
    }
  });
}

}  // namespace ropeway::cuda
