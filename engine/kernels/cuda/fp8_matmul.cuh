// Products of e4m3 numbers with a scale for each row of both (fp8.h), of one matrix or of experts: reads W once per tile
// of tokens, half the bytes of bf16.
//
// A block walks jobs (product_source.cuh), each a tile of rows and of tokens; where they are known ahead it has one.
// cp.async fills a ring of stages, each of 128 columns of both, and all warps multiply a stage while later ones are on
// their way; one chain of steps per output runs over them (the rule of sums in gemm.h). The ring goes on over the ends
// of jobs. ldmatrix gives a lane four bytes, which are its two pairs of a step (Fp8ColumnAt), made f16 in registers.
//
// Launched as a dependent kernel: where its jobs are known by then, the first stages of W are on their way before what
// writes x has ended.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_FP8_MATMUL_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_FP8_MATMUL_CUH_

#include <algorithm>

#include "engine/kernels/cuda/fp8.h"
#include "engine/kernels/cuda/fp8_pair.cuh"
#include "engine/kernels/cuda/mma_steps.cuh"
#include "engine/kernels/cuda/product_source.cuh"

namespace ropeway::cuda {

inline constexpr int kFp8ChunkBytes = 16;                             // the columns of one step
inline constexpr int kFp8Chunks = kFp8BlockColumns / kFp8ChunkBytes;  // of a row of a stage

// Warps of a block, and tiles of mma of a warp: down the rows of W, and along the tokens.
template <int kRowWarps, int kTokenWarps, int kRowTiles_, int kTokenTiles_, int kStages_>
struct Fp8Tile {
  static constexpr int kRowTiles = kRowTiles_, kTokenTiles = kTokenTiles_, kStages = kStages_;
  static constexpr int kTokenWarpCount = kTokenWarps;
  static constexpr int kThreads = kRowWarps * kTokenWarps * 32;
  static constexpr int kBlockRowTiles = kRowWarps * kRowTiles;
  static constexpr int kWarpTokens = kTokenTiles * kMmaTokens;
  static constexpr int kRows = kBlockRowTiles * kMmaRows, kTokens = kTokenWarps * kWarpTokens;
  static constexpr int kWeightBytes = kRows * kFp8BlockColumns;
  static constexpr int kStageBytes = kWeightBytes + kTokens * kFp8BlockColumns;
  static constexpr int kBytes = kStages * kStageBytes;
  // On a processor, for which registers are enough: to get one more ptxas would spill some.
  static constexpr int kLeastBlocks = kThreads == 256 ? 1 : 3;
};

// ---- What is multiplied, and where it goes.

template <class Source>
struct Fp8Product {
  Source source;
  const uint8_t* x;
  const float* token_scales;
  int row_bytes;               // of a row of x or W
  int64_t row_scales;          // where those of a matrix lie, from its start
  typename Source::Store end;  // of scaled sums

