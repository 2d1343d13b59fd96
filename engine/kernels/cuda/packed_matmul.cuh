// Products of packed weights with activations of 16 bits by the rule of sums (gemm.h), W being rounded to the type
// of x: reads W once per tile of up to 32 tokens.
//
// A warp has a tile of 16 rows of W, or half of one, and the whole chain of its outputs over K. Packed codes lie as the
// lanes of mma take them (device_matrix.h): they are loaded into registers, 128 bits at a time, some groups of 128
// columns ahead, those of the first job before the wait for the kernel in front, where the jobs are known by then;
// and unpacked there, so that no weight goes through shared memory and no warp waits for another one's.
//
// With up to 8 tokens and many tiles 16 rows are the first factor of mma. Else W is the second one, of which a step takes
// eight rows: 16 tokens cost what 8 would, and two warps may share a tile, for which there is more to do than one has time
// for while a step of its chain waits for the one before it.
//
// The tokens are what a block's warps share: they copy slabs of some columns of them by cp.async, two ahead of the one
// that is multiplied, behind one barrier a slab. As many blocks as find room go from job to job (product_source.cuh); the
// warps of several on a processor hide each other's chains.
//
// What bounds it is instructions, about 4.7 a weight of Q4_K. On an H100 80GB HBM3, 2026-11-27, an experiment with these
// kernels alone, with two divisions a slab that are no longer there: Q4_K [28672, 4096] took 38.0 us with 1 token, 40.7
// with 8, 61 with 16, 60 with 32 (what was here before 139 to 228; the memory 23), Q6_K 61, Q8_0 51 and Q4_0 37 with 1;
// Q4_K [4096, 4096] 18 and [4096, 14336] 59 with 1. A prototype without those divisions took 34.7, 36.4, 52.5 and 51, and
// 11 and 35, of which the chains of 33 cycles a step take 5 and 17.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_PACKED_MATMUL_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_PACKED_MATMUL_CUH_

#include <algorithm>

#include "engine/kernels/cuda/mma_steps.cuh"
#include "engine/kernels/cuda/normed_tokens.cuh"
#include "engine/kernels/cuda/packed_groups.cuh"
#include "engine/kernels/cuda/product_source.cuh"
#include "engine/kernels/cuda/token_slabs.cuh"

namespace ropeway::cuda {

// The sums of a warp's tile of rows with a tile of tokens.
template <DType kType, class T, class S, class Source>
class TileProduct {
 public:
  using Queue = GroupQueue<kType, S, Source>;

  // token_bytes: of a row of tokens in shared memory.
  ROPEWAY_DEVICE TileProduct(const BlockJobs<S, Source>& jobs, int token_bytes)
      : jobs_(jobs), token_bytes_(token_bytes) {}

  ROPEWAY_DEVICE void Begin(const Job& job) {
    has_rows_ = jobs_.Has(job);
    const int lane = static_cast<int>(threadIdx.x % 32);
    constexpr int kRows = S::kRowsFirst ? 8 : 16;  // that the lanes name, of some chunks side by side
#pragma unroll
    for (int t = 0; t < S::kTokenTiles; ++t) {
      const int row = min(t * kRows + lane % kRows, job.tokens.count - 1);  // past the last that one again
      chunks_[t] = row * token_bytes_ + ((lane / kRows ^ (row & 7)) << 4);
    }
  }

  // += the products of so many columns, a slab's at most, of which x has the tokens.
  ROPEWAY_DEVICE void Multiply(Queue& queue, const uint8_t* x, int columns) {
    if (!has_rows_) return;
#pragma unroll 1
    for (int first = 0; first < columns; first += Queue::kAhead * kGroupColumns) {
#pragma unroll
      for (int place = 0; place < Queue::kAhead; ++place) {
        const int column = first + place * kGroupColumns;
        MultiplyGroup(queue, place, x + column * 2, (columns - column) / kUnitColumns);
      }
    }
  }

  ROPEWAY_DEVICE void Finish(const Job& job) {
    if (!has_rows_) return;
    const auto& end = jobs_.product.end;
    const TokenTile& tokens = job.tokens;
    if constexpr (S::kRowsFirst)
      FinishTile<T>(end, job.row_tile, tokens.first, tokens.count, sums_[0]);
    else
      FinishHalves<T>(end, job.row_tile, jobs_.FirstHalf(), tokens.first, tokens.count, sums_);
    ClearSums(sums_);
  }

 private:
  // With rows first a tile's sums are one mma's.
  static constexpr int kSums = S::kRowsFirst ? 1 : S::kOwnHalves;

