// Products of experts for tiles of up to 64 or 128 slots, by the rule of sums (gemm.h): a block multiplies 128 rows of an
// expert's matrix by a tile, so that each number of W meets so many tokens and each of x 128 rows once it is in shared
// memory.
//
// A ring of stages in shared memory has 64 columns each of both. Those of x, and of dense weights, come by cp.async,
// two stages ahead; packed weights are loaded into registers two stages ahead, a row a thread, and unpacked into the
// next stage while this one is multiplied. Rows that are no whole multiple of 128 bits are copied number by number.
// Four warps have 64 rows and half of the slots each: a step takes 6 ldmatrix for 16 mma, or 8 for 32; warps whose slots
// are not there leave the tensor cores to others. Blocks go from job to job, and several find room on a processor: they
// fill each other's gaps. What bounds it with many tokens is the second cache: a stage of 64 slots is 24 KiB of copies
// for 512 Ki products, one of 128 is 32 KiB for 1,024 Ki.
//
// Rows that meet in a gate stand in one tile of mma, whose 16 are 8 of gate and 8 of up (product_end.cuh): the 128 rows
// of a block are 64 columns of what comes of both.
#include <algorithm>

#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/mma_steps.cuh"
#include "engine/kernels/cuda/packed_units.cuh"
#include "engine/kernels/cuda/product_source.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kTileRows = 128, kMmaTiles = kTileRows / kMmaRows;
constexpr int kRowWarps = 2, kSlotWarps = 2, kThreads = 32 * kRowWarps * kSlotWarps;
constexpr int kWarpRows = kTileRows / kRowWarps;
constexpr int kStageColumns = 64, kStages = 3;
constexpr int kSteps = kStageColumns / kMmaColumns, kChunks = kStageColumns / kChunkColumns;
constexpr int kRowBytes = kStageColumns * 2;
constexpr int kCopiedRows = kThreads / kChunks;  // by all threads at once
using Rows = ChunkRows<kRowBytes>;

template <int kSlots_>
struct TileShape {
  static constexpr int kSlots = kSlots_, kWarpSlots = kSlots / kSlotWarps;
  static constexpr int kStageBytes = (kTileRows + kSlots) * kRowBytes;
  static constexpr int kBytes = kStages * kStageBytes;
  // On a processor, which registers and shared memory must allow.
  static constexpr int kBlocks = kSlots <= kManyExpertSlots ? 3 : 2;

  // A stage's rows of W, and below them those of x.
  static ROPEWAY_DEVICE Rows StageOf(uint8_t* ring, int stage) {
    return {ring + stage % kStages * kStageBytes};
  }
};

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
template <class T, bool kAligned, int kSlots>
class SlotCopier {
 public:
  ROPEWAY_DEVICE SlotCopier(const Product<ExpertMatrices>& product, const TokenTile& slots)
      : product_(product), count_(slots.count) {
#pragma unroll
    for (int i = 0; i < kMine; ++i)
      rows_[i] = static_cast<int>(product.source.RowOfX(slots.first + min(Row(i), slots.count - 1)));
  }
  ROPEWAY_DEVICE void Copy(int stage, const Rows& to) const {
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
    const int first = stage * kStageColumns + chunk * kChunkColumns;
    if (first >= PaddedColumns(product_.columns)) return;
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      if (Row(i) >= count_) continue;
      const T* const row = static_cast<const T*>(product_.x) + int64_t{rows_[i]} * product_.columns;
      CopyChunk<kAligned>(row, first, product_.columns, to.At(Row(i), chunk));
    }
  }

 private:
  static constexpr int kMine = kSlots / kCopiedRows;
  static ROPEWAY_DEVICE int Row(int i) { return i * kCopiedRows + static_cast<int>(threadIdx.x) / kChunks; }

  const Product<ExpertMatrices>& product_;
  const int count_;
  int rows_[kMine];  // of x
};