  constexpr int RowBlocks(int row_tiles) const { return (TilesOf(end) + row_tiles - 1) / row_tiles; }
};

inline Fp8Product<OneMatrix> Fp8ProductOf(const Fp8MatMulArgs& args, int tile_tokens) {
  const auto rows = static_cast<int>(args.weights.rows);
  return {.source = {.weights = args.weights.data, .num_tokens = args.num_tokens, .tile_tokens = tile_tokens},
          .x = args.x.codes,
          .token_scales = args.x.scales,
          .row_bytes = static_cast<int>(Fp8RowBytes(args.weights.columns)),
          .row_scales = Fp8LayoutOf(args.weights.rows, args.weights.columns).scales,
          .end = WithGate(TokenEnd{.rows = rows, .y = args.y, .y_stride = args.y_stride}, args.gate)};
}

// ---- Copies.

// Chunks of eight rows lie such that ldmatrix meets no bank twice.
ROPEWAY_DEVICE uint8_t* Fp8ChunkAt(uint8_t* rows, int row, int chunk) {
  return rows + row * kFp8BlockColumns + ((chunk ^ (row & 7)) << 4);
}

// Where a block copies from. A thread copies one chunk of every kApart-th row of a stage. Past the last row of W that one
// again; rows of tokens that are not there stay as they are: what comes of them is stored nowhere.
template <class S, class Source>
class Fp8Cursor {
 public:
  ROPEWAY_DEVICE explicit Fp8Cursor(const Fp8Product<Source>& product)
      : product_(product),
        jobs_(product.RowBlocks(S::kBlockRowTiles) * product.source.NumTiles()),
        place_{static_cast<int>(blockIdx.x), 0} {
    FindRows();
  }
  ROPEWAY_DEVICE bool AtEnd() const {
    return Source::kKnownAhead ? place_.column >= product_.row_bytes : place_.job >= jobs_;
  }
  ROPEWAY_DEVICE void Advance() {
    if constexpr (Source::kKnownAhead)
      place_.column += kFp8BlockColumns;
    else if (place_.Advance(product_.row_bytes, kFp8BlockColumns, static_cast<int>(gridDim.x)))
      FindRows();
  }
  ROPEWAY_DEVICE void CopyWeights(uint8_t* stage) const {
#pragma unroll
    for (int i = 0; i < kWeightRows; ++i) {
      const TileRows rows = RowsOf(product_.end, first_tile_ + Row(i) / kMmaRows);
      const int row = min(rows.Row(Row(i) % kMmaRows), product_.end.rows - 1);
      CpAsync16Streamed(Fp8ChunkAt(stage, Row(i), Chunk()), tokens_.weights + BytesTo(row));
    }
  }
  ROPEWAY_DEVICE void CopyTokens(uint8_t* stage) const {
#pragma unroll
    for (int i = 0; i < kTokenRows; ++i) {
      if (Row(i) >= tokens_.count) continue;
      const int row = Source::kKnownAhead ? tokens_.first + Row(i) : token_rows_[i];
      CpAsync16(Fp8ChunkAt(stage + S::kWeightBytes, Row(i), Chunk()), product_.x + BytesTo(row));
    }
  }

 private:
  static constexpr int kApart = S::kThreads / kFp8Chunks;
  static constexpr int kWeightRows = S::kRows / kApart, kTokenRows = S::kTokens / kApart;
  static_assert(S::kRows % kApart == 0 && S::kTokens % kApart == 0);

  static ROPEWAY_DEVICE int Row(int i) { return i * kApart + static_cast<int>(threadIdx.x) / kFp8Chunks; }
  static ROPEWAY_DEVICE int Chunk() { return static_cast<int>(threadIdx.x) % kFp8Chunks; }
  ROPEWAY_DEVICE int64_t BytesTo(int row) const {
    return int64_t{row} * product_.row_bytes + place_.column + Chunk() * kFp8ChunkBytes;
  }
  ROPEWAY_DEVICE void FindRows() {
    if (AtEnd()) return;
    const int tiles = product_.source.NumTiles();
    tokens_ = product_.source.Tile(place_.job % tiles);
    first_tile_ = place_.job / tiles * S::kBlockRowTiles;
    // Else a token's row is its own.
    if constexpr (!Source::kKnownAhead) {
#pragma unroll
      for (int i = 0; i < kTokenRows; ++i)
        token_rows_[i] =
            static_cast<int>(product_.source.RowOfX(tokens_.first + min(Row(i), tokens_.count - 1)));
    }
  }

  const Fp8Product<Source>& product_;
  const int jobs_;
  Place place_;  // in bytes of a row
  TokenTile tokens_ = {};
  int first_tile_ = 0;
  int token_rows_[kTokenRows] = {};  // where they are read
};

// ---- Steps.

// Codes of two steps, as ldmatrix gives them: one brings both steps of a tile of rows, or of two tiles of tokens.
template <class S>
struct Fp8StepPair {
  static constexpr int kTokenLoads = (S::kTokenTiles + 1) / 2;
  uint32_t rows[S::kRowTiles][4], tokens[kTokenLoads][4];

