// Products for few tokens with weights of 16 bits: reads W once per tile of up to 16 tokens.
//
// Each warp walks its jobs (product_source.cuh) of 16 rows of W by itself: no barrier but the warp's own. cp.async
// fills a ring of stages in shared memory, each of so many columns of a tile and of the tokens, and one chain of mma
// per output runs over them (the rule of sums in gemm.h). The ring goes on over the ends of jobs, so that the
// memory is asked without a pause. Tokens that are normed here lie in shared memory whole, one copy for all
// warps (normed_tokens.cuh), while the first weights are on their way.
//
// Launched as a dependent kernel: where its jobs are known by then, the first stages of W are on their way before
// the one in front has ended, unless that one writes W. That needs the shared memory of two blocks on a processor,
// and few bytes in flight lose more than the overlap gains: hence 2 warps with 48 KiB each. On an H100 a prototype
// with these numbers, without neighbours, read 2,870 GB/s of weights over all products of an 8B's decode step (one
// token; 2,770 with 8), of 3,071 that the memory gives. Where the copy engine may bring the stages, stream_bulk.cu has
// the same products.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_STREAM_MATMUL_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_STREAM_MATMUL_CUH_

#include <algorithm>

#include "engine/kernels/cuda/mma_steps.cuh"
#include "engine/kernels/cuda/normed_tokens.cuh"
#include "engine/kernels/cuda/product_source.cuh"

namespace ropeway::cuda {

inline constexpr int kStreamWarps = 2;

// What is in shared memory for one warp and kTokenTiles tiles of tokens. kNormed: the tokens lie beside it.
template <int kTokenTiles, bool kNormed>
struct Ring {
  static constexpr int kColumns = kTokenTiles == 1 ? 256 : 128;
  static constexpr int kStages = kTokenTiles == 1 ? 4 : 6;
  static constexpr int kTokens = kTokenTiles * kMmaTokens;
  static constexpr int kChunks = kColumns / kChunkColumns;
  static constexpr int kRowBytes = kColumns * 2;
  static constexpr int kStageBytes = (kMmaRows + (kNormed ? 0 : kTokens)) * kRowBytes;
  static constexpr int kBytes = kStages * kStageBytes;
};

// Of a stage: W's, and the tokens' below them.
template <class R>
using StageRows = ChunkRows<R::kRowBytes>;

// Normed tokens from a column on.
struct NormedStage {
  const NormedTokens& tokens;
  int first_chunk;
  ROPEWAY_DEVICE uint8_t* At(int row, int chunk) const { return tokens.ChunkAt(row, first_chunk + chunk); }
};

// Where a warp copies from.
struct StreamCursor {
  Place place;
  Job job;
  TileRows rows;

  template <class Source>
  ROPEWAY_DEVICE StreamCursor(const Product<Source>& product, const Place& first) : place(first) {
    FindJob(product);
  }
  template <class R, class Source>
  ROPEWAY_DEVICE void Advance(const Product<Source>& product, int jobs_apart) {
    if (place.Advance(product.columns, R::kColumns, jobs_apart)) FindJob(product);
  }
  template <class Source>
  ROPEWAY_DEVICE void FindJob(const Product<Source>& product) {
    job = product.At(place.job);
    rows = RowsOf(product.end, job.row_tile);
  }
};

// A stage of W; past the last row that one again.
template <class T, class R, class Source>
ROPEWAY_DEVICE void CopyWeights(const Product<Source>& product, const StreamCursor& from, uint8_t* stage) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int i = 0; i < kMmaRows * R::kChunks / 32; ++i) {
    const int at = i * 32 + lane, row = at / R::kChunks, chunk = at % R::kChunks;
    const int64_t w_row = min(from.rows.Row(row), product.rows - 1);
    const int first = from.place.column + chunk * kChunkColumns;
    if (first >= PaddedColumns(product.columns)) continue;
    CpAsync16Streamed(StageRows<R>{stage}.At(row, chunk),
                      reinterpret_cast<const T*>(from.job.tokens.weights) + w_row * product.columns + first,
                      first < product.columns);
  }
}

