// y [T, M] = x [T, K] W^T of e4m3 numbers (fp8.h) by warpgroups, for prompts: the tensor cores of compute capability 9.0, for
// which alone this file is compiled. One chain of the same steps as fp8_matmul.cuh makes, by wgmma instead of mma.sync: the
// same bytes where both add alike within a step, which fp8_check.h finds out.
//
// A block of two warpgroups multiplies 128 rows by 256 tokens. A stage of the ring has 64 columns of both: codes of W, and
// x as numbers of f16 in a swizzled panel, for which it was made ready once for all blocks. Each warpgroup has 64 rows: it
// makes the codes of the next stage f16, in registers, while the tensor cores have the steps of this one, and the two
// fill each other's gaps. Sums stay in registers, 128 of a thread.
#include "engine/kernels/cuda/fp8_matmul.cuh"
#include "engine/kernels/cuda/shared_bytes.h"
#include "engine/kernels/cuda/warpgroup.h"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kRows = kWarps * kMmaRows, kTokens = 256, kTokenTiles = kTokens / kMmaTokens;
constexpr int kStages = 5, kStageColumns = kPanelColumns, kSteps = kStageColumns / kMmaColumns;
constexpr int kCodeChunks = kStageColumns / kFp8ChunkBytes;  // of a row of W in a stage
constexpr int kCodeBytes = kRows * kStageColumns, kPanelBytes = kTokens * kPanelRowBytes;
constexpr int kStageBytes = kPanelBytes + kCodeBytes;
// With room to begin where the swizzle wants it.
constexpr size_t kSharedBytes = kStages * kStageBytes + kPanelAlignment;
static_assert(kSharedBytes <= kMostWarpgroupSharedBytes && kStageBytes % kPanelAlignment == 0);
static_assert(kTokens == kFp8WarpgroupTile);

// Steps of 64 rows as wgmma takes them: of a lane those of its warp's 16.
using StepFragments = uint32_t[kSteps][4];

// Where a chunk of codes lies in a stage: of eight rows such that ldmatrix meets no bank twice.
ROPEWAY_DEVICE uint8_t* CodesAt(uint8_t* stage, int row, int chunk) {
  return stage + kPanelBytes + row * kStageColumns + ((chunk ^ (row / 2 & 3)) << 4);
}

// What a block copies: of a thread one chunk of every so many rows. Past the last row of W that one again; tokens that are
// not there are zeros.
class StageCopier {
 public:
  ROPEWAY_DEVICE StageCopier(const Fp8Product<OneMatrix>& product, const TokenTile& tokens, int first_tile)
      : product_(product), tokens_(tokens) {
#pragma unroll
    for (int i = 0; i < kCodeCopies; ++i) {
      const TileRows rows = RowsOf(product.end, first_tile + CodeRow(i) / kMmaRows);
      code_rows_[i] = min(rows.Row(CodeRow(i) % kMmaRows), product.end.rows - 1);
    }
  }
  ROPEWAY_DEVICE void CopyCodes(int stage, uint8_t* to) const {
    const int chunk = static_cast<int>(threadIdx.x) % kCodeChunks;
    const int at = stage * kStageColumns + chunk * kFp8ChunkBytes;
#pragma unroll
    for (int i = 0; i < kCodeCopies; ++i)
      CpAsync16Streamed(CodesAt(to, CodeRow(i), chunk),
                        tokens_.weights + int64_t{code_rows_[i]} * product_.row_bytes + at);
  }
  ROPEWAY_DEVICE void CopyTokens(int stage, uint8_t* to) const {
    constexpr int kPieces = kPanelRowBytes / 16, kApart = kThreads / kPieces;
    const int piece = static_cast<int>(threadIdx.x) % kPieces;
    const auto* const x = reinterpret_cast<const fp16*>(product_.x) + stage * kStageColumns + piece * 8;
    auto* const panel = reinterpret_cast<fp16*>(to);
#pragma unroll
    for (int i = 0; i < kTokens / kApart; ++i) {
      const int row = i * kApart + static_cast<int>(threadIdx.x) / kPieces;
      const bool exists = row < tokens_.count;
      const int64_t token = tokens_.first + (exists ? row : 0);
      CpAsync16(panel + row * kPanelColumns + SwizzledColumn(row, piece * 8), x + token * product_.row_bytes,
                exists);
    }
  }

 private:
  static constexpr int kCodeApart = kThreads / kCodeChunks, kCodeCopies = kRows / kCodeApart;
  static ROPEWAY_DEVICE int CodeRow(int i) {
    return i * kCodeApart + static_cast<int>(threadIdx.x) / kCodeChunks;
  }

  const Fp8Product<OneMatrix>& product_;
  const TokenTile tokens_;
  int code_rows_[kCodeCopies];
};

