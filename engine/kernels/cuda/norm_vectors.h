// Which norms norm_vectors.cu computes; norm.cu computes all others. The bytes are the same.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_NORM_VECTORS_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_NORM_VECTORS_H_

#include "engine/kernels/cuda/ops.h"

namespace ropeway::cuda {

inline constexpr int kMostNormVectors = 2;  // of a thread

// 512 threads of 8 columns a vector.
constexpr bool TakesNormVectors(const NormArgs& args) {
  return args.kind == NormKind::kRms && args.out != nullptr && args.bias == nullptr &&
         args.branch_bias == nullptr && args.post_kind == NormKind::kNone && args.columns % 8 == 0 &&
         args.columns <= kMostNormVectors * 512 * 8;
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_NORM_VECTORS_H_
