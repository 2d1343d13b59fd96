// y [T, M] = x [T, K] W^T of 16-bit numbers by warpgroups, for more tokens than stream (stream_matmul.h) and fewer than keep
// tensor cores busy: those of compute capability 9.0, for which alone this file is compiled. One chain of the same steps as
// mma_steps.cuh makes (gemm.h), by wgmma instead of mma.sync: the same bytes where both add alike within a step, which
// product_check.h finds out.
//
// What bounds such a product is reading W. Beside the library's kernels, which read it as fast, these start before the kernel
// in front has ended, with the first stages of W on their way, and take what follows into them (FusedMatMulArgs).
//
// A block of one or two warpgroups multiplies 64 rows by each by up to 128 tokens. A stage of the ring has 64 columns of both, a
// swizzled panel each. Each warp has 16 rows of W, which ldmatrix brings into registers: those of the next stage while the
// tensor cores have this one's.
#include "engine/kernels/cuda/mma_steps.cuh"
#include "engine/kernels/cuda/product_source.cuh"
#include "engine/kernels/cuda/shared_bytes.h"
#include "engine/kernels/cuda/stream_matmul.cuh"
#include "engine/kernels/cuda/warpgroup.h"

namespace ropeway::cuda {
namespace {

constexpr int kGroupWarps = 4, kGroupRows = kGroupWarps * kMmaRows;  // of a warpgroup
constexpr int kStageColumns = kPanelColumns, kSteps = kStageColumns / kMmaColumns;
constexpr int kPieces = kPanelRowBytes / 16;  // of a row of a panel
constexpr int kRingBytes = 192 << 10;         // of the blocks of a processor

template <int kTokens_, int kWarpgroups_>
struct DenseShape {
  static constexpr int kTokens = kTokens_, kTokenTiles = kTokens / kMmaTokens;
  static constexpr int kWarps = kWarpgroups_ * kGroupWarps, kThreads = kWarps * 32;
  static constexpr int kRows = kWarps * kMmaRows;
  static constexpr int kPanelBytes = kTokens * kPanelRowBytes,
                       kStageBytes = kPanelBytes + kRows * kPanelRowBytes;
  // On a processor: two, where registers allow it.
  static constexpr int kBlocks = kTokens == 128 && kWarpgroups_ == 2 ? 1 : 2;
  static constexpr int kStages = kRingBytes / kBlocks / kStageBytes;
  // With room to begin where the swizzle wants it.
  static constexpr size_t kSharedBytes = kStages * kStageBytes + kPanelAlignment;
  static_assert(kStages >= 3 && kStageBytes % kPanelAlignment == 0);
  static constexpr int kRowsApart = kThreads / kPieces;  // of what a thread copies
};

// Steps of 64 rows as wgmma takes them: of a lane those of its warp's 16.
using StepFragments = uint32_t[kSteps][4];

// What a block copies: of a thread one piece of every so many rows. Past the last row of W that one again; of tokens that are
// not there nothing; zeros past the last column.
template <class T, class S>
class StageCopier {
 public:
  ROPEWAY_DEVICE StageCopier(const Product<OneMatrix>& product, const TokenTile& tokens, int first_tile)
      : product_(product), tokens_(tokens) {
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const TileRows rows = RowsOf(product.end, first_tile + Row(i) / kMmaRows);
      rows_[i] = min(rows.Row(Row(i) % kMmaRows), product.rows - 1);
    }
  }
  ROPEWAY_DEVICE void CopyWeights(int stage, uint8_t* to) const {
    const int column = Column(stage);
    const bool exists = column < product_.columns;
    const T* const from = reinterpret_cast<const T*>(tokens_.weights) + (exists ? column : 0);
#pragma unroll
    for (int i = 0; i < kCopies; ++i)
      CpAsync16Streamed(At(to + S::kPanelBytes, Row(i)), from + int64_t{rows_[i]} * product_.columns, exists);
  }
  ROPEWAY_DEVICE void CopyTokens(int stage, uint8_t* to) const {
    const int column = Column(stage);
    const bool exists = column < product_.columns;
    const T* const from = static_cast<const T*>(product_.x) + (exists ? column : 0);
#pragma unroll 4
    for (int row = Row(0); row < tokens_.count; row += S::kRowsApart)
      CpAsync16(At(to, row), from + int64_t{tokens_.first + row} * product_.columns, exists);
  }

 private:
  static constexpr int kCopies = S::kRows / S::kRowsApart;
  static ROPEWAY_DEVICE int Row(int i) { return i * S::kRowsApart + static_cast<int>(threadIdx.x) / kPieces; }
  static ROPEWAY_DEVICE int Piece() { return static_cast<int>(threadIdx.x) % kPieces; }
  static ROPEWAY_DEVICE int Column(int stage) { return stage * kStageColumns + Piece() * kChunkColumns; }
  static ROPEWAY_DEVICE uint8_t* At(uint8_t* panel, int row) {
    return panel + row * kPanelRowBytes + ((Piece() ^ row % 8) << 4);
  }

