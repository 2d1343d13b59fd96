// y [T, M] = x [T, K] W^T of e4m3 numbers with a scale for each row of both (fp8.h), for any number of tokens: reads W
// once per tile of tokens, half the bytes of bf16.
//
// A block computes a tile of rows and tokens. cp.async fills a ring of stages, each of 128 columns of both, and all warps
// multiply a stage while later ones are on their way; one chain of steps per output runs over them (the rule of sums in
// gemm.h). ldmatrix gives a lane four bytes, which are its two pairs of a step (Fp8ColumnAt), made f16 in registers.
//
// Three tiles: for as few tokens as one step has, so that the memory is asked for W alone; for a few more; for prompts,
// where what was converted is used for several steps. Which one is taken is not measured.
//
// Launched as a dependent kernel: the first stages of W are on their way before what writes x has ended.
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/fp8.h"
#include "engine/kernels/cuda/fp8_pair.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kTileRows = 16, kTileTokens = 8;           // of one mma
constexpr int kChunkBytes = 16;                          // the columns of one step
constexpr int kChunks = kFp8BlockColumns / kChunkBytes;  // of a row of a stage

// Warps of a block, and tiles of mma of a warp: down the rows of W, and along the tokens.
template <int kRowWarps, int kTokenWarps, int kRowTiles_, int kTokenTiles_, int kStages_>
struct Tile {
  static constexpr int kRowTiles = kRowTiles_, kTokenTiles = kTokenTiles_, kStages = kStages_;
  static constexpr int kTokenWarpCount = kTokenWarps;
  static constexpr int kThreads = kRowWarps * kTokenWarps * 32;
  static constexpr int kWarpRows = kRowTiles * kTileRows, kWarpTokens = kTokenTiles * kTileTokens;
  static constexpr int kRows = kRowWarps * kWarpRows, kTokens = kTokenWarps * kWarpTokens;
  static constexpr int kWeightBytes = kRows * kFp8BlockColumns;
  static constexpr int kStageBytes = kWeightBytes + kTokens * kFp8BlockColumns;
  static constexpr int kBytes = kStages * kStageBytes;
};
using FewTokens = Tile<2, 1, 1, 1, 9>;
using SomeTokens = Tile<2, 1, 1, 4, 6>;
using ManyTokens = Tile<2, 4, 4, 4, 3>;
// Up to so many SomeTokens are taken, more than one tile of them along the tokens.
constexpr int kSomeTokens = 64;

struct Product {
  const uint8_t* weights;
  const float* row_scales;
  const uint8_t* x;
  const float* token_scales;
  int rows, num_tokens;  // M, T
  int row_bytes;         // of a row of either
  void* y;
  int64_t y_stride;
};

// Chunks of eight rows lie such that ldmatrix meets no bank twice.
ROPEWAY_DEVICE uint8_t* ChunkAt(uint8_t* rows, int row, int chunk) {
  return rows + row * kFp8BlockColumns + ((chunk ^ (row & 7)) << 4);
}

// One block of columns of kRows rows from `first` on; past the last row that one again. kStreamed: read once.
template <int kRows, int kThreads, bool kStreamed>
ROPEWAY_DEVICE void CopyRows(const uint8_t* from, int first, int num_rows, int row_bytes, int block,
                             uint8_t* to) {
  for (int at = static_cast<int>(threadIdx.x); at < kRows * kChunks; at += kThreads) {
    const int row = at / kChunks, chunk = at % kChunks;
    const int64_t source = min(first + row, num_rows - 1);
    const uint8_t* const bytes = from + source * row_bytes + block * kFp8BlockColumns + chunk * kChunkBytes;
    if constexpr (kStreamed)
      CpAsync16Streamed(ChunkAt(to, row, chunk), bytes);
    else
      CpAsync16(ChunkAt(to, row, chunk), bytes);
  }
}

// sums [row tiles][token tiles][rows g, g + 8][tokens 2 j, 2 j + 1], of lane 4 g + j, += the products of a stage.
template <class S>
ROPEWAY_DEVICE void MultiplyStage(uint8_t* weights, uint8_t* tokens,
                                  float (&sums)[S::kRowTiles][S::kTokenTiles][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32), matrix = lane / 8, row = lane % 8;
  // One ldmatrix brings two steps of a tile of rows, or of two tiles of tokens.
#pragma unroll
  for (int chunk = 0; chunk < kChunks; chunk += 2) {
    uint32_t b[S::kTokenTiles][2][2];
#pragma unroll
    for (int t = 0; t < S::kTokenTiles; t += 2) {
      const int tile = t + matrix / 2 % S::kTokenTiles;
      uint32_t codes[4];
      LoadMatrixX4(codes, ChunkAt(tokens, tile * kTileTokens + row, chunk + matrix % 2));
#pragma unroll
      for (int i = 0; i < 2 * min(2, S::kTokenTiles); ++i) {
        b[t + i / 2][i % 2][0] = HalvesOfFp8Pair(codes[i]);
        b[t + i / 2][i % 2][1] = HalvesOfFp8Pair(codes[i] >> 16);
      }
    }
#pragma unroll
    for (int r = 0; r < S::kRowTiles; ++r) {
      uint32_t codes[4];
      LoadMatrixX4(codes, ChunkAt(weights, r * kTileRows + matrix % 2 * 8 + row, chunk + matrix / 2));
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        const uint32_t upper = codes[2 * step], lower = codes[2 * step + 1];
        const uint32_t a[4] = {HalvesOfFp8Pair(upper), HalvesOfFp8Pair(lower), HalvesOfFp8Pair(upper >> 16),
                               HalvesOfFp8Pair(lower >> 16)};
#pragma unroll
        for (int t = 0; t < S::kTokenTiles; ++t) MmaM16N8K16<fp16>(sums[r][t], a, b[t][step], sums[r][t]);
      }
    }
  }
}

