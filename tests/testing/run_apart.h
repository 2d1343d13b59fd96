// A product and its neighbours by one kernel after the other, beside which `fused_matmul` is held.
#ifndef ROPEWAY_TESTS_TESTING_RUN_APART_H_
#define ROPEWAY_TESTS_TESTING_RUN_APART_H_

#include "engine/kernels/cuda/ops.h"

namespace ropeway::testing {

// REQUIRES: what the neighbours read and write lies in x and y of the product.
inline cuda::ErrorCode RunApart(const cuda::KernelTable& kernels, const cuda::FusedMatMulArgs& args,
                                cuda::Stream stream) {
  cuda::ErrorCode error = args.norm ? kernels.norm(*args.norm, stream) : 0;
  if (error == 0)
    error = cuda::IsPacked(args.product.weights.type) ? kernels.packed_matmul(args.product, stream)
                                                      : kernels.dense_matmul(args.product, stream);
  if (error == 0 && args.add) error = kernels.norm(*args.add, stream);
  if (error == 0 && args.gate) error = kernels.gate(*args.gate, stream);
  if (error == 0 && args.qkv) error = kernels.qkv(*args.qkv, stream);
  return error;
}

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_RUN_APART_H_