// How rows of W from a tile of mma on come into the ring; past the last row that one again. Copy starts what has to arrive by the time the
// stage is multiplied, Unpack makes what has to be there by the next barrier.
template <class T_, bool kAligned_>
class DenseWeights {
 public:
  using T = T_;
  static constexpr bool kAligned = kAligned_;

  ROPEWAY_DEVICE DenseWeights(const Product<ExpertMatrices>& product, const uint8_t* matrix, int first_tile)
      : product_(product),
        matrix_(reinterpret_cast<const T*>(matrix)),
        row_(RowOf(product, first_tile)),
        apart_(RowOf(product, first_tile + 1) - row_) {}
  ROPEWAY_DEVICE void Start(const Rows&) {}
  ROPEWAY_DEVICE void Copy(int stage, const Rows& to) const {
    const int thread = static_cast<int>(threadIdx.x), chunk = thread % kChunks;
    const int first = stage * kStageColumns + chunk * kChunkColumns;
    if (first >= PaddedColumns(product_.columns)) return;
#pragma unroll
    for (int i = 0; i < kMmaTiles; ++i) {
      const int64_t from = min(row_ + i * apart_, product_.rows - 1);
      CopyChunk<kAligned>(matrix_ + from * product_.columns, first, product_.columns,
                          to.At(i * kMmaRows + thread / kChunks, chunk));
    }
  }
  ROPEWAY_DEVICE void Unpack(int, const Rows&) {}

 private:
  // One of each tile of mma, of this thread.
  static_assert(kCopiedRows == kMmaRows);
  static ROPEWAY_DEVICE int RowOf(const Product<ExpertMatrices>& product, int tile) {
    return RowsOf(product.end, tile).Row(static_cast<int>(threadIdx.x) / kChunks);
  }

  const Product<ExpertMatrices>& product_;
  const T* const matrix_;
  const int row_, apart_;
};

template <class T_, DType kType>
class PackedWeights {
 public:
  using T = T_;
  static constexpr bool kAligned = true;  // rows are whole blocks
  static_assert(kThreads == kTileRows);

  ROPEWAY_DEVICE PackedWeights(const Product<ExpertMatrices>& product, const uint8_t* matrix, int first_tile)
      : planes_(PlanesAt(product.layout, matrix)),
        units_(product.columns / kUnitColumns),
        first_(min(RowOf(product, first_tile), product.rows - 1) * RowUnits(product.columns)) {}
  ROPEWAY_DEVICE void Start(const Rows& first) {
    Load(0);
    Unpack(0, first);
  }
  ROPEWAY_DEVICE void Copy(int, const Rows&) const {}
  // What was loaded, which is of this stage; loads the next.
  ROPEWAY_DEVICE void Unpack(int stage, const Rows& to) {
#pragma unroll
    for (int u = 0; u < kStageUnits; ++u)
      if (stage * kStageUnits + u < units_)
        StoreUnpacked<T>(loaded_[u], to, static_cast<int>(threadIdx.x), u * (kUnitColumns / kChunkColumns));
    Load(stage + 1);
  }

 private:
  static constexpr int kStageUnits = kStageColumns / kUnitColumns;

  static ROPEWAY_DEVICE int RowOf(const Product<ExpertMatrices>& product, int first_tile) {
    const int thread = static_cast<int>(threadIdx.x);
    return RowsOf(product.end, first_tile + thread / kMmaRows).Row(thread % kMmaRows);
  }
  ROPEWAY_DEVICE void Load(int stage) {
    static_assert(kStageUnits == 2);
    if (stage * kStageUnits < units_) LoadTwoUnits(planes_, first_ + stage * kStageUnits, loaded_);
  }

  const PackedPlanes planes_;
  const int units_;
  const int64_t first_;  // of the row
  RawUnit<kType> loaded_[kStageUnits] = {};
};

