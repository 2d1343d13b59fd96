// The part of cuda_bench's cases that multiplies by matrices.
#ifndef ROPEWAY_TESTS_BENCH_CUDA_PRODUCT_CASES_H_
#define ROPEWAY_TESTS_BENCH_CUDA_PRODUCT_CASES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/bench/cuda/op_cases.h"

namespace ropeway {

// A layer's products and the output layer's by the kernels that the executor chooses.
void AddProductCases(const BenchShape& shape, std::vector<OpCase>& cases);
// By kernels that are named, where it has a choice.
void AddProductKernelCases(const BenchShape& shape, const cuda::DeviceInfo& device,
                           std::vector<OpCase>& cases);
void AddFp8ProductCases(const BenchShape& shape, const cuda::DeviceInfo& device, std::vector<OpCase>& cases);

// One product, of any shape.
struct ProductShape {
  std::string type;  // of weights: "BF16", "Q4_K", "fp8"
  int64_t rows = 0, columns = 0;
  std::vector<int64_t> tokens;
};
// As the executor chooses and by every kernel that takes it. INVALID_ARGUMENT for what no kernel takes, or what needs more
// bytes than the pool has. REQUIRES: rows, columns and tokens > 0.
absl::StatusOr<std::vector<OpCase>> CasesOfProduct(const ProductShape& shape, int64_t pool_bytes,
                                                   const cuda::DeviceInfo& device);

}  // namespace ropeway

#endif  // ROPEWAY_TESTS_BENCH_CUDA_PRODUCT_CASES_H_
