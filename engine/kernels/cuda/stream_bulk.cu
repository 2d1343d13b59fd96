// Products for few tokens with weights of 16 bits, as stream_matmul.cuh makes them, where the copy engine brings weights and
// tokens: compute capability 9.0, for which alone this file is compiled.
//
// A block has two warps that multiply and four that copy. The two go through their jobs side by side, one of theirs each
// in a round, so that a stage of the block's ring has the same columns of both: 16 rows of W for each warp, and below them
// the tokens, once where both have the same ones.
//
//   job    round 0: b, b + B         round 1: b + 2 B, b + 3 B   ...   (block b of B; the second one may not be there)
//   stage  0: columns 0..255   1: columns 256..511   ...   n: columns 0..255 of round 1   ...
//
// A row of a stage is one bulk copy: up to 512 bytes that lie side by side in memory too, so that no tensor map is needed,
// to rows 16 bytes further apart than they are long, so that ldmatrix meets no bank twice. One lane of each copying warp copies
// eight rows of W, and its part of the tokens; it has no other work, and the two have none but ldmatrix, mma and the ends of
// jobs. With each stage go two barriers:
//   filled   each copying lane arrives, and says how many bytes its copies bring
//   emptied  each of the two warps arrives once it has read the stage, also where it has no job in it
// Step n of a block lies in stage n % S: it is there when phase n / S of `filled` is over, and may be filled when phase
// n / S - 1 of `emptied` is. Nobody is ever two phases behind, since all walk the same steps.
//
// As many stages as two blocks of a processor find room for, be it of this kernel or of the next, which has its first weights
// under way as soon as blocks of this one have ended, as there, and waits for its tokens alone. Of a token or two that is 6
// stages, 96 KiB of W, where the rings of stream_matmul.cuh have 64; of 16 tokens 4.
//
// On an H100 (2026-11-27) a copy takes about 16 instructions of its lane, however many lanes of a warp copy, which one lane
// for all rows was too slow for: gate and up of an 8B took 94 us of one token and 103 of 8; with four lanes 85 and 90, of 82
// that the memory needs. One block a processor, which leaves room for the next kernel's from the beginning, has too few warps
// that multiply: a decode step took 7.55 ms, with two 7.12. The four products of a layer of one stream took 171 us in a decode
// step, and 159 with MultiplyAllSteps (norm with qkv 23.5 and 17.4, gate and up 88.6 and 83.5; timelines of two runs).
#include <algorithm>
#include <type_traits>

#include "engine/kernels/cuda/bulk_copy.h"
#include "engine/kernels/cuda/stream_matmul.cuh"

namespace ropeway::cuda {
namespace {

// Two for each warp that multiplies.
constexpr int kCopyWarps = 2 * kStreamWarps;
constexpr int kBlockWarps = kStreamWarps + kCopyWarps;
constexpr int kStageColumns = 256;
constexpr int kStageRowBytes = kStageColumns * 2 + 16;
constexpr int kMostStages = 8;
// Of a block, with normed rows: of 228 KiB of a processor the system takes one for each block, and NormTokens two.
constexpr int kBlockBytes = 110 << 10;

struct StageBarriers {
  PhaseBarrier filled, emptied;
};
// Stages begin behind them.
constexpr int kBarrierBytes = kMostStages * static_cast<int>(sizeof(StageBarriers));

// Whether all jobs of a product have the same tokens.
template <class Source>
constexpr bool kSharesTokens = std::is_same_v<Source, OneMatrix>;

// What a launch makes of a block's memory: barriers, stages, normed rows.
struct RingShape {
  int stages;
  int token_rows;  // of a job in a stage
  int stage_bytes;

  // kNormed: the tokens lie behind the stages.
  template <class Source, bool kNormed>
  static RingShape Of(int tokens, int normed_bytes) {
    const int token_rows = kNormed ? 0 : tokens;
    const int rows = kStreamWarps * kMmaRows + (kSharesTokens<Source> ? 1 : kStreamWarps) * token_rows;
    const int stage_bytes = rows * kStageRowBytes;
    const int room = (kBlockBytes - kBarrierBytes - normed_bytes) / stage_bytes;
    return {.stages = std::min(kMostStages, room), .token_rows = token_rows, .stage_bytes = stage_bytes};
  }
  constexpr int Bytes() const { return kBarrierBytes + stages * stage_bytes; }
};

// Rows of a stage. What is past the last one is that one again.
struct PaddedRows {
  uint8_t* data;
  int last;