  ROPEWAY_DEVICE void Load(uint8_t* weight_rows, uint8_t* token_rows, int chunk) {
    const int lane = static_cast<int>(threadIdx.x % 32), matrix = lane / 8, row = lane % 8;
#pragma unroll
    for (int i = 0; i < kTokenLoads; ++i) {
      const int tile = 2 * i + matrix / 2 % S::kTokenTiles;
      LoadMatrixX4(tokens[i], Fp8ChunkAt(token_rows, tile * kMmaTokens + row, chunk + matrix % 2));
    }
#pragma unroll
    for (int r = 0; r < S::kRowTiles; ++r)
      LoadMatrixX4(rows[r], Fp8ChunkAt(weight_rows, r * kMmaRows + matrix % 2 * 8 + row, chunk + matrix / 2));
  }
  ROPEWAY_DEVICE void Multiply(float (&sums)[S::kRowTiles][S::kTokenTiles][4]) const {
    uint32_t b[S::kTokenTiles][2][2];
#pragma unroll
    for (int i = 0; i < 2 * S::kTokenTiles; ++i) {
      const uint32_t codes = tokens[i / 4][i % 4];
      b[i / 2][i % 2][0] = HalvesOfFp8Pair(codes);
      b[i / 2][i % 2][1] = HalvesOfFp8Pair(codes >> 16);
    }
#pragma unroll
    for (int r = 0; r < S::kRowTiles; ++r) {
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        const uint32_t upper = rows[r][2 * step], lower = rows[r][2 * step + 1];
        const uint32_t a[4] = {HalvesOfFp8Pair(upper), HalvesOfFp8Pair(lower), HalvesOfFp8Pair(upper >> 16),
                               HalvesOfFp8Pair(lower >> 16)};
#pragma unroll
        for (int t = 0; t < S::kTokenTiles; ++t) MmaM16N8K16<fp16>(sums[r][t], a, b[t][step], sums[r][t]);
      }
    }
  }
};

// sums [row tiles][token tiles][rows g, g + 8][tokens 2 j, 2 j + 1], of lane 4 g + j, += the products of a stage. Of few chains
// two steps are loaded while the two before them are multiplied: else each would wait for ldmatrix, too. Many wait for each
// other's mma, and need the registers.
template <class S>
ROPEWAY_DEVICE void MultiplyFp8Stage(uint8_t* weights, uint8_t* tokens,
                                     float (&sums)[S::kRowTiles][S::kTokenTiles][4]) {
  constexpr int kPairs = kFp8Chunks / 2, kFewChains = 4;
  constexpr int kAhead = S::kRowTiles * S::kTokenTiles <= kFewChains ? 1 : 0;
  [[maybe_unused]] constexpr int kUnrolled = kAhead > 0 ? kPairs : 2;  // by nvcc alone
  Fp8StepPair<S> pairs[kAhead + 1];
  if constexpr (kAhead > 0) pairs[0].Load(weights, tokens, 0);
#pragma unroll kUnrolled
  for (int pair = 0; pair < kPairs; ++pair) {
    const int next = pair + kAhead;
    if (next < kPairs) pairs[next % (kAhead + 1)].Load(weights, tokens, 2 * next);
    pairs[pair % (kAhead + 1)].Multiply(sums);
  }
}

// ---- The end of a job.

// Rows of `tile` for tokens of a job from `first` on.
template <class T, int kTokenTiles, class Source>
ROPEWAY_DEVICE void FinishFp8Tile(const Fp8Product<Source>& product, const TokenTile& tokens, int tile,
                                  int first, const float (&sums)[kTokenTiles][4]) {
  const typename Source::Store& end = product.end;
  const int g = static_cast<int>(threadIdx.x % 32) / 4, j = static_cast<int>(threadIdx.x % 4);
  const TileRows rows = RowsOf(end, tile);
  const int row[2] = {rows.Row(g), rows.Row(g + 8)}, last = end.rows - 1;
  const auto* const scales = reinterpret_cast<const float*>(tokens.weights + product.row_scales);
  const float row_scales[2] = {scales[min(row[0], last)], scales[min(row[1], last)]};
#pragma unroll
  for (int i = 0; i < kTokenTiles * 2; ++i) {
    const int token = first + i / 2 * kMmaTokens + 2 * j + i % 2;
    if (token >= tokens.count) continue;
    const int row_of_y = tokens.first + token;
    const float token_scale = product.token_scales[product.source.RowOfX(row_of_y)];
    const auto scaled = [&](int half) {
      return __fmul_rn(__fmul_rn(sums[i / 2][half * 2 + i % 2], token_scale), row_scales[half]);
    };
    StoreTwo<T>(end, row_of_y, row[0], row[1], {scaled(0), scaled(1)});
  }
}