// `first_row` and `first_token` are those of the warp.
template <class T, class S>
ROPEWAY_DEVICE void StoreSums(const Product& product, int first_row, int first_token,
                              const float (&sums)[S::kRowTiles][S::kTokenTiles][4]) {
  const int g = static_cast<int>(threadIdx.x % 32) / 4, j = static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int r = 0; r < S::kRowTiles; ++r) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + r * kTileRows + half * 8 + g;
      if (row >= product.rows) continue;
      const float row_scale = product.row_scales[row];
#pragma unroll
      for (int i = 0; i < S::kTokenTiles * 2; ++i) {
        const int64_t token = first_token + i / 2 * kTileTokens + 2 * j + i % 2;
        if (token >= product.num_tokens) continue;
        const float sum = __fmul_rn(sums[r][i / 2][half * 2 + i % 2], product.token_scales[token]);
        static_cast<T*>(product.y)[token * product.y_stride + row] = FromFloat<T>(__fmul_rn(sum, row_scale));
      }
    }
  }
}

template <class T, class S>
__global__ void __launch_bounds__(S::kThreads) Fp8Kernel(Product product) {
  ROPEWAY_DYNAMIC_SHARED(uint8_t, shared);
  LaunchDependents();
  const int first_row = static_cast<int>(blockIdx.x) * S::kRows;
  const int first_token = static_cast<int>(blockIdx.y) * S::kTokens;
  const int blocks = product.row_bytes / kFp8BlockColumns;
  const auto copy_weights = [&](int block, uint8_t* stage) {
    CopyRows<S::kRows, S::kThreads, true>(product.weights, first_row, product.rows, product.row_bytes, block,
                                          stage);
  };
  const auto copy_tokens = [&](int block, uint8_t* stage) {
    CopyRows<S::kTokens, S::kThreads, false>(product.x, first_token, product.num_tokens, product.row_bytes,
                                             block, stage + S::kWeightBytes);
  };

  // 1. All stages but one are filled, with W before the wait.
#pragma unroll 1
  for (int stage = 0; stage < S::kStages - 1; ++stage)
    if (stage < blocks) copy_weights(stage, shared + stage * S::kStageBytes);
  GridDependencyWait();
#pragma unroll 1
  for (int stage = 0; stage < S::kStages - 1; ++stage) {
    if (stage < blocks) copy_tokens(stage, shared + stage * S::kStageBytes);
    CpAsyncCommit();
  }

  // 2. A stage is multiplied while the one that was multiplied before it is filled.
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int warp_row = warp / S::kTokenWarpCount * S::kWarpRows;
  const int warp_token = warp % S::kTokenWarpCount * S::kWarpTokens;
  float sums[S::kRowTiles][S::kTokenTiles][4] = {};
  int stage = 0, free_stage = S::kStages - 1;
#pragma unroll 1
  for (int block = 0; block < blocks; ++block) {
    CpAsyncWait<S::kStages - 2>();
    __syncthreads();
    if (const int ahead = block + S::kStages - 1; ahead < blocks) {
      copy_weights(ahead, shared + free_stage * S::kStageBytes);
      copy_tokens(ahead, shared + free_stage * S::kStageBytes);
    }
    CpAsyncCommit();
    uint8_t* const here = shared + stage * S::kStageBytes;
    MultiplyStage<S>(here + warp_row * kFp8BlockColumns,
                     here + S::kWeightBytes + warp_token * kFp8BlockColumns, sums);
    free_stage = stage;
    stage = stage + 1 == S::kStages ? 0 : stage + 1;
  }
  CpAsyncWait<0>();
  StoreSums<T, S>(product, first_row + warp_row, first_token + warp_token, sums);
}

template <class T, class S>
ErrorCode LaunchTile(const Product& product, Stream stream) {
  const auto blocks = [](int count, int of_block) {
    return static_cast<unsigned>((count + of_block - 1) / of_block);
  };
  const dim3 grid(blocks(product.rows, S::kRows), blocks(product.num_tokens, S::kTokens));
  return LaunchDependent(stream, Fp8Kernel<T, S>, grid, dim3(S::kThreads), static_cast<size_t>(S::kBytes),
                         product);
}

}  // namespace

ErrorCode Fp8MatMul(const Fp8MatMulArgs& args, Stream stream) {
  const Fp8Layout layout = Fp8LayoutOf(args.weights.rows, args.weights.columns);
  const auto* const data = static_cast<const uint8_t*>(args.weights.data);
  const Product product = {.weights = data + layout.codes,
                           .row_scales = reinterpret_cast<const float*>(data + layout.scales),
                           .x = args.x.codes,
                           .token_scales = args.x.scales,
                           .rows = static_cast<int>(args.weights.rows),
                           .num_tokens = args.num_tokens,
                           .row_bytes = static_cast<int>(Fp8RowBytes(args.weights.columns)),
                           .y = args.y,
                           .y_stride = args.y_stride};
  return WithElement(args.out, [&]<class T>() {
    if (args.num_tokens <= FewTokens::kTokens) return LaunchTile<T, FewTokens>(product, stream);
    if (args.num_tokens <= kSomeTokens) return LaunchTile<T, SomeTokens>(product, stream);
    return LaunchTile<T, ManyTokens>(product, stream);
  });
}

}  // namespace ropeway::cuda
