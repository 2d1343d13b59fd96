// Products of packed weights with activations of 16 bits by the rule of sums (gemm.h), W being rounded to the type
// of x: reads W once per tile of up to 32 tokens.
//
// An output's chain over K is serial, and a step of it takes its time, but the unpacking in front of it is not: a
// block has 16 rows and 8 warps that unpack a slab of 512 columns of them into shared memory, a unit of 32 columns
// a thread, while one or two more warps multiply the slab before it. Packed numbers are loaded two slabs ahead, into
// registers, 128 bits at a time; those of the first slabs before the wait for the kernel in front, where the jobs
// are known by then. As many blocks as find room go from job to job (product_source.cuh) without a pause; several
// on a processor hide each other's chains.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_PACKED_MATMUL_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_PACKED_MATMUL_CUH_

#include <algorithm>

#include "engine/kernels/cuda/mma_steps.cuh"
#include "engine/kernels/cuda/normed_tokens.cuh"
#include "engine/kernels/cuda/packed_units.cuh"
#include "engine/kernels/cuda/product_source.cuh"

namespace ropeway::cuda {

inline constexpr int kUnpackWarps = 8;
inline constexpr int kSlabUnits = kUnpackWarps * 32 / kMmaRows;  // a thread a unit
inline constexpr int kSlabColumns = kSlabUnits * kUnitColumns;
inline constexpr int kSlabRowBytes = kSlabColumns * 2;
inline constexpr int kSlabBytes = kMmaRows * kSlabRowBytes;

// What is in shared memory: two slabs of W, and for each warp that multiplies two slabs of its tokens.
// kNormed: whole rows of them lie beside it.
template <int kTokenTiles, bool kNormed_>
struct Slabs {
  static constexpr bool kNormed = kNormed_;
  static constexpr int kWarpTiles = kTokenTiles < 2 ? kTokenTiles : 2;  // of tokens, of a warp
  static constexpr int kWarps = kTokenTiles / kWarpTiles;               // that multiply
  static constexpr int kTokens = kTokenTiles * kMmaTokens;
  static constexpr int kWarpTokens = kWarpTiles * kMmaTokens;
  static constexpr int kTokenBytes = kNormed ? 0 : kWarpTokens * kSlabRowBytes;
  static constexpr int kThreads = (kUnpackWarps + kWarps) * 32;
  static constexpr int kBytes = 2 * (kSlabBytes + kWarps * kTokenBytes);
};

// Rows of a slab, W's or the tokens': such that neither ldmatrix, which takes a chunk of eight rows, nor a quarter
// of a warp that stores chunks of eight units meets a bank twice.
struct SlabRows {
  uint8_t* data;

  ROPEWAY_DEVICE uint8_t* At(int row, int chunk) const {
    return data + row * kSlabRowBytes + ((chunk ^ (chunk >> 3 & 3) ^ (row & 7)) << 4);
  }
};

// Normed tokens from one of them and a column on.
struct NormedSlab {
  const NormedTokens& tokens;
  int first_token, first_chunk;
  ROPEWAY_DEVICE uint8_t* At(int row, int chunk) const {
    return tokens.ChunkAt(first_token + row, first_chunk + chunk);
  }
};

// What the warps that unpack do: slab after slab of the block's jobs, each loaded two slabs ahead.
template <DType kType, class T, class Source>
class Unpacker {
 public:
  ROPEWAY_DEVICE Unpacker(const Product<Source>& product, int jobs)
      : product_(product), jobs_(jobs), ahead_{static_cast<int>(blockIdx.x), 0} {}

  ROPEWAY_DEVICE void Start() {
    FindRow();
    next_ = Load();
    after_ = Load();
  }
  ROPEWAY_DEVICE void Step(uint8_t* slab) {
    const int thread = static_cast<int>(threadIdx.x);
    StoreUnpacked<T>(next_, SlabRows{slab}, thread / kSlabUnits,
                     thread % kSlabUnits * (kUnitColumns / kChunkColumns));
    next_ = after_;
    after_ = Load();
  }

 private:
  ROPEWAY_DEVICE void FindRow() {
    const Job job = product_.At(ahead_.job);
    weights_ = job.tokens.weights;
    row_ = RowsOf(product_.end, job.row_tile).Row(static_cast<int>(threadIdx.x) / kSlabUnits);
    row_ = min(row_, product_.rows - 1);
  }
  ROPEWAY_DEVICE RawUnit<kType> Load() {
    if (ahead_.job >= jobs_) return {};
    const int units = product_.columns / kUnitColumns;
    const int unit = ahead_.column / kUnitColumns + static_cast<int>(threadIdx.x) % kSlabUnits;
    RawUnit<kType> raw = {};
    if (unit < units)
      raw = LoadUnit<kType>(PlanesAt(product_.layout, weights_), int64_t{row_} * units + unit);
    if (ahead_.Advance(product_.columns, kSlabColumns, static_cast<int>(gridDim.x))) FindRow();
    return raw;
  }

  const Product<Source>& product_;
  const int jobs_;
  Place ahead_;
  const uint8_t* weights_ = nullptr;
  int row_ = 0;
  RawUnit<kType> next_ = {}, after_ = {};
};

// What a warp that multiplies does: copies slabs of its own tokens, unless they are normed, and multiplies by them.
template <class T, class S, class Source>
class Multiplier {
 public:
  ROPEWAY_DEVICE Multiplier(const Product<Source>& product, int warp)
      : product_(product),
        offset_(warp * S::kWarpTokens),
        ahead_{static_cast<int>(blockIdx.x), 0},
        at_(ahead_) {
    if (!S::kNormed) tokens_ = product_.At(ahead_.job).tokens;
  }

