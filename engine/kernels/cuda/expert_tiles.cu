// Products of experts for tiles of up to 64 slots, by the rule of sums (gemm.h): a block multiplies 128 rows of an
// expert's matrix by a tile, so that each number of W meets 64 tokens and each of x 128 rows once it is in shared
// memory.
//
// A ring of stages in shared memory has 64 columns each of both. Those of x, and of dense weights, come by cp.async,
// two stages ahead; packed weights are loaded into registers two stages ahead, a row a thread, and unpacked into the
// next stage while this one is multiplied. Rows that are no whole multiple of 128 bits are copied number by number.
// Four warps have 64 rows and 32 slots each: a step takes 6 ldmatrix for 16 mma. Blocks go from job to job, and several
// find room on a processor: they fill each other's gaps.
#include <algorithm>

#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/mma_steps.cuh"
#include "engine/kernels/cuda/packed_units.cuh"
#include "engine/kernels/cuda/product_source.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kTileRows = 128, kTileSlots = kManyExpertSlots;
constexpr int kRowWarps = 2, kSlotWarps = 2, kThreads = 32 * kRowWarps * kSlotWarps;
constexpr int kWarpRows = kTileRows / kRowWarps, kWarpSlots = kTileSlots / kSlotWarps;
constexpr int kStageColumns = 64, kStages = 3;
constexpr int kSteps = kStageColumns / kMmaColumns, kChunks = kStageColumns / kChunkColumns;
constexpr int kRowBytes = kStageColumns * 2;
constexpr int kStageBytes = (kTileRows + kTileSlots) * kRowBytes;
constexpr int kCopiedRows = kThreads / kChunks;  // by all threads at once
using Rows = ChunkRows<kRowBytes>;

// A stage's rows of W, and below them those of x.
ROPEWAY_DEVICE Rows StageOf(uint8_t* ring, int stage) { return {ring + stage % kStages * kStageBytes}; }

// Eight columns of a row from `first` on; zeros past the last one.
template <bool kAligned, class T>
ROPEWAY_DEVICE void CopyChunk(const T* row, int first, int columns, uint8_t* to) {
  if constexpr (kAligned) {
    CpAsync16(to, row + first, first < columns);
  } else {
    Vector128<T> numbers;
#pragma unroll
    for (int i = 0; i < kChunkColumns; ++i)
      numbers.values[i] = first + i < columns ? row[first + i] : FromFloat<T>(0);
    Store128(reinterpret_cast<T*>(to), numbers);
  }
}

// A thread copies one chunk of every kCopiedRows-th row. Those of slots that are not there stay as they are: what
// comes of them is stored nowhere.
template <class T, bool kAligned>
class SlotCopier {
 public:
  ROPEWAY_DEVICE SlotCopier(const Product<ExpertMatrices>& product, const TokenTile& slots)
      : product_(product), count_(slots.count) {
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      const int slot = slots.first + min(Row(i), slots.count - 1);
      rows_[i] = static_cast<const T*>(product.x) + product.source.RowOfX(slot) * product.columns;
    }
  }
  ROPEWAY_DEVICE void Copy(int stage, uint8_t* ring) const {
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
    const int first = stage * kStageColumns + chunk * kChunkColumns;
    if (first >= PaddedColumns(product_.columns)) return;
    const Rows to = StageOf(ring, stage).Below(kTileRows);
#pragma unroll
    for (int i = 0; i < kMine; ++i)
      if (Row(i) < count_) CopyChunk<kAligned>(rows_[i], first, product_.columns, to.At(Row(i), chunk));
  }

 private:
  static constexpr int kMine = kTileSlots / kCopiedRows;
  static ROPEWAY_DEVICE int Row(int i) { return i * kCopiedRows + static_cast<int>(threadIdx.x) / kChunks; }

  const Product<ExpertMatrices>& product_;
  const int count_;
  const T* rows_[kMine];
};

// How rows of W come into the ring; past the last row that one again. Copy starts what has to arrive by the time the
// stage is multiplied, Unpack makes what has to be there by the next barrier.
template <class T_, bool kAligned_>
class DenseWeights {
 public:
  using T = T_;
  static constexpr bool kAligned = kAligned_;

  ROPEWAY_DEVICE DenseWeights(const Product<ExpertMatrices>& product, const uint8_t* matrix, int first_row)
      : product_(product), matrix_(reinterpret_cast<const T*>(matrix)), first_row_(first_row) {}
  ROPEWAY_DEVICE void Start(uint8_t*) {}
  ROPEWAY_DEVICE void Copy(int stage, uint8_t* ring) const {
    const int thread = static_cast<int>(threadIdx.x), chunk = thread % kChunks;
    const int first = stage * kStageColumns + chunk * kChunkColumns;
    if (first >= PaddedColumns(product_.columns)) return;
    const Rows to = StageOf(ring, stage);
#pragma unroll
    for (int row = thread / kChunks; row < kTileRows; row += kCopiedRows) {
      const int64_t from = min(first_row_ + row, product_.rows - 1);
      CopyChunk<kAligned>(matrix_ + from * product_.columns, first, product_.columns, to.At(row, chunk));
    }
  }
  ROPEWAY_DEVICE void Unpack(int, uint8_t*) {}

 private:
  const Product<ExpertMatrices>& product_;
  const T* const matrix_;
  const int first_row_;
};

template <class T_, DType kType>
class PackedWeights {
 public:
  using T = T_;
  static constexpr bool kAligned = true;  // rows are whole blocks
  static_assert(kThreads == kTileRows);