  ROPEWAY_DEVICE uint8_t* At(int row, int chunk) const {
    return data + min(row, last) * kStageRowBytes + chunk * 16;
  }
};

template <class Source>
struct BlockRing {
  uint8_t* memory;
  RingShape shape;

  ROPEWAY_DEVICE StageBarriers& Barriers(int stage) const {
    return reinterpret_cast<StageBarriers*>(memory)[stage];
  }
  ROPEWAY_DEVICE PaddedRows Weights(int stage, int warp) const {
    return {Stage(stage) + warp * kMmaRows * kStageRowBytes, kMmaRows - 1};
  }
  ROPEWAY_DEVICE PaddedRows Tokens(int stage, int warp, int count) const {
    const int row = kStreamWarps * kMmaRows + (kSharesTokens<Source> ? 0 : warp * shape.token_rows);
    return {Stage(stage) + row * kStageRowBytes, count - 1};
  }
  ROPEWAY_DEVICE uint8_t* Normed() const { return memory + shape.Bytes(); }

  ROPEWAY_DEVICE void InitBarriers() const {
    for (int stage = 0; stage < shape.stages; ++stage) {
      InitBarrier(Barriers(stage).filled, kCopyWarps);
      InitBarrier(Barriers(stage).emptied, kStreamWarps);
    }
    FenceBarriers();
  }

 private:
  ROPEWAY_DEVICE uint8_t* Stage(int stage) const {
    return memory + kBarrierBytes + stage * shape.stage_bytes;
  }
};

// Where one of a block's parts is: in the first warp's jobs, and in the ring.
struct BlockPlace {
  Place place = {static_cast<int>(blockIdx.x), 0};
  int stage = 0;
  unsigned phase = 0;  // of the stage's barriers

  // Whether that is the next round's beginning.
  ROPEWAY_DEVICE bool Advance(int columns, int stages) {
    if (++stage == stages) {
      stage = 0;
      ++phase;
    }
    return place.Advance(columns, kStageColumns, static_cast<int>(gridDim.x) * kStreamWarps);
  }
  ROPEWAY_DEVICE Place OfWarp(int warp) const {
    return {place.job + warp * static_cast<int>(gridDim.x), place.column};
  }
};

// What the lane of a copying warp does: eight rows of W, those of one half of a multiplying warp's tile, and its part of the
// tokens.
template <class T, bool kNormed, class Source>
class StageFiller {
 public:
  // `copier` of kCopyWarps.
  ROPEWAY_DEVICE StageFiller(const Product<Source>& product, const BlockRing<Source>& ring, int copier)
      : product_(product), ring_(ring), jobs_(product.Jobs()), warp_(copier / 2), half_(copier % 2) {}

  // The weights of the first stages.
  ROPEWAY_DEVICE void FillAhead() {
    Cursor at;
    FindRows(at);
#pragma unroll 1
    for (int stage = 0; stage < ring_.shape.stages && at.block.place.job < jobs_; ++stage) {
      CopyWeights(at);
      Advance(at);
    }
  }
  // All else.
  ROPEWAY_DEVICE void Fill() {
    Cursor at;
    FindRows(at);
#pragma unroll 1
    for (; at.block.place.job < jobs_; Advance(at)) {
      if (at.block.phase > 0) {
        WaitForPhase(ring_.Barriers(at.block.stage).emptied, at.block.phase % 2 ^ 1);
        CopyWeights(at);
      }
      CopyTokens(at);
    }
  }

 private:
  static constexpr int kHalfRows = kMmaRows / 2;

  // Rows of W as far as they exist: of the others nothing is stored, whatever is multiplied.
  struct Cursor {
    BlockPlace block;
    const T* rows = nullptr;
    int count = 0;
    int64_t apart = 0;
    TokenTile tokens = {};
  };

