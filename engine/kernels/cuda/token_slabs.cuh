// How the warps of a block copy the tokens that they share by cp.async, slabs of some columns one after the other.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_TOKEN_SLABS_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_TOKEN_SLABS_CUH_

#include "engine/kernels/cuda/mma_steps.cuh"
#include "engine/kernels/cuda/product_source.cuh"

namespace ropeway::cuda {

// Slabs of a block's tokens, one after the other, by all of its threads. S tells how many slabs there are, of how many columns,
// and where a chunk of eight columns lies in one; tokens that are not there are left out.
template <class T, class S, class Source>
class TokenSlabs {
 public:
  ROPEWAY_DEVICE TokenSlabs(const Product<Source>& product, int jobs, uint8_t* slabs)
      : product_(product), jobs_(jobs), slabs_(slabs), ahead_{static_cast<int>(blockIdx.x), 0} {
    FindTokens();
  }

  // Starts the next one's copies, if there is one, in the place of the oldest. Returns the one that is the oldest then.
  ROPEWAY_DEVICE const uint8_t* Copy() {
    if (ahead_.job < jobs_) {
      constexpr int kChunks = S::kSlabColumns / kChunkColumns;
      const int chunk = static_cast<int>(threadIdx.x) % kChunks,
                column = ahead_.column + chunk * kChunkColumns;
      uint8_t* const slab = slabs_ + slab_;
      const T* const x = static_cast<const T*>(product_.x) + column;
      const int threads = S::Warps() * 32;
      const int rows = column < product_.columns ? count_ : 0;
#pragma unroll 1
      for (int row = static_cast<int>(threadIdx.x) / kChunks; row < rows; row += threads / kChunks)
        CpAsync16(slab + S::ChunkOffset(row, chunk),
                  x + product_.source.RowOfX(first_ + row) * product_.columns);
      if (ahead_.Advance(product_.columns, S::kSlabColumns, static_cast<int>(gridDim.x))) FindTokens();
    }
    CpAsyncCommit();
    slab_ = slab_ == (S::kSlabs - 1) * S::kSlabBytes ? 0 : slab_ + S::kSlabBytes;
    return slabs_ + slab_;
  }

 private:
  ROPEWAY_DEVICE void FindTokens() {
    if (ahead_.job >= jobs_) return;
    const TokenTile tokens = product_.At(ahead_.job).tokens;
    first_ = tokens.first, count_ = tokens.count;
  }

  const Product<Source>& product_;
  const int jobs_;
  uint8_t* const slabs_;
  Place ahead_;
  int first_ = 0, count_ = 0;
  int slab_ = 0;  // in bytes
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_TOKEN_SLABS_CUH_
