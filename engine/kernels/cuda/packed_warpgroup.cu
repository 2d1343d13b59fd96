// y [T, M] = x [T, K] W^T of packed weights by warpgroups: the tensor cores of compute capability 9.0, for which alone this
// file is compiled. Rounded to the type of x as packed_matmul.cuh rounds them, and by one chain of the same steps (gemm.h),
// by wgmma instead of mma.sync: the same bytes where both add alike within a step, which product_check.h finds out.
//
// W is the first factor, of which each warp of a warpgroup has 16 rows, in registers: codes come there as in
// packed_matmul.cuh and are unpacked there, a unit of 32 columns while the tensor cores have the one before. The tokens are
// the second factor, up to 128 of them at once, in swizzled panels of shared memory that all warpgroups of a block read: an
// instruction for 64 rows, where mma.sync has one for each 16 rows and 8 tokens, and none to bring tokens into registers.
// What is left is unpacking: with all that goes with it 5 instructions a weight of Q4_K, however many tokens there are.
//
// Where W has few rows a warp takes half a tile, eight of the rows that wgmma has for it, the others being zeros: twice as
// many processors, or warps of one, unpack, and the tensor cores are not what a product of few tokens waits for.
//
// A unit is put on its way, the next one is unpacked, and then the first one is waited for. Behind the barrier of a slab of the
// tokens' columns nothing is under way, and the slot of the slab before is filled. Nobody waits for a barrier that others might
// not reach: all warps walk the same slabs.
#include <algorithm>

#include "engine/kernels/cuda/packed_groups.cuh"
#include "engine/kernels/cuda/shared_bytes.h"
#include "engine/kernels/cuda/token_slabs.cuh"
#include "engine/kernels/cuda/warpgroup.h"

namespace ropeway::cuda {
namespace {

constexpr int kGroupWarps = 4;  // of a warpgroup
constexpr int kMostWarpgroups = 4, kMostThreads = kMostWarpgroups * kGroupWarps * 32;
constexpr int kUnitSteps = kUnitColumns / kMmaColumns;

// kTokens: 16, 64 or 128. kOwnHalves: that a warp has of a tile of 16 rows.
template <int kTokens_, int kOwnHalves_>
struct WarpgroupShape {
  static constexpr int kTokens = kTokens_, kOwnHalves = kOwnHalves_;
  static constexpr int kTokenTiles = kTokens / kMmaTokens;
  static constexpr int kTileWarps = kHalves / kOwnHalves;
  static constexpr bool kAllMultiply = true;
  static constexpr bool kRowsFirst = kOwnHalves == 2, kInPairs = kOwnHalves == 2;
  // Of 128 tokens a group is multiplied for so long that the next one has time to come.
  static constexpr int kSlabGroups = kTokens == 128 ? 1 : 2;
  static constexpr int Ahead(DType) { return kSlabGroups; }
  static constexpr int kSlabColumns = kSlabGroups * kGroupColumns;
  static constexpr int kPanelBytes = kTokens * kPanelRowBytes;
  static constexpr int kGroupBytes = kGroupColumns / kPanelColumns * kPanelBytes;
  static constexpr int kSlabBytes = kSlabGroups * kGroupBytes;
  static constexpr int kSlabs = kTokens == 16 ? 6 : 4;
  // With room to begin where the swizzle wants it.
  static constexpr size_t kSharedBytes = kSlabs * kSlabBytes + kPanelAlignment;
  static_assert(kSharedBytes <= kMostWarpgroupSharedBytes && kPanelBytes % kPanelAlignment == 0);

  static ROPEWAY_DEVICE int Warps() { return static_cast<int>(blockDim.x) / 32; }
  static ROPEWAY_DEVICE int ChunkOffset(int row, int chunk) {
    constexpr int kPanelChunks = kPanelColumns / kChunkColumns;
    return chunk / kPanelChunks * kPanelBytes + row * kPanelRowBytes +
           ((chunk % kPanelChunks ^ row % 8) << 4);
  }
};

// The sums of a warp's tile of rows, or half of one, with a tile of tokens.
template <DType kType, class T, class S>
class WarpgroupTile {
 public:
  using Jobs = BlockJobs<S, OneMatrix>;
  using Queue = GroupQueue<kType, S, OneMatrix>;

  // The first unit is unpacked.
  ROPEWAY_DEVICE WarpgroupTile(const Jobs& jobs, const Queue& queue) : jobs_(jobs) {
    Unpack(queue, 0, 0, steps_);
  }

  ROPEWAY_DEVICE void Clear() { ClearSums(sums_); }