  ROPEWAY_DEVICE void FindRows(Cursor& at) const {
    const int number = at.block.OfWarp(warp_).job, first_number = at.block.place.job;
    at.count = 0;
    at.tokens.count = 0;
    if (first_number >= jobs_) return;
    if (number < jobs_) {
      const Job job = product_.At(number);
      const TileRows rows = RowsOf(product_.end, job.row_tile);
      const int first = rows.Row(kHalfRows * half_);
      at.rows = reinterpret_cast<const T*>(job.tokens.weights) + int64_t{first} * product_.columns;
      at.count = max(0, min((product_.rows - first + rows.step - 1) / rows.step, kHalfRows));
      at.apart = int64_t{rows.step} * product_.columns;
      at.tokens = job.tokens;
    } else if constexpr (kSharesTokens<Source>) {
      at.tokens = product_.At(first_number).tokens;
    }
  }
  ROPEWAY_DEVICE void Advance(Cursor& at) const {
    if (at.block.Advance(product_.columns, ring_.shape.stages)) FindRows(at);
  }

  // Of a row in this stage.
  ROPEWAY_DEVICE int Bytes(const Cursor& at) const {
    return min(product_.columns - at.block.place.column, kStageColumns) * static_cast<int>(sizeof(T));
  }
  ROPEWAY_DEVICE void CopyWeights(const Cursor& at) const {
    PhaseBarrier& filled = ring_.Barriers(at.block.stage).filled;
    const int bytes = Bytes(at);
    const PaddedRows to = ring_.Weights(at.block.stage, warp_);
    const T* from = at.rows + at.block.place.column;
    if (at.count > 0) ExpectBytes(filled, at.count * bytes);
#pragma unroll
    for (int i = 0; i < kHalfRows; ++i, from += at.apart) {
      if (i >= at.count) break;
      CopyRun(to.At(kHalfRows * half_ + i, 0), from, bytes, filled);
    }
  }
  // And arrives: the stage has nothing else to come from here.
  ROPEWAY_DEVICE void CopyTokens(const Cursor& at) const {
    PhaseBarrier& filled = ring_.Barriers(at.block.stage).filled;
    if constexpr (kNormed) {
      Arrive(filled);
    } else {
      constexpr int kTokenCopiers = kSharesTokens<Source> ? kCopyWarps : 2;  // who have the same tokens
      const int first = kSharesTokens<Source> ? 2 * warp_ + half_ : half_, bytes = Bytes(at);
      ArriveExpecting(filled, max(0, (at.tokens.count - first + kTokenCopiers - 1) / kTokenCopiers) * bytes);
      const PaddedRows to = ring_.Tokens(at.block.stage, warp_, at.tokens.count);
#pragma unroll 2
      for (int i = first; i < at.tokens.count; i += kTokenCopiers) {
        const int64_t row = product_.source.RowOfX(at.tokens.first + i);
        CopyRun(to.At(i, 0),
                static_cast<const T*>(product_.x) + row * product_.columns + at.block.place.column, bytes,
                filled);
      }
    }
  }