  const Product<OneMatrix>& product_;
  const TokenTile tokens_;
  int rows_[kCopies];
};

template <class S>
ROPEWAY_DEVICE void LoadSteps(uint8_t* stage, StepFragments& steps) {
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int matrix = lane / 8, row = warp * kMmaRows + matrix % 2 * 8 + lane % 8;
  const ChunkRows<kPanelRowBytes> weights = {stage + S::kPanelBytes};
#pragma unroll
  for (int step = 0; step < kSteps; ++step) LoadMatrixX4(steps[step], weights.At(row, step * 2 + matrix / 2));
}

// Puts the products of a stage on their way.
template <class T, class S>
ROPEWAY_DEVICE void StartSteps(const StepFragments& steps, const uint8_t* stage,
                               float (&sums)[S::kTokenTiles][4]) {
  const uint64_t panel = PanelDescriptor(stage, S::kPanelBytes);
#pragma unroll
  for (int step = 0; step < kSteps; ++step)
    MultiplyWide<T, false>(sums, steps[step], panel + (step * kMmaColumns * sizeof(T) >> 4), true);
  WarpgroupCommit();
}

template <class T, class S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) DenseWarpgroupKernel(Product<OneMatrix> product) {
  ROPEWAY_DYNAMIC_SHARED(uint8_t, memory);
  const auto misplaced = static_cast<int>(SharedAddress(memory) % kPanelAlignment);
  uint8_t* const ring = memory + (kPanelAlignment - misplaced) % kPanelAlignment;
  LaunchDependents();
  if (product.fresh_weights) GridDependencyWait();
  const int job = static_cast<int>(blockIdx.x), tiles = product.source.NumTiles();
  const TokenTile tokens = product.source.Tile(job % tiles);
  const int first_tile = job / tiles * S::kWarps,
            stages = (product.columns + kStageColumns - 1) / kStageColumns;
  const StageCopier<T, S> copier(product, tokens, first_tile);

  // 1. All stages but one are filled, with W before the wait; the first one's rows become steps.
#pragma unroll 1
  for (int stage = 0; stage < S::kStages - 1; ++stage)
    if (stage < stages) copier.CopyWeights(stage, ring + stage * S::kStageBytes);
  GridDependencyWait();
#pragma unroll 1
  for (int stage = 0; stage < S::kStages - 1; ++stage) {
    if (stage < stages) copier.CopyTokens(stage, ring + stage * S::kStageBytes);
    CpAsyncCommit();
  }
  CpAsyncWait<S::kStages - 2>();
  FenceAsyncProxy();
  __syncthreads();
  float sums[1][S::kTokenTiles][4] = {};
  StepFragments steps, next;
  LoadSteps<S>(ring, steps);

  // 2. While a stage is multiplied, the next one arrives, and the slot of the one before is filled: all warpgroups have
  // waited for its products in front of the barrier.
  int here = 0;
#pragma unroll 1
  for (int stage = 0; stage < stages; ++stage) {
    HoldRegisters(sums[0]);
    HoldRegisters(steps);
    WarpgroupFence();
    StartSteps<T, S>(steps, ring + here * S::kStageBytes, sums[0]);
    uint8_t* const free_slot = ring + (here == 0 ? S::kStages - 1 : here - 1) * S::kStageBytes;
    here = here + 1 == S::kStages ? 0 : here + 1;
    CpAsyncWait<S::kStages - 3>();
    FenceAsyncProxy();
    __syncthreads();
    if (const int ahead = stage + S::kStages - 1; ahead < stages) {
      copier.CopyWeights(ahead, free_slot);
      copier.CopyTokens(ahead, free_slot);
    }
    CpAsyncCommit();
    if (stage + 1 < stages) LoadSteps<S>(ring + here * S::kStageBytes, next);
    WarpgroupWait<0>();
    HoldRegisters(sums[0]);
    HoldRegisters(steps);
#pragma unroll
    for (int step = 0; step < kSteps; ++step)
#pragma unroll
      for (int i = 0; i < 4; ++i) steps[step][i] = next[step][i];
  }
  CpAsyncWait<0>();
  const int tile = first_tile + static_cast<int>(threadIdx.x / 32);
  if (tile >= TilesOf(product.end)) return;
  ForEachPart<2>(sums, [&](int, int part, const float(&some)[2][4]) {
    const int at = part * kMmaTokens;
    FinishTile<T>(product.end, tile, tokens.first + at, tokens.count - at, some);
  });
}

template <class T, class S>
ErrorCode LaunchTiles(Product<OneMatrix> product, Stream stream) {
  product.source.tile_tokens = S::kTokens;
  const int64_t jobs = (TilesOf(product.end) + S::kWarps - 1) / S::kWarps * product.source.MostTiles();
  return LaunchDependent(stream, DenseWarpgroupKernel<T, S>, dim3(static_cast<unsigned>(jobs)),
                         dim3(S::kThreads), S::kSharedBytes, product);
}

// Two warpgroups a block where such blocks are at least one for each processor.
template <int kTokens, class T>
ErrorCode LaunchFor(const Product<OneMatrix>& product, int processors, Stream stream) {
  constexpr int kRows = 2 * kGroupRows / kEndTileRows;
  return TilesOf(product.end) >= kRows * processors ? LaunchTiles<T, DenseShape<kTokens, 2>>(product, stream)
                                                    : LaunchTiles<T, DenseShape<kTokens, 1>>(product, stream);
}

}  // namespace

ErrorCode DenseMatMulByWarpgroups(const Product<OneMatrix>& product, Element element, int processors,
                                  Stream stream) {
  return WithElement(element, [&]<class T>() -> ErrorCode {
    if constexpr (std::is_same_v<T, float>)
      return kInvalidValue;
    else
      return product.source.num_tokens <= 64 ? LaunchFor<64, T>(product, processors, stream)
                                             : LaunchFor<128, T>(product, processors, stream);
  });
}

}  // namespace ropeway::cuda