  ROPEWAY_DEVICE PackedWeights(const Product<ExpertMatrices>& product, const uint8_t* matrix, int first_row)
      : planes_(PlanesAt(product.layout, matrix)),
        units_(product.columns / kUnitColumns),
        row_(min(first_row + static_cast<int>(threadIdx.x), product.rows - 1)) {}
  ROPEWAY_DEVICE void Start(uint8_t* ring) {
    Load(0);
    Unpack(0, ring);
  }
  ROPEWAY_DEVICE void Copy(int, uint8_t*) const {}
  // What was loaded, which is of this stage; loads the next.
  ROPEWAY_DEVICE void Unpack(int stage, uint8_t* ring) {
    const Rows to = StageOf(ring, stage);
#pragma unroll
    for (int u = 0; u < kStageUnits; ++u)
      if (stage * kStageUnits + u < units_)
        StoreUnpacked<T>(loaded_[u], to, static_cast<int>(threadIdx.x), u * (kUnitColumns / kChunkColumns));
    Load(stage + 1);
  }

 private:
  static constexpr int kStageUnits = kStageColumns / kUnitColumns;

  ROPEWAY_DEVICE void Load(int stage) {
#pragma unroll
    for (int u = 0; u < kStageUnits; ++u) {
      const int unit = stage * kStageUnits + u;
      if (unit < units_) loaded_[u] = LoadUnit<kType>(planes_, int64_t{row_} * units_ + unit);
    }
  }

  const PackedPlanes planes_;
  const int units_, row_;
  RawUnit<kType> loaded_[kStageUnits] = {};
};

template <class Weights>
ROPEWAY_DEVICE void MultiplyTile(const Product<ExpertMatrices>& product, const TokenTile& tile, int row_tile,
                                 uint8_t* ring) {
  using T = typename Weights::T;
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int warp_row = warp / kSlotWarps * kWarpRows, warp_slot = warp % kSlotWarps * kWarpSlots;
  const int stages = (product.columns + kStageColumns - 1) / kStageColumns;
  const SlotCopier<T, Weights::kAligned> slots(product, tile);
  Weights weights(product, tile.weights, row_tile * kTileRows);
  const auto copy = [&](int stage) {
    if (stage < stages) {
      weights.Copy(stage, ring);
      slots.Copy(stage, ring);
    }
    CpAsyncCommit();
  };
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) copy(stage);
  weights.Start(ring);
  float sums[kWarpRows / kMmaRows][kWarpSlots / kMmaTokens][4] = {};
#pragma unroll 1
  for (int stage = 0; stage < stages; ++stage) {
    CpAsyncWait<kStages - 2>();
    __syncthreads();
    copy(stage + kStages - 1);
    weights.Unpack(stage + 1, ring);
    const Rows here = StageOf(ring, stage);
    const int steps = (PaddedColumns(product.columns) - stage * kStageColumns) / kMmaColumns;
    MultiplySteps<T, kSteps, kSteps>(here.Below(warp_row), here.Below(kTileRows + warp_slot), steps, sums);
  }
  CpAsyncWait<0>();
#pragma unroll
  for (int r = 0; r < kWarpRows / kMmaRows; ++r)
    FinishTile<T>(product.end, (row_tile * kTileRows + warp_row) / kMmaRows + r, tile.first + warp_slot,
                  tile.count - warp_slot, sums[r]);
}

constexpr int RowTilesOf(int rows) { return (rows + kTileRows - 1) / kTileRows; }

template <class Weights>
__global__ void __launch_bounds__(kThreads, 3) ExpertTileKernel(Product<ExpertMatrices> product) {
  ROPEWAY_DYNAMIC_SHARED(uint8_t, ring);
  LaunchDependents();
  GridDependencyWait();
  const int tiles = product.source.NumTiles(), jobs = RowTilesOf(product.rows) * tiles;
  for (int job = static_cast<int>(blockIdx.x); job < jobs; job += static_cast<int>(gridDim.x)) {
    MultiplyTile<Weights>(product, product.source.Tile(job % tiles), job / tiles, ring);
    __syncthreads();  // the ring is free again
  }
}

template <class Weights>
ErrorCode LaunchTiles(const ExpertMatMulArgs& args, Stream stream) {
  const Product<ExpertMatrices> product = ProductOf(args);
  constexpr auto kBytes = static_cast<size_t>(kStages * kStageBytes);
  const int64_t resident =
      int64_t{args.processors} * BlocksPerProcessor(ExpertTileKernel<Weights>, kThreads, kBytes);
  const int64_t jobs = RowTilesOf(product.rows) * product.source.MostTiles();
  return LaunchDependent(stream, ExpertTileKernel<Weights>,
                         dim3(static_cast<unsigned>(std::min(resident, jobs))), dim3(kThreads), kBytes,
                         product);
}

}  // namespace

ErrorCode ExpertMatMulByTiles(const ExpertMatMulArgs& args, Stream stream) {
  return WithElement(args.element, [&]<class T>() -> ErrorCode {
    if constexpr (std::is_same_v<T, float>) {
      return kInvalidValue;
    } else {
      if (!IsPacked(args.weights.type))
        return TakesVectors(args.weights.columns) ? LaunchTiles<DenseWeights<T, true>>(args, stream)
                                                  : LaunchTiles<DenseWeights<T, false>>(args, stream);
      return WithPackedType(args.weights.type, [&]<DType kType>() {
        return LaunchTiles<PackedWeights<T, kType>>(args, stream);
      });
    }
  });
}

}  // namespace ropeway::cuda
