// Matrix products in plain loops that keep the rule of sums of engine/kernels/cuda/gemm.h as the emulated
// tensor cores do: a step's 16 products are added in order from zero, then to the sum.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_HOST_MATMUL_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_HOST_MATMUL_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/kernels/cuda/element.h"

namespace ropeway::cuda::emulation {

struct HostMatMul {
  int64_t tokens = 0, outputs = 0, columns = 0;  // T, M, K
  Element element = Element::kBF16;              // of x
  const void* x = nullptr;                       // [T, K]
  // Row m of W, as numbers of x's type where that has 16 bits.
  std::function<std::vector<float>(int64_t m)> weight_row;
  std::function<void(int64_t t, int64_t m, float sum)> store;
};
void MultiplyOnHost(const HostMatMul& product);

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_HOST_MATMUL_H_