  // The next slab of the tokens; past the last token that one again.
  ROPEWAY_DEVICE void Copy(uint8_t* to) {
    const int chunks = min(product_.columns - ahead_.column, kSlabColumns) / kChunkColumns;
    for (int at = static_cast<int>(threadIdx.x % 32); at < S::kWarpTokens * chunks; at += 32) {
      const int row = at / chunks, chunk = at % chunks;
      const int64_t x_row = product_.source.RowOfX(tokens_.first + min(offset_ + row, tokens_.count - 1));
      CpAsync16(SlabRows{to}.At(row, chunk), static_cast<const T*>(product_.x) + x_row * product_.columns +
                                                 ahead_.column + chunk * kChunkColumns);
    }
    if (Advance(ahead_)) tokens_ = product_.At(ahead_.job).tokens;
  }

  ROPEWAY_DEVICE void Step(uint8_t* slab, uint8_t* x, const NormedTokens& normed) {
    const int steps = (product_.columns - at_.column) / kMmaColumns;
    constexpr int kSteps = kSlabColumns / kMmaColumns, kUnrolled = 4;
    if constexpr (S::kNormed)
      MultiplySteps<T, kSteps, kUnrolled>(
          SlabRows{slab}, NormedSlab{normed, offset_, at_.column / kChunkColumns}, steps, sums_);
    else
      MultiplySteps<T, kSteps, kUnrolled>(SlabRows{slab}, SlabRows{x}, steps, sums_);
    const int done = at_.job;
    if (!Advance(at_)) return;
    const Job job = product_.At(done);
    FinishTile<T>(product_.end, job.row_tile, job.tokens.first + offset_, max(job.tokens.count - offset_, 0),
                  sums_[0]);
    ClearSums(sums_);
  }

 private:
  ROPEWAY_DEVICE bool Advance(Place& place) const {
    return place.Advance(product_.columns, kSlabColumns, static_cast<int>(gridDim.x));
  }

  const Product<Source>& product_;
  const int offset_;  // of its tokens in the job's
  Place ahead_, at_;
  TokenTile tokens_ = {};  // of what is copied
  float sums_[1][S::kWarpTiles][4] = {};
};

// Blocks of a processor that the registers must allow: a third where units and sums are so few that none spills.
constexpr int PackedBlocks(DType type, int token_tiles, bool normed) {
  return (type == DType::kQ4_0 || type == DType::kMXFP4) && token_tiles == 1 && !normed ? 3 : 2;
}

template <class Source, DType kType, int kTokenTiles, bool kNormed, class T>
__global__ void __launch_bounds__(Slabs<kTokenTiles, kNormed>::kThreads,
                                  PackedBlocks(kType, kTokenTiles, kNormed))
    PackedStreamKernel(Product<Source> product) {
  using S = Slabs<kTokenTiles, kNormed>;
  ROPEWAY_DYNAMIC_SHARED(uint8_t, shared);
  LaunchDependents();
  if (!Source::kKnownAhead) GridDependencyWait();
  const int jobs = product.Jobs(), first = static_cast<int>(blockIdx.x), apart = static_cast<int>(gridDim.x);
  const int mine = first < jobs ? (jobs - first - 1) / apart + 1 : 0;
  const int steps = mine * ((product.columns + kSlabColumns - 1) / kSlabColumns);
  const int warp = static_cast<int>(threadIdx.x / 32) - kUnpackWarps;  // < 0: it unpacks
  Unpacker<kType, T, Source> unpacker(product, jobs);
  Multiplier<T, S, Source> multiplier(product, max(warp, 0));
  uint8_t* const x = shared + 2 * kSlabBytes + max(warp, 0) * 2 * S::kTokenBytes;
  NormedTokens normed = {};
  if (warp < 0) unpacker.Start();
  if constexpr (kNormed) {
    normed = {shared + S::kBytes, static_cast<int>(NormedRowBytes(product.columns)),
              product.source.num_tokens};
    PrefetchNorm<S::kThreads / 32>(product.norm);
  }
  GridDependencyWait();
  if constexpr (kNormed) NormTokens<T, S::kThreads / 32>(product.norm, normed);
  for (int step = 0; step <= steps; ++step) {
    const int here = step % 2;
    if (warp < 0) {
      if (step < steps) unpacker.Step(shared + here * kSlabBytes);
    } else {
      if (!kNormed && step < steps) multiplier.Copy(x + here * S::kTokenBytes);
      CpAsyncCommit();
      CpAsyncWait<1>();
      __syncwarp();
      if (step > 0)
        multiplier.Step(shared + (1 - here) * kSlabBytes, x + (1 - here) * S::kTokenBytes, normed);
    }
    __syncthreads();
  }
  CpAsyncWait<0>();
}

// As many blocks as find room at once, each with its share of the jobs.
template <class Source, DType kType, int kTokenTiles, bool kNormed, class T>
ErrorCode LaunchPacked(const Product<Source>& product, int64_t normed_bytes, int64_t processors,
                       Stream stream) {
  using S = Slabs<kTokenTiles, kNormed>;
  const auto kernel = PackedStreamKernel<Source, kType, kTokenTiles, kNormed, T>;
  const auto shared_bytes = static_cast<size_t>(S::kBytes + normed_bytes);
  const int64_t resident = processors * BlocksPerProcessor(kernel, S::kThreads, shared_bytes);
  return LaunchDependent(stream, kernel, dim3(static_cast<unsigned>(std::min(resident, product.MostJobs()))),
                         dim3(S::kThreads), shared_bytes, product);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_PACKED_MATMUL_CUH_
