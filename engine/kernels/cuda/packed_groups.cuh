// What a warp of packed_matmul.cuh or packed_warpgroup.cu reads of packed weights: groups of 128 columns of its rows, some of
// them ahead, in registers.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_PACKED_GROUPS_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_PACKED_GROUPS_CUH_

#include "engine/kernels/cuda/packed_units.cuh"
#include "engine/kernels/cuda/product_source.cuh"

namespace ropeway::cuda {

inline constexpr int kGroupColumns = kGroupUnits * kUnitColumns;
inline constexpr int kHalves = 2;  // of a tile of rows, eight of them each

// kTokens: 8, 16 or 32. kOwnHalves: that a warp has. kNormed: whole rows of tokens lie in shared memory, else slabs.
template <int kTokens_, int kOwnHalves_, bool kNormed_>
struct PackedShape {
  static constexpr int kTokens = kTokens_, kOwnHalves = kOwnHalves_;
  static constexpr bool kNormed = kNormed_;
  // Whether a tile's rows are the first factor of mma.
  static constexpr bool kRowsFirst = kTokens == 8;
  static_assert(!kRowsFirst || kOwnHalves == 2);
  static constexpr int kTokenTiles = kRowsFirst ? 1 : kTokens / 16;
  static constexpr int kWarps = 4, kThreads = kWarps * 32;
  static constexpr bool kAllMultiply = false;
  static constexpr int kTileWarps = kHalves / kOwnHalves;  // that share a tile
  static constexpr int kSlabs = 3, kSlabGroups = 64 / kTokens, kSlabColumns = kSlabGroups * kGroupColumns;
  static constexpr int kSlabRowBytes = kSlabColumns * 2, kSlabBytes = kTokens * kSlabRowBytes;
  static constexpr int kBytes = kNormed ? 0 : kSlabs * kSlabBytes;

  static constexpr int kBlocks =
      kTokens * kOwnHalves == 64 ? 3 : 4;            // on a processor, that registers must allow
  static constexpr bool kInPairs = kOwnHalves == 2;  // codes are unpacked
  static ROPEWAY_DEVICE int Warps() { return kWarps; }
  // Such that ldmatrix meets no bank twice.
  static ROPEWAY_DEVICE int ChunkOffset(int row, int chunk) {
    return row * kSlabRowBytes + ((chunk ^ (row & 7)) << 4);
  }
  // How many groups ahead packed numbers are loaded.
  static constexpr int Ahead(DType type) {
    return kOwnHalves == 2 || kTokens == 32 || type == DType::kQ8_0 ? 2 : 4;
  }
};

// Whether a warp has a whole tile of rows with up to 8 tokens: with the other types it takes too many registers.
constexpr bool TakesWholeTiles(DType type) {
  return type == DType::kQ4_0 || type == DType::kQ4_K || type == DType::kMXFP4;
}

// A group of a row as a lane has it, of each unit its part.
template <DType kType>
struct LaneGroup {
  static constexpr UnitBytes kBytes = UnitBytesOf(kType);
  static constexpr int kPartWords = PartCodes<kType>::kWords;
  uint32_t codes[kGroupUnits * kPartWords];
  uint2 high;  // of Q6_K
  uint32_t scales[kGroupUnits * kBytes.scales / 4];
  uint32_t block;

  ROPEWAY_DEVICE PartCodes<kType> Codes(int unit) const {
    PartCodes<kType> part = {};
#pragma unroll
    for (int i = 0; i < kPartWords; ++i) part.low[i] = codes[unit * kPartWords + i];
    if constexpr (kBytes.high > 0) {
      part.high = unit < 2 ? high.x : high.y;
      part.second = unit % 2 != 0;
    }
    return part;
  }
  template <bool kInPairs>
  ROPEWAY_DEVICE UnitScale<kType> Scale(int unit) const {
    const int at = unit * kBytes.scales;
    return ScaleOf<kType, kInPairs>(scales[at / 4], at % 4, block);
  }
};

// The groups of a matrix, this lane's part of them.
template <DType kType>
class GroupReader {
 public:
  GroupReader() = default;
  ROPEWAY_DEVICE explicit GroupReader(const PackedPlanes& planes) : planes_(planes) {
    const auto part = static_cast<int>(threadIdx.x % kUnitParts);
    planes_.codes += part * (kGroupUnits * kBytes.codes / kUnitParts);
    planes_.high += part * (kGroupUnits * kBytes.high / kUnitParts);
  }
  ROPEWAY_DEVICE LaneGroup<kType> Load(unsigned index) const {
    LaneGroup<kType> group;
    const uint8_t* const codes = planes_.codes + uint64_t{index} * (kGroupUnits * kBytes.codes);
#pragma unroll
    for (int i = 0; i < kGroupUnits * LaneGroup<kType>::kPartWords; i += 4) {
      const uint4 words = LoadStreamed(codes + 4 * i);
      group.codes[i] = words.x, group.codes[i + 1] = words.y;
      group.codes[i + 2] = words.z, group.codes[i + 3] = words.w;
    }
    if constexpr (kBytes.high > 0)
      group.high =
          *reinterpret_cast<const uint2*>(planes_.high + uint64_t{index} * (kGroupUnits * kBytes.high));
    const uint8_t* const scales = planes_.scales + uint64_t{index} * (kGroupUnits * kBytes.scales);
    if constexpr (kBytes.scales == 4) {
      const auto words = Load128(reinterpret_cast<const uint32_t*>(scales));
#pragma unroll
      for (int i = 0; i < 4; ++i) group.scales[i] = words.values[i];
    } else {
      const uint2 words = *reinterpret_cast<const uint2*>(scales);
      group.scales[0] = words.x, group.scales[1] = words.y;
    }
    group.block =
        LoadBlock<kType>(planes_.blocks + uint64_t{index / (kBlockUnits / kGroupUnits)} * kBytes.block);
    return group;
  }