  // += the products of a slab's columns, or of as many as there are.
  ROPEWAY_DEVICE void Multiply(Queue& queue, const uint8_t* slab, int columns) {
#pragma unroll
    for (int place = 0; place < Queue::kAhead; ++place)
      MultiplyGroup(queue, place, PanelDescriptor(slab + place * S::kGroupBytes, S::kPanelBytes),
                    columns / kUnitColumns - place * kGroupUnits);
  }

  ROPEWAY_DEVICE void Finish(const Job& job) {
    WarpgroupWait<0, 1>();
    HoldRegisters(sums_[0]);
    const auto& end = jobs_.product.end;
    if (jobs_.Has(job)) {
      if constexpr (S::kOwnHalves == 2) {
        ForEachPart<2>(sums_, [&](int, int part, const float(&some)[2][4]) {
          const int at = part * kMmaTokens;
          FinishTile<T>(end, job.row_tile, job.tokens.first + at, job.tokens.count - at, some);
        });
      } else {
        ForEachPart<1>(sums_, [&](int, int part, const float(&some)[1][4]) {
          const int at = part * kMmaTokens;
          FinishHalfTile<T>(end, job.row_tile, jobs_.FirstHalf(), job.tokens.first + at,
                            job.tokens.count - at, some);
        });
      }
    }
  }

 private:
  // Steps of 64 rows as wgmma takes them: of a lane those of its warp's 16.
  using UnitSteps = uint32_t[kUnitSteps][4];

  // The group in that place of the queue, of so many units; none where it is past a row's last one. The first one is
  // unpacked before, and that of the next group here.
  ROPEWAY_DEVICE void MultiplyGroup(Queue& queue, int place, uint64_t panels, int units) {
    const int next_place = place + 1 == Queue::kAhead ? 0 : place + 1;
    if (units < kGroupUnits) return MultiplyPart(queue, place, next_place, panels, units);
#pragma unroll
    for (int unit = 0; unit < kGroupUnits; ++unit) {
      UnitSteps next;
      Start(panels, unit);
      // Late, where there is another group: fewer registers are taken then.
      if (Queue::kAhead > 1 && unit + 1 == kGroupUnits) queue.LoadNext(place);
      if (unit + 1 < kGroupUnits)
        Unpack(queue, place, unit + 1, next);
      else
        Unpack(queue, next_place, 0, next);
      if (Queue::kAhead == 1 && unit + 2 == kGroupUnits) queue.LoadNext(place);
      Await();
      Take(next);
    }
  }
  // The same where units are missing: at most at a row's end, and of Q4_K and Q6_K, whose blocks are whole groups, all.
  ROPEWAY_DEVICE void MultiplyPart(Queue& queue, int place, int next_place, uint64_t panels, int units) {
    UnitSteps next;
    if constexpr (UnitBytesOf(kType).block == 0) {
#pragma unroll
      for (int unit = 0; unit + 1 < kGroupUnits; ++unit) {
        if (unit >= units) break;  // alike for all
        Start(panels, unit);
        Unpack(queue, place, unit + 1, next);
        Await();
        Take(next);
      }
    }
    queue.LoadNext(place);
    Unpack(queue, next_place, 0, next);
    Take(next);
  }
  static ROPEWAY_DEVICE void Unpack(const Queue& queue, int place, int unit, UnitSteps& steps) {
#pragma unroll
    for (int half = 0; half < S::kOwnHalves; ++half) {
      const LaneGroup<kType>& group = queue.Group(place, half);
      float weights[kPartColumns];
      UnpackPart<kType, S::kInPairs>(group.Codes(unit), group.template Scale<S::kInPairs>(unit), weights);
#pragma unroll
      for (int i = 0; i < kPartColumns / 2; ++i)
        steps[i / 2][i % 2 * 2 + half] = PackPair<T>(weights[2 * i], weights[2 * i + 1]);
    }
    if constexpr (S::kOwnHalves < kHalves) {
#pragma unroll
      for (auto& step : steps) step[1] = step[3] = 0;
    }
  }
  // Puts the products of the unit that is unpacked on their way: which one of a group it is.
  ROPEWAY_DEVICE void Start(uint64_t panels, int unit) {
    const int column = unit * kUnitColumns;
    const int offset = column / kPanelColumns * S::kPanelBytes + column % kPanelColumns * 2;
    HoldRegisters(sums_[0]);
    HoldRegisters(steps_);
    WarpgroupFence();
#pragma unroll
    for (int step = 0; step < kUnitSteps; ++step)
      MultiplyWide<T, false>(sums_[0], steps_[step], panels + ((offset + step * kMmaColumns * 2) >> 4), true);
    WarpgroupCommit();
  }
  ROPEWAY_DEVICE void Await() {
    WarpgroupWait<0>();
    HoldRegisters(sums_[0]);
    HoldRegisters(steps_);
  }
  ROPEWAY_DEVICE void Take(const UnitSteps& next) {
#pragma unroll
    for (int step = 0; step < kUnitSteps; ++step)
#pragma unroll
      for (int i = 0; i < 4; ++i) steps_[step][i] = next[step][i];
  }

