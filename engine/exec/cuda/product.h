// Which kernel makes a product: the one place that knows.
//
// All of them keep the rule of sums (engine/kernels/cuda/gemm.h): a row of y has the same bytes whichever is
// taken.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_PRODUCT_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_PRODUCT_H_

#include <cstdint>

#include "engine/kernels/cuda/gemm.h"
#include "engine/kernels/cuda/ops.h"

namespace ropeway {

enum class ProductKernel {
  kDense,   // our own for few tokens
  kPacked,  // our own, which unpacks as it goes
  kGemm,    // of the library
};

// Up to so many tokens weights stream through our own kernel: two tiles of mma.
inline constexpr int64_t kStreamedTokens = 16;

ProductKernel ProductKernelFor(const cuda::MatMulArgs& args);

// Lets the library choose how it multiplies by this matrix with up to args.num_tokens tokens, where it is to.
// Overwrites y and waits for the stream.
cuda::ErrorCode PrepareOnCuda(const cuda::MatMulArgs& args, cuda::Gemm& gemm, cuda::Stream stream);

cuda::ErrorCode MultiplyOnCuda(const cuda::MatMulArgs& args, const cuda::KernelTable& kernels,
                               cuda::Gemm& gemm, cuda::Stream stream);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_PRODUCT_H_