// Of a warp, whose tile is one of the block's by rows and by tokens.
template <class T, class S, class Source>
ROPEWAY_DEVICE void FinishFp8Job(const Fp8Product<Source>& product, int job,
                                 float (&sums)[S::kRowTiles][S::kTokenTiles][4]) {
  const int warp = static_cast<int>(threadIdx.x / 32), tiles = product.source.NumTiles();
  const int tile = job / tiles * S::kBlockRowTiles + warp / S::kTokenWarpCount * S::kRowTiles;
  const TokenTile tokens = product.source.Tile(job % tiles);
  ForEachPart<S::kTokenTiles>(sums, [&](int r, int, const auto& of_tile) {
    FinishFp8Tile<T>(product, tokens, tile + r, warp % S::kTokenWarpCount * S::kWarpTokens, of_tile);
  });
}

// ---- The kernel.

template <class T, class S, class Source>
__global__ void __launch_bounds__(S::kThreads, S::kLeastBlocks) Fp8Kernel(Fp8Product<Source> product) {
  ROPEWAY_DYNAMIC_SHARED(uint8_t, ring);
  LaunchDependents();
  if (!Source::kKnownAhead) GridDependencyWait();

  // 1. All stages but one are filled, with W before the wait where the jobs are known.
  Fp8Cursor<S, Source> ahead(product), again = ahead;
#pragma unroll 1
  for (int stage = 0; stage < S::kStages - 1; ++stage) {
    if (!ahead.AtEnd()) ahead.CopyWeights(ring + stage * S::kStageBytes);
    ahead.Advance();
  }
  GridDependencyWait();
#pragma unroll 1
  for (int stage = 0; stage < S::kStages - 1; ++stage) {
    if (!again.AtEnd()) again.CopyTokens(ring + stage * S::kStageBytes);
    CpAsyncCommit();
    again.Advance();
  }

  // 2. A stage is multiplied while the one that was multiplied before it is filled.
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int warp_row = warp / S::kTokenWarpCount * S::kRowTiles * kMmaRows;
  const int warp_token = warp % S::kTokenWarpCount * S::kWarpTokens;
  const int jobs = product.RowBlocks(S::kBlockRowTiles) * product.source.NumTiles();
  float sums[S::kRowTiles][S::kTokenTiles][4] = {};
  int stage = 0, free_stage = S::kStages - 1;
#pragma unroll 1
  for (Place at = {static_cast<int>(blockIdx.x), 0}; at.job < jobs;) {
    CpAsyncWait<S::kStages - 2>();
    __syncthreads();
    if (!ahead.AtEnd()) {
      ahead.CopyWeights(ring + free_stage * S::kStageBytes);
      ahead.CopyTokens(ring + free_stage * S::kStageBytes);
    }
    CpAsyncCommit();
    ahead.Advance();
    uint8_t* const here = ring + stage * S::kStageBytes;
    MultiplyFp8Stage<S>(here + warp_row * kFp8BlockColumns,
                        here + S::kWeightBytes + warp_token * kFp8BlockColumns, sums);
    free_stage = stage;
    stage = stage + 1 == S::kStages ? 0 : stage + 1;
    const int done = at.job;
    if (!at.Advance(product.row_bytes, kFp8BlockColumns, static_cast<int>(gridDim.x))) continue;
    FinishFp8Job<T, S>(product, done, sums);
    if constexpr (Source::kKnownAhead)
      break;
    else
      ClearSums(sums);
  }
  CpAsyncWait<0>();
}

// `resident`: how many blocks of it are to run at once where each walks several jobs.
template <class T, class S, class Source>
ErrorCode LaunchFp8(const Fp8Product<Source>& product, int64_t resident, Stream stream) {
  int64_t jobs = product.RowBlocks(S::kBlockRowTiles) * product.source.MostTiles();
  if (!Source::kKnownAhead) jobs = std::min(jobs, resident);
  return LaunchDependent(stream, Fp8Kernel<T, S, Source>, dim3(static_cast<unsigned>(jobs)),
                         dim3(S::kThreads), static_cast<size_t>(S::kBytes), product);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_FP8_MATMUL_CUH_
