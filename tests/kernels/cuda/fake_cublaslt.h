// A cuBLASLt, and as much of the CUDA runtime as products need, of a test's own: on host memory, with algorithms that are
// right or wrong as the test wants them. Linked instead of the libraries. Not thread-safe.
#ifndef ROPEWAY_TESTS_KERNELS_CUDA_FAKE_CUBLASLT_H_
#define ROPEWAY_TESTS_KERNELS_CUDA_FAKE_CUBLASLT_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/kernels/cuda/gemm.h"
#include "engine/kernels/cuda/ops.h"

namespace ropeway::cuda {

// An output of a product.
struct FakeOutput {
  int64_t outputs, tokens;  // M, T
  int64_t row, token;
};
enum class FakeResult { kRight, kWrong, kNone };
struct FakeAlgorithm {
  float milliseconds = 1;  // that each product takes
  std::function<FakeResult(const FakeOutput&)> result = [](const FakeOutput&) { return FakeResult::kRight; };
};

struct FakeLibrary {
  std::vector<FakeAlgorithm> algorithms;  // the first is proposed first; its tile is 1, that of the next 2
  float milliseconds = 0;                 // what the clock of events shows
};
FakeLibrary& TheFakeLibrary();

// y of bf16 numbers, each sum one chain over K from column 0.
ErrorCode FakeOwnProduct(const MatMulArgs& args, Stream stream);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_KERNELS_CUDA_FAKE_CUBLASLT_H_
