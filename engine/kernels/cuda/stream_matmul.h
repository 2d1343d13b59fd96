// How weights of 16 bits come to products for few tokens, which read them once (stream_matmul.cuh): by cp.async, 16 bytes a
// lane, on every device; by bulk copies, a row of a stage each, where the device has them and rows are whole steps of mma.
//
// Plain C++, pure functions. An output is one chain of steps either way: the same bytes.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_STREAM_MATMUL_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_STREAM_MATMUL_H_

#include "engine/kernels/cuda/fused_matmul.h"
#include "engine/kernels/cuda/ops.h"
#include "engine/kernels/cuda/runtime.h"

namespace ropeway::cuda {

// The kernel of bulk copies is compiled for compute capability 9.0 and no other.
inline bool HasBulkCopies(const DeviceInfo& device) { return device.major == 9 && device.minor == 0; }

// A step of mma has 16 columns. Behind a row that ends within one there must be zeros, which bulk copies do not make.
constexpr bool BulkCopiesFit(int64_t columns) { return columns % 16 == 0; }

// What is taken where weights are streamed. Warps of a block share the tokens: all of them are one tile.
constexpr bool TakesBulkCopies(const MatMulArgs& product) {
  return product.bulk_copies && BulkCopiesFit(product.weights.columns) && product.num_tokens <= kFusedTokens;
}
constexpr bool TakesBulkCopies(const ExpertMatMulArgs& product) {
  return product.bulk_copies && BulkCopiesFit(product.weights.columns);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_STREAM_MATMUL_H_