  const Jobs& jobs_;
  UnitSteps steps_;  // of the unit under way, or the next one
  float sums_[1][S::kTokenTiles][4];
};

template <DType kType, class S, class T>
__global__ void __launch_bounds__(kMostThreads, 1) PackedWarpgroupKernel(Product<OneMatrix> product) {
  ROPEWAY_DYNAMIC_SHARED(uint8_t, memory);
  const auto misplaced = static_cast<int>(SharedAddress(memory) % kPanelAlignment);
  uint8_t* const ring = memory + (kPanelAlignment - misplaced) % kPanelAlignment;
  LaunchDependents();
  const BlockJobs<S, OneMatrix> jobs = {product};
  const int count = jobs.Count();
  GroupQueue<kType, S, OneMatrix> queue(jobs, count);
  TokenSlabs<T, S, OneMatrix> slabs(product, count, ring);
  GridDependencyWait();
#pragma unroll 1
  for (int slab = 0; slab < S::kSlabs - 1; ++slab) slabs.Copy();
  WarpgroupTile<kType, T, S> tile(jobs, queue);
#pragma unroll 1
  for (int job = static_cast<int>(blockIdx.x); job < count; job += static_cast<int>(gridDim.x)) {
    tile.Clear();
#pragma unroll 1
    for (int column = 0; column < product.columns; column += S::kSlabColumns) {
      CpAsyncWait<S::kSlabs - 2>();
      FenceAsyncProxy();
      __syncthreads();
      tile.Multiply(queue, slabs.Copy(), product.columns - column);
    }
    tile.Finish(jobs.At(job));
  }
  CpAsyncWait<0>();
}

// Warpgroups of a block: the more of them, the fewer blocks read the tokens; the fewer, the more processors have one.
int WarpgroupsOfBlock(int64_t warpgroups, int64_t processors) {
  return warpgroups >= 3 * processors ? 4 : 2 * warpgroups >= 3 * processors ? 2 : 1;
}

template <DType kType, class S, class T>
ErrorCode LaunchTiles(Product<OneMatrix> product, int64_t processors, Stream stream) {
  product.source.tile_tokens = S::kTokens;
  constexpr int64_t kTiles = kGroupWarps / S::kTileWarps;  // of a warpgroup
  const int64_t warpgroups = (TilesOf(product.end) + kTiles - 1) / kTiles;
  const int64_t at_once = WarpgroupsOfBlock(warpgroups, processors);
  const auto kernel = PackedWarpgroupKernel<kType, S, T>;
  const int threads = static_cast<int>(at_once) * kGroupWarps * 32;
  const int64_t resident = processors * BlocksPerProcessor(kernel, threads, S::kSharedBytes);
  const int64_t jobs = (warpgroups + at_once - 1) / at_once * product.source.MostTiles();
  return LaunchDependent(stream, kernel, dim3(static_cast<unsigned>(std::min(resident, jobs))), dim3(threads),
                         S::kSharedBytes, product);
}

template <DType kType, class T>
ErrorCode LaunchFor(const Product<OneMatrix>& product, int64_t processors, Stream stream) {
  const int tokens = product.source.num_tokens;
  // So few tiles that, one to each warp, they are not a warpgroup for each processor.
  const bool few = TilesOf(product.end) <= kGroupWarps * processors;
  if constexpr (kType != DType::kMXFP4) {  // which takes too many registers
    if (tokens > 64 && !few)
      return LaunchTiles<kType, WarpgroupShape<128, 2>, T>(product, processors, stream);
  }
  if (tokens > 16) return LaunchTiles<kType, WarpgroupShape<64, 2>, T>(product, processors, stream);
  return few ? LaunchTiles<kType, WarpgroupShape<16, 1>, T>(product, processors, stream)
             : LaunchTiles<kType, WarpgroupShape<16, 2>, T>(product, processors, stream);
}

}  // namespace

ErrorCode PackedMatMulByWarpgroups(const Product<OneMatrix>& product, DType type, Element element,
                                   int processors, Stream stream) {
  return WithPackedType(type, [&]<DType kType>() {
    return WithElement(element, [&]<class T>() -> ErrorCode {
      if constexpr (std::is_same_v<T, float>)
        return kInvalidValue;
      else
        return LaunchFor<kType, T>(product, processors, stream);
    });
  });
}

}  // namespace ropeway::cuda