template <class Weights, class S>
ROPEWAY_DEVICE void MultiplyTile(const Product<ExpertMatrices>& product, const TokenTile& tile, int row_tile,
                                 uint8_t* ring) {
  using T = typename Weights::T;
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int warp_row = warp / kSlotWarps * kWarpRows, warp_slot = warp % kSlotWarps * S::kWarpSlots;
  const int first_tile = row_tile * kMmaTiles;
  const int stages = (product.columns + kStageColumns - 1) / kStageColumns;
  const SlotCopier<T, Weights::kAligned, S::kSlots> slots(product, tile);
  Weights weights(product, tile.weights, first_tile);
  const auto copy = [&](int stage) {
    if (stage < stages) {
      const Rows to = S::StageOf(ring, stage);
      weights.Copy(stage, to);
      slots.Copy(stage, to.Below(kTileRows));
    }
    CpAsyncCommit();
  };
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) copy(stage);
  weights.Start(S::StageOf(ring, 0));
  float sums[kWarpRows / kMmaRows][S::kWarpSlots / kMmaTokens][4] = {};
#pragma unroll 1
  for (int stage = 0; stage < stages; ++stage) {
    CpAsyncWait<kStages - 2>();
    __syncthreads();
    copy(stage + kStages - 1);
    weights.Unpack(stage + 1, S::StageOf(ring, stage + 1));
    if (warp_slot >= tile.count) continue;
    const Rows here = S::StageOf(ring, stage);
    const int steps = (PaddedColumns(product.columns) - stage * kStageColumns) / kMmaColumns;
    MultiplySteps<T, kSteps, kSteps>(here.Below(warp_row), here.Below(kTileRows + warp_slot), steps, sums);
  }
  CpAsyncWait<0>();
  ForEachPart<4>(sums, [&](int r, int t, const auto& part) {
    const int slot = warp_slot + t * kMmaTokens;
    FinishTile<T>(product.end, first_tile + warp_row / kMmaRows + r, tile.first + slot, tile.count - slot,
                  part);
  });
}

constexpr int RowTilesOf(const SlotEnd& end) { return (TilesOf(end) + kMmaTiles - 1) / kMmaTiles; }

template <class Weights, class S>
__global__ void __launch_bounds__(kThreads, S::kBlocks) ExpertTileKernel(Product<ExpertMatrices> product) {
  ROPEWAY_DYNAMIC_SHARED(uint8_t, ring);
  LaunchDependents();
  GridDependencyWait();
  const int tiles = product.source.NumTiles(), jobs = RowTilesOf(product.end) * tiles;
  for (int job = static_cast<int>(blockIdx.x); job < jobs; job += static_cast<int>(gridDim.x)) {
    MultiplyTile<Weights, S>(product, product.source.Tile(job % tiles), job / tiles, ring);
    __syncthreads();  // the ring is free again
  }
}

template <class Weights, class S>
ErrorCode LaunchTiles(const ExpertMatMulArgs& args, Stream stream) {
  const Product<ExpertMatrices> product = ProductOf(args);
  constexpr auto kBytes = static_cast<size_t>(S::kBytes);
  const auto kernel = ExpertTileKernel<Weights, S>;
  const int64_t resident = int64_t{args.processors} * BlocksPerProcessor(kernel, kThreads, kBytes);
  const int64_t jobs = RowTilesOf(product.end) * product.source.MostTiles();
  return LaunchDependent(stream, kernel, dim3(static_cast<unsigned>(std::min(resident, jobs))),
                         dim3(kThreads), kBytes, product);
}
template <class Weights>
ErrorCode LaunchTiles(const ExpertMatMulArgs& args, Stream stream) {
  return args.slots.tile_slots <= kManyExpertSlots
             ? LaunchTiles<Weights, TileShape<kManyExpertSlots>>(args, stream)
             : LaunchTiles<Weights, TileShape<kMostExpertSlots>>(args, stream);
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