// Likewise of the tokens, which lie below the rows of W. Rows of tokens that are not there stay as they are: what
// comes of them is stored nowhere.
template <class T, class R, class Source>
ROPEWAY_DEVICE void CopyTokens(const Product<Source>& product, const StreamCursor& from, uint8_t* stage) {
  const StageRows<R> tokens = StageRows<R>{stage}.Below(kMmaRows);
  for (int at = static_cast<int>(threadIdx.x % 32); at < from.job.tokens.count * R::kChunks; at += 32) {
    const int row = at / R::kChunks, chunk = at % R::kChunks;
    const int first = from.place.column + chunk * kChunkColumns;
    if (first >= PaddedColumns(product.columns)) continue;
    const int64_t x_row = product.source.RowOfX(from.job.tokens.first + row);
    CpAsync16(tokens.At(row, chunk), static_cast<const T*>(product.x) + x_row * product.columns + first,
              first < product.columns);
  }
}

// What two steps of mma take of a tile of rows and all tokens: [step]; [token tile][step][columns 0..7, 8..15].
template <int kTokenTiles>
struct StepPair {
  uint32_t w[2][4], x[kTokenTiles][4];

  template <class Weights, class Tokens>
  ROPEWAY_DEVICE void Load(const Weights& weights, const Tokens& tokens, int first_step) {
    const int lane = static_cast<int>(threadIdx.x % 32), matrix = lane / 8, row = lane % 8;
#pragma unroll
    for (int t = 0; t < kTokenTiles; ++t)
      LoadMatrixX4(x[t], tokens.At(t * kMmaTokens + row, first_step * 2 + matrix));
#pragma unroll
    for (int s = 0; s < 2; ++s)
      LoadMatrixX4(w[s], weights.At(matrix % 2 * 8 + row, (first_step + s) * 2 + matrix / 2));
  }
  template <class T>
  ROPEWAY_DEVICE void Multiply(float (&sums)[kTokenTiles][4]) const {
#pragma unroll
    for (int s = 0; s < 2; ++s)
#pragma unroll
      for (int t = 0; t < kTokenTiles; ++t)
        MmaM16N8K16<T>(sums[t], w[s], {x[t][2 * s], x[t][2 * s + 1]}, sums[t]);
  }
};

// As MultiplySteps of kSteps, none of them past the last column. Two steps are loaded while the two before them are multiplied,
// without a branch: a warp's only chain waits for its mma alone, 33 cycles a step, where it waited for ldmatrix, too, about 68.
template <class T, int kSteps, int kTokenTiles, class Weights, class Tokens>
ROPEWAY_DEVICE void MultiplyAllSteps(const Weights& weights, const Tokens& tokens,
                                     float (&sums)[kTokenTiles][4]) {
  StepPair<kTokenTiles> pairs[2];
  pairs[0].Load(weights, tokens, 0);
#pragma unroll
  for (int step = 0; step < kSteps; step += 2) {
    if (step + 2 < kSteps) pairs[(step / 2 + 1) % 2].Load(weights, tokens, step + 2);
    pairs[step / 2 % 2].template Multiply<T>(sums);
  }
}

// The sums of one job of a warp after the other, kColumns of it at a time. kAhead: there are registers for MultiplyAllSteps.
template <class T, int kColumns, int kTokenTiles, bool kAhead, class Source>
class JobSums {
 public:
  ROPEWAY_DEVICE explicit JobSums(const Product<Source>& product) : product_(product) {}

  // += the products of the columns from `at` on. The tiles begin with them.
  template <class Weights, class Tokens>
  ROPEWAY_DEVICE void Multiply(const Place& at, const Weights& weights, const Tokens& tokens) {
    constexpr int kSteps = kColumns / kMmaColumns;
    const int steps = (PaddedColumns(product_.columns) - at.column) / kMmaColumns;
    if (kAhead && steps >= kSteps)  // alike for the warp
      MultiplyAllSteps<T, kSteps>(weights, tokens, sums_[0]);
    else
      MultiplySteps<T, kSteps, kAhead ? 1 : kSteps>(weights, tokens, steps, sums_);
  }
  // Where those were the job's last columns, sums go to where they belong.
  ROPEWAY_DEVICE void FinishAtEnd(const Place& at) {
    if (at.column + kColumns < product_.columns) return;
    const Job job = product_.At(at.job);
    FinishTile<T>(product_.end, job.row_tile, job.tokens.first, job.tokens.count, sums_[0]);
    ClearSums(sums_);
  }

 private:
  const Product<Source>& product_;
  float sums_[1][kTokenTiles][4] = {};
};