  // The group in that place of the queue, of so many units; none where it is past a row's last one.
  ROPEWAY_DEVICE void MultiplyGroup(Queue& queue, int place, const uint8_t* x, int units) {
    uint32_t w[S::kOwnHalves][4];
    // A block of Q4_K or Q6_K is whole groups.
    if (UnitBytesOf(kType).block == 0 && units < kGroupUnits) {
#pragma unroll
      for (int unit = 0; unit + 1 < kGroupUnits; ++unit) {
        if (unit >= units) break;  // alike for the warp
        Unpack(queue, place, unit, w);
        MultiplySteps(w, x + unit / 2 * 128, unit % 2 * 64);
      }
      queue.LoadNext(place);
    } else if (units <= 0) {
      queue.LoadNext(place);
    } else {
#pragma unroll
      for (int unit = 0; unit < kGroupUnits; ++unit) {
        Unpack(queue, place, unit, w);
        if (unit + 1 == kGroupUnits) queue.LoadNext(place);
        MultiplySteps(w, x + unit / 2 * 128, unit % 2 * 64);
      }
    }
  }
  ROPEWAY_DEVICE void Unpack(const Queue& queue, int place, int unit, uint32_t (&w)[S::kOwnHalves][4]) {
#pragma unroll
    for (int half = 0; half < S::kOwnHalves; ++half) {
      const LaneGroup<kType>& group = queue.Group(place, half);
      float weights[kPartColumns];
      UnpackPart<kType, S::kInPairs>(group.Codes(unit), group.template Scale<S::kInPairs>(unit), weights);
#pragma unroll
      for (int i = 0; i < 4; ++i) w[half][i] = PackPair<T>(weights[2 * i], weights[2 * i + 1]);
    }
  }
  // Two of them. x: of 64 columns, and how many bytes on.
  ROPEWAY_DEVICE void MultiplySteps(const uint32_t (&w)[S::kOwnHalves][4], const uint8_t* x, int bytes) {
    if constexpr (S::kRowsFirst) {
      uint32_t tokens[4];
      LoadMatrixX4(tokens, x + (chunks_[0] ^ bytes));
#pragma unroll
      for (int step = 0; step < 2; ++step)
        MmaM16N8K16<T>(sums_[0][0], {w[0][2 * step], w[1][2 * step], w[0][2 * step + 1], w[1][2 * step + 1]},
                       {tokens[2 * step], tokens[2 * step + 1]}, sums_[0][0]);
    } else {
#pragma unroll
      for (int step = 0; step < 2; ++step) {
#pragma unroll
        for (int t = 0; t < S::kTokenTiles; ++t) {
          uint32_t tokens[4];
          LoadMatrixX4(tokens, x + (chunks_[t] ^ (bytes + 32 * step)));
#pragma unroll
          for (int half = 0; half < S::kOwnHalves; ++half)
            MmaM16N8K16<T>(sums_[t][half], tokens, {w[half][2 * step], w[half][2 * step + 1]},
                           sums_[t][half]);
        }
      }
    }
  }

  const BlockJobs<S, Source>& jobs_;
  const int token_bytes_;
  bool has_rows_ = false;
  int chunks_[S::kTokenTiles];  // where this lane's first one of a slab lies
  float sums_[S::kTokenTiles][kSums][4] = {};
};

template <class Source, DType kType, class S, class T>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) PackedStreamKernel(Product<Source> product) {
  ROPEWAY_DYNAMIC_SHARED(uint8_t, shared);
  LaunchDependents();
  if (!Source::kKnownAhead) GridDependencyWait();
  const BlockJobs<S, Source> jobs = {product};
  const int count = jobs.Count();
  GroupQueue<kType, S, Source> queue(jobs, count);
  TokenSlabs<T, S, Source> slabs(product, count, shared);
  const int token_bytes = S::kNormed ? static_cast<int>(NormedRowBytes(product.columns)) : S::kSlabRowBytes;
  if constexpr (S::kNormed) PrefetchNorm<S::kWarps>(product.norm);
  GridDependencyWait();
  if constexpr (S::kNormed) {
    NormTokens<T, S::kWarps>(product.norm, NormedTokens{shared, token_bytes, product.source.num_tokens});
  } else {
#pragma unroll 1
    for (int slab = 0; slab < S::kSlabs - 1; ++slab) slabs.Copy();
  }
  TileProduct<kType, T, S, Source> tile(jobs, token_bytes);
  for (Place at = {static_cast<int>(blockIdx.x), 0}; at.job < count;) {
    if (at.column == 0) tile.Begin(jobs.At(at.job));
    const uint8_t* x = shared + at.column * 2;
    if constexpr (!S::kNormed) {
      CpAsyncWait<S::kSlabs - 2>();
      __syncthreads();
      x = slabs.Copy();
    }
    tile.Multiply(queue, x, min(product.columns - at.column, S::kSlabColumns));
    const int done = at.job;
    if (at.Advance(product.columns, S::kSlabColumns, static_cast<int>(gridDim.x))) tile.Finish(jobs.At(done));
  }
  CpAsyncWait<0>();
}

// As many blocks as find room at once, each with its share of the jobs.
template <class Source, DType kType, class S, class T>
ErrorCode LaunchPacked(const Product<Source>& product, int64_t normed_bytes, int64_t processors,
                       Stream stream) {
  const auto kernel = PackedStreamKernel<Source, kType, S, T>;
  const auto shared_bytes = static_cast<size_t>(S::kBytes + normed_bytes);
  const int64_t resident = processors * BlocksPerProcessor(kernel, S::kThreads, shared_bytes);
  constexpr int kTiles = S::kWarps / S::kTileWarps;
  const int64_t jobs = (TilesOf(product.end) + kTiles - 1) / kTiles * product.source.MostTiles();
  return LaunchDependent(stream, kernel, dim3(static_cast<unsigned>(std::min(resident, jobs))),
                         dim3(S::kThreads), shared_bytes, product);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_PACKED_MATMUL_CUH_
