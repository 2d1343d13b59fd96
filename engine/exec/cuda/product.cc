#include "engine/exec/cuda/product.h"

namespace ropeway {
namespace {

cuda::GemmArgs ForLibrary(const cuda::MatMulArgs& args) {
  return {.tokens = args.num_tokens,
          .outputs = args.weights.rows,
          .columns = args.weights.columns,
          .element = args.element,
          .out = args.out,
          .x = args.x,
          .weights = args.weights.data,
          .y = args.y,
          .y_stride = args.y_stride};
}

}  // namespace

ProductKernel ProductKernelFor(const cuda::MatMulArgs& args) {
  if (cuda::IsPacked(args.weights.type)) return ProductKernel::kPacked;
  // float32 has no tensor cores; rows of other widths are not aligned to copies of 16 bytes.
  const bool streams = args.element != cuda::Element::kF32 && args.weights.columns % 8 == 0;
  return streams && args.num_tokens <= kStreamedTokens ? ProductKernel::kDense : ProductKernel::kGemm;
}

cuda::ErrorCode PrepareOnCuda(const cuda::MatMulArgs& args, cuda::Gemm& gemm, cuda::Stream stream) {
  if (ProductKernelFor(args) != ProductKernel::kGemm) return 0;
  return gemm.Prepare(ForLibrary(args), stream);
}

cuda::ErrorCode MultiplyOnCuda(const cuda::MatMulArgs& args, const cuda::KernelTable& kernels,
                               cuda::Gemm& gemm, cuda::Stream stream) {
  switch (ProductKernelFor(args)) {
    case ProductKernel::kDense:
      return kernels.dense_matmul(args, stream);
    case ProductKernel::kPacked:
      return kernels.packed_matmul(args, stream);
    case ProductKernel::kGemm:
      break;
  }
  return gemm.Run(ForLibrary(args), stream);
}

}  // namespace ropeway