  const Product<Source>& product_;
  const BlockRing<Source>& ring_;
  const int jobs_;
  const int warp_, half_;
};

// What a warp that multiplies does.
template <class T, int kTokenTiles, bool kNormed, class Source>
ROPEWAY_DEVICE void MultiplyJobs(const Product<Source>& product, const BlockRing<Source>& ring,
                                 const NormedTokens& normed) {
  const int warp = static_cast<int>(threadIdx.x / 32), jobs = product.Jobs();
  JobSums<T, kStageColumns, kTokenTiles, /*kAhead=*/true, Source> sums(product);
  int tokens = 0;  // of the job
#pragma unroll 1
  for (BlockPlace block; block.place.job < jobs; block.Advance(product.columns, ring.shape.stages)) {
    StageBarriers& barriers = ring.Barriers(block.stage);
    const Place at = block.OfWarp(warp);
    const bool exists = at.job < jobs;
    if (exists && at.column == 0) tokens = product.At(at.job).tokens.count;
    WaitForPhase(barriers.filled, block.phase % 2);
    if (exists) {
      const PaddedRows weights = ring.Weights(block.stage, warp);
      if constexpr (kNormed)
        sums.Multiply(at, weights, NormedStage{normed, at.column / kChunkColumns});
      else
        sums.Multiply(at, weights, ring.Tokens(block.stage, warp, tokens));
    }
    __syncwarp();
    if (threadIdx.x % 32 == 0) Arrive(barriers.emptied);
    if (exists) sums.FinishAtEnd(at);
  }
}

template <class Source, class T, int kTokenTiles, bool kNormed>
__global__ void __launch_bounds__(kBlockWarps * 32, 2)
    BulkStreamKernel(Product<Source> product, RingShape shape) {
  ROPEWAY_DYNAMIC_SHARED(uint8_t, shared);
  LaunchDependents();
  if (!Source::kKnownAhead || product.fresh_weights) {
    GridDependencyWait();
    FenceGlobalForBulkCopies();
  }
  const BlockRing<Source> ring = {shared, shape};
  const int copier = static_cast<int>(threadIdx.x / 32) - kStreamWarps;  // < 0: it multiplies
  if (threadIdx.x == 0) ring.InitBarriers();
  __syncthreads();
  StageFiller<T, kNormed, Source> filler(product, ring, max(copier, 0));
  if (copier >= 0 && IsElected()) filler.FillAhead();
  NormedTokens normed = {};
  if constexpr (kNormed) {
    normed = {ring.Normed(), static_cast<int>(NormedRowBytes(product.columns)), product.source.num_tokens};
    PrefetchNorm<kBlockWarps>(product.norm);
  }
  GridDependencyWait();
  if constexpr (kNormed) NormTokens<T, kBlockWarps>(product.norm, normed);
  __syncthreads();
  // From here on they go apart: no __syncthreads any more.
  if (copier < 0) {
    MultiplyJobs<T, kTokenTiles, kNormed>(product, ring, normed);
  } else if (IsElected()) {
    FenceGlobalForBulkCopies();
    filler.Fill();
  }
}

template <class Source, class T, int kTokenTiles, bool kNormed>
ErrorCode LaunchBulk(const Product<Source>& product, int tokens, int processors, Stream stream) {
  const auto kernel = BulkStreamKernel<Source, T, kTokenTiles, kNormed>;
  const int normed_bytes = kNormed ? static_cast<int>(tokens * NormedRowBytes(product.columns)) : 0;
  const RingShape shape = RingShape::Of<Source, kNormed>(tokens, normed_bytes);
  const auto bytes = static_cast<size_t>(shape.Bytes() + normed_bytes);
  constexpr int kThreads = kBlockWarps * 32;
  const int64_t blocks = BlocksPerProcessor(kernel, kThreads, bytes);
  return LaunchDependent(stream, kernel, StreamBlocks(product, blocks * processors), dim3(kThreads), bytes,
                         product, shape);
}

template <bool kNormed, class Source>
ErrorCode LaunchFor(const Product<Source>& product, Element element, int tile_tokens, int tokens,
                    int processors, Stream stream) {
  return WithElement(element, [&]<class T>() -> ErrorCode {
    if constexpr (std::is_same_v<T, float>) {
      return kInvalidValue;
    } else {
      return tile_tokens <= kMmaTokens
                 ? LaunchBulk<Source, T, 1, kNormed>(product, tokens, processors, stream)
                 : LaunchBulk<Source, T, 2, kNormed>(product, tokens, processors, stream);
    }
  });
}

}  // namespace

ErrorCode StreamByBulkCopies(const Product<OneMatrix>& product, Element element, bool norms, int processors,
                             Stream stream) {
  const int tokens = product.source.num_tokens, tile = product.source.tile_tokens;
  return norms ? LaunchFor<true>(product, element, tile, tokens, processors, stream)
               : LaunchFor<false>(product, element, tile, tokens, processors, stream);
}

ErrorCode StreamByBulkCopies(const Product<ExpertMatrices>& product, Element element, int tile_slots,
                             int processors, Stream stream) {
  return LaunchFor<false>(product, element, tile_slots, tile_slots, processors, stream);
}

}  // namespace ropeway::cuda