template <class Source, class T, int kTokenTiles, bool kNormed>
__global__ void __launch_bounds__(kStreamWarps * 32) StreamKernel(Product<Source> product) {
  using R = Ring<kTokenTiles, kNormed>;
  ROPEWAY_DYNAMIC_SHARED(uint8_t, shared);
  LaunchDependents();
  if (!Source::kKnownAhead || product.fresh_weights) GridDependencyWait();
  const int warp = static_cast<int>(threadIdx.x / 32);
  uint8_t* const ring = shared + warp * R::kBytes;
  const int jobs = product.Jobs(), apart = static_cast<int>(gridDim.x) * kStreamWarps;
  const Place first = {static_cast<int>(blockIdx.x) + static_cast<int>(gridDim.x) * warp, 0};

  // 1. All stages but one are filled, with W before the wait where the kernel in front does not write it.
  StreamCursor ahead(product, first), again = ahead;
#pragma unroll 1
  for (int stage = 0; stage < R::kStages - 1; ++stage) {
    if (ahead.place.job < jobs) CopyWeights<T, R>(product, ahead, ring + stage * R::kStageBytes);
    ahead.Advance<R>(product, apart);
  }
  NormedTokens normed = {};
  if constexpr (kNormed) {
    normed = {shared + kStreamWarps * R::kBytes, static_cast<int>(NormedRowBytes(product.columns)),
              product.source.num_tokens};
    PrefetchNorm<kStreamWarps>(product.norm);
  }
  GridDependencyWait();
  if constexpr (kNormed) NormTokens<T, kStreamWarps>(product.norm, normed);
#pragma unroll 1
  for (int stage = 0; stage < R::kStages - 1; ++stage) {
    if (!kNormed && again.place.job < jobs) CopyTokens<T, R>(product, again, ring + stage * R::kStageBytes);
    CpAsyncCommit();
    again.Advance<R>(product, apart);
  }

  // 2. A stage is multiplied while the one that was multiplied before it is filled.
  JobSums<T, R::kColumns, kTokenTiles, /*kAhead=*/kTokenTiles == 1, Source> sums(product);
  int stage = 0, free_stage = R::kStages - 1;
  for (Place at = first; at.job < jobs; at.Advance(product.columns, R::kColumns, apart)) {
    CpAsyncWait<R::kStages - 2>();
    __syncwarp();
    if (ahead.place.job < jobs) {
      uint8_t* const to = ring + free_stage * R::kStageBytes;
      CopyWeights<T, R>(product, ahead, to);
      if (!kNormed) CopyTokens<T, R>(product, ahead, to);
    }
    CpAsyncCommit();
    ahead.Advance<R>(product, apart);
    const StageRows<R> here = {ring + stage * R::kStageBytes};
    if constexpr (kNormed)
      sums.Multiply(at, here, NormedStage{normed, at.column / kChunkColumns});
    else
      sums.Multiply(at, here, here.Below(kMmaRows));
    sums.FinishAtEnd(at);
    free_stage = stage;
    stage = stage + 1 == R::kStages ? 0 : stage + 1;
  }
  CpAsyncWait<0>();
}

// How many blocks go through the jobs where `resident` find room at once: as many processors as there are jobs for.
template <class Source>
dim3 StreamBlocks(const Product<Source>& product, int64_t resident) {
  return dim3(static_cast<unsigned>(std::min(product.MostJobs(), resident)));
}

template <class Source, class T, int kTokenTiles, bool kNormed>
ErrorCode LaunchStream(const Product<Source>& product, int64_t normed_bytes, int64_t resident,
                       Stream stream) {
  return LaunchDependent(
      stream, StreamKernel<Source, T, kTokenTiles, kNormed>, StreamBlocks(product, resident),
      dim3(kStreamWarps * 32),
      static_cast<size_t>(kStreamWarps * Ring<kTokenTiles, kNormed>::kBytes + normed_bytes), product);
}

// The same by bulk copies (stream_bulk.cu), of one matrix with its tokens normed or not. REQUIRES: TakesBulkCopies
// (stream_matmul.h), and one tile of tokens.
ErrorCode StreamByBulkCopies(const Product<OneMatrix>& product, Element element, bool norms, int processors,
                             Stream stream);
ErrorCode StreamByBulkCopies(const Product<ExpertMatrices>& product, Element element, int tile_slots,
                             int processors, Stream stream);

// Products of any number of tokens, with what follows, by warpgroups (dense_warpgroup.cu). REQUIRES: x and W have 16 bits, K
// is a multiple of 8, there is no norm in front, and the device is of compute capability 9.0.
ErrorCode DenseMatMulByWarpgroups(const Product<OneMatrix>& product, Element element, int processors,
                                  Stream stream);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_STREAM_MATMUL_CUH_