 private:
  static constexpr UnitBytes kBytes = UnitBytesOf(kType);

  PackedPlanes planes_ = {};
};

// A job of a block is a tile of tokens and, one or two warps each, tiles of rows. Where S::kAllMultiply, a warp whose tile is
// past the last one multiplies, too, by the last row.
template <class S, class Source>
struct BlockJobs {
  const Product<Source>& product;

  ROPEWAY_DEVICE int Count() const {
    const int tiles = TilesOfBlock();
    return (TilesOf(product.end) + tiles - 1) / tiles * product.source.NumTiles();
  }
  // This warp's; the tile may be past the last one.
  ROPEWAY_DEVICE Job At(int i) const {
    Job job = product.At(i);
    job.row_tile = job.row_tile * TilesOfBlock() + Warp() / S::kTileWarps;
    return job;
  }
  ROPEWAY_DEVICE bool Has(const Job& job) const { return job.row_tile < TilesOf(product.end); }
  // The first of its rows' halves.
  ROPEWAY_DEVICE int FirstHalf() const { return Warp() % S::kTileWarps; }

 private:
  static ROPEWAY_DEVICE int Warp() { return static_cast<int>(threadIdx.x / 32); }
  static ROPEWAY_DEVICE int TilesOfBlock() { return S::Warps() / S::kTileWarps; }
};

// What a warp has loaded: groups of its jobs, kAhead of them. The groups of a row begin in the first place.
template <DType kType, class S, class Source>
class GroupQueue {
 public:
  static constexpr int kAhead = S::Ahead(kType);
  static_assert(S::kSlabGroups % kAhead == 0);

  ROPEWAY_DEVICE GroupQueue(const BlockJobs<S, Source>& jobs, int count) : jobs_(jobs), count_(count) {
    groups_ = static_cast<unsigned>(RowUnits(jobs.product.columns) / kGroupUnits);
    job_ = static_cast<int>(blockIdx.x);
    FindJob();
    if (job_ >= count_) return;  // for all of a warp
#pragma unroll
    for (int i = 0; i < kAhead; ++i) LoadNext(i);
  }
  ROPEWAY_DEVICE const LaneGroup<kType>& Group(int place, int half) const { return queue_[place][half]; }
  // In the place of what was taken. Past a row's last one, and past the last job's, that one again, which costs less than
  // a branch, by which the registers of what is taken and of what comes would not be the same.
  ROPEWAY_DEVICE void LoadNext(int place) {
#pragma unroll
    for (int half = 0; half < S::kOwnHalves; ++half)
      queue_[place][half] = reader_.Load(firsts_[half] + next_);
    if (next_ + 1 < groups_) {
      ++next_;
    } else if (place == kAhead - 1 && job_ < count_) {
      job_ += static_cast<int>(gridDim.x);
      FindJob();
    }
  }

 private:
  ROPEWAY_DEVICE int RowOf(const TileRows& rows, int half, int i) const {
    return S::kRowsFirst ? rows.Row(8 * half + i) : rows.RowOfHalf(jobs_.FirstHalf() + half, i);
  }
  // The next one that this warp has a tile of.
  ROPEWAY_DEVICE void FindJob() {
    for (; job_ < count_; job_ += static_cast<int>(gridDim.x)) {
      const Product<Source>& product = jobs_.product;
      const Job job = jobs_.At(job_);
      if (!S::kAllMultiply && !jobs_.Has(job)) continue;
      reader_ = GroupReader<kType>(PlanesAt(product.layout, job.tokens.weights));
      const TileRows rows = RowsOf(product.end, job.row_tile);
      const int lane_row = static_cast<int>(threadIdx.x % 32) / 4;
#pragma unroll
      for (int half = 0; half < S::kOwnHalves; ++half)
        firsts_[half] = static_cast<unsigned>(min(RowOf(rows, half, lane_row), product.rows - 1)) * groups_;
      next_ = 0;
      return;
    }
  }

  const BlockJobs<S, Source>& jobs_;
  const int count_;
  unsigned groups_, next_ = 0;  // of a row
  int job_;
  GroupReader<kType> reader_;
  unsigned firsts_[S::kOwnHalves];  // of the matrix's groups, of this lane's rows
  LaneGroup<kType> queue_[kAhead][S::kOwnHalves];
};

// Products of any number of tokens, with what follows, by warpgroups (packed_warpgroup.cu). REQUIRES: x has 16 bits, there
// is no norm in front, and the device is of compute capability 9.0.
ErrorCode PackedMatMulByWarpgroups(const Product<OneMatrix>& product, DType type, Element element,
                                   int processors, Stream stream);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_PACKED_GROUPS_CUH_