ROPEWAY_DEVICE void LoadSteps(uint8_t* stage, StepFragments& steps) {
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int matrix = lane / 8, row = warp * kMmaRows + matrix % 2 * 8 + lane % 8;
  // One ldmatrix brings two steps.
#pragma unroll
  for (int step = 0; step < kSteps; step += 2) {
    uint32_t codes[4];
    LoadMatrixX4(codes, CodesAt(stage, row, step + matrix / 2));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      steps[step + i / 2][i % 2] = HalvesOfFp8Pair(codes[i]);
      steps[step + i / 2][i % 2 + 2] = HalvesOfFp8Pair(codes[i] >> 16);
    }
  }
}

// Puts the products of a stage on their way.
ROPEWAY_DEVICE void StartSteps(const StepFragments& steps, const uint8_t* stage,
                               float (&sums)[kTokenTiles][4]) {
#pragma unroll
  for (int step = 0; step < kSteps; ++step)
    AddHalfProducts(sums, steps[step], PanelDescriptor(stage + step * kMmaColumns * 2, kPanelBytes));
  WarpgroupCommit();
}

// Some tiles of tokens after the others take the first ones' place: the code of an end is there once.
template <class T>
ROPEWAY_DEVICE void Finish(const Fp8Product<OneMatrix>& product, const TokenTile& tokens, int tile,
                           float (&sums)[kTokenTiles][4]) {
  constexpr int kAtOnce = 4;
#pragma unroll 1
  for (int t = 0; t < kTokenTiles; t += kAtOnce) {
    float some[kAtOnce][4];
#pragma unroll
    for (int i = 0; i < kTokenTiles; ++i)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        if (i < kAtOnce) some[i][n] = sums[i][n];
        if (i + kAtOnce < kTokenTiles) sums[i][n] = sums[i + kAtOnce][n];
      }
    FinishFp8Tile<T>(product, tokens, tile, t * kMmaTokens, some);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1) Fp8WarpgroupKernel(Fp8Product<OneMatrix> product) {
  ROPEWAY_DYNAMIC_SHARED(uint8_t, memory);
  const auto misplaced = static_cast<int>(SharedAddress(memory) % kPanelAlignment);
  uint8_t* const ring = memory + (kPanelAlignment - misplaced) % kPanelAlignment;
  LaunchDependents();
  const int job = static_cast<int>(blockIdx.x), tiles = product.source.NumTiles();
  const TokenTile tokens = product.source.Tile(job % tiles);
  const int first_tile = job / tiles * kWarps, stages = product.row_bytes / kStageColumns;
  const StageCopier copier(product, tokens, first_tile);

  // 1. All stages but one are filled, with W before the wait; the first one's codes become steps.
#pragma unroll 1
  for (int stage = 0; stage < kStages - 1; ++stage)
    if (stage < stages) copier.CopyCodes(stage, ring + stage * kStageBytes);
  GridDependencyWait();
#pragma unroll 1
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < stages) copier.CopyTokens(stage, ring + stage * kStageBytes);
    CpAsyncCommit();
  }
  CpAsyncWait<kStages - 2>();
  FenceAsyncProxy();
  __syncthreads();
  float sums[kTokenTiles][4] = {};
  StepFragments steps, next;
  LoadSteps(ring, steps);

  // 2. While a stage is multiplied, the next one arrives, and the slot of the one before is filled: all warpgroups have
  // waited for its products in front of the barrier.
  int here = 0;
#pragma unroll 1
  for (int stage = 0; stage < stages; ++stage) {
    HoldRegisters(sums);
    HoldRegisters(steps);
    WarpgroupFence();
    StartSteps(steps, ring + here * kStageBytes, sums);
    uint8_t* const free_slot = ring + (here == 0 ? kStages - 1 : here - 1) * kStageBytes;
    here = here + 1 == kStages ? 0 : here + 1;
    CpAsyncWait<kStages - 3>();
    FenceAsyncProxy();
    __syncthreads();
    if (const int ahead = stage + kStages - 1; ahead < stages) {
      copier.CopyCodes(ahead, free_slot);
      copier.CopyTokens(ahead, free_slot);
    }
    CpAsyncCommit();
    if (stage + 1 < stages) LoadSteps(ring + here * kStageBytes, next);
    WarpgroupWait<0>();
    HoldRegisters(sums);
    HoldRegisters(steps);
#pragma unroll
    for (int step = 0; step < kSteps; ++step)
#pragma unroll
      for (int i = 0; i < 4; ++i) steps[step][i] = next[step][i];
  }
  CpAsyncWait<0>();
  Finish<T>(product, tokens, first_tile + static_cast<int>(threadIdx.x / 32), sums);
}

}  // namespace

ErrorCode Fp8MatMulByWarpgroups(const Fp8MatMulArgs& args, Stream stream) {
  const Fp8Product<OneMatrix> product = Fp8ProductOf(args, kTokens);
  const int64_t jobs = product.RowBlocks(kWarps) * product.source.MostTiles();
  return WithElement(args.out, [&]<class T>() {
    return LaunchDependent(stream, Fp8WarpgroupKernel<T>, dim3(static_cast<unsigned>(jobs)), dim3(kThreads),
                           kSharedBytes, product);
  });
}

}  // namespace ropeway::cuda
