// Whether an algorithm of cuBLASLt keeps the rule of sums (gemm.h): its bytes are compared with those of our
// own kernel, on a small product of random numbers that has all of K, and on the product itself.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_GEMM_CHECK_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_GEMM_CHECK_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "engine/kernels/cuda/cublaslt.h"
#include "engine/kernels/cuda/cublaslt_gemm.h"

namespace ropeway::cuda {

// The same product for our own kernel.
MatMulArgs OwnArgs(const GemmArgs& args, int processors);

// Device memory of one owner.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer();
  ErrorCode Allocate(size_t bytes);
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

// Verdicts are remembered, and so are the numbers of a shape until Forget. Both live with one Gemm.
class GemmCheck {
 public:
  GemmCheck(const CublasLt& library, DenseMatMulFunction own, int processors);
  ~GemmCheck();

  // `keeps` is false, too, where the algorithm does not do for the small product. The error is of the device:
  // no verdict. REQUIRES: element has 16 bits, columns is a multiple of 8. Waits for the stream.
  ErrorCode KeepsRule(const MatrixShape& shape, int64_t tokens, const cublasLtMatmulAlgo_t& algorithm,
                      Stream stream, bool* keeps);

  // Frees device memory.
  void Forget();

 private:
  // A small product, and what our own kernel gives.
  struct Sample;

  ErrorCode Run(const Sample& sample, const cublasLtMatmulAlgo_t& algorithm, Stream stream, bool* keeps);
  ErrorCode FindSample(const MatrixShape& shape, int64_t tokens, Stream stream, const Sample** sample);

  const CublasLt& library_;
  const DenseMatMulFunction own_;
  const int processors_;
  using SampleKey = std::pair<MatrixShape, int64_t>;
  std::map<SampleKey, std::unique_ptr<Sample>> samples_;
  std::map<std::pair<SampleKey, AlgorithmName>, bool> verdicts_;
};

// Of one product with its own numbers: what an algorithm does may depend on how many tiles y has. For as many tokens, and for
// about half of them, the first and the last ones are compared.
class ProductCheck {
 public:
  // y is overwritten, what `args` points to outlives it.
  ProductCheck(const CublasLt& library, DenseMatMulFunction own, int processors, const GemmArgs& args,
               Stream stream);

  // As GemmCheck::KeepsRule.
  ErrorCode KeepsRule(const cublasLtMatmulAlgo_t& algorithm, bool* keeps);

 private:
  static constexpr int64_t kComparedTokens = 64;  // at either end

  int64_t HeadOf(int64_t tokens) const { return std::min(tokens, kComparedTokens); }
  int64_t TailOf(int64_t tokens) const { return std::min(tokens - HeadOf(tokens), kComparedTokens); }
  uint8_t* RowsOfY(int64_t first) const;
  ErrorCode MultiplyOwn(int64_t first, int64_t count) const;
  ErrorCode Read(int64_t first, int64_t count, std::vector<uint8_t>* bytes) const;
  ErrorCode FindExpected();
  ErrorCode Compare(int64_t tokens, const cublasLtMatmulAlgo_t& algorithm, bool* keeps) const;

  const CublasLt& library_;
  const DenseMatMulFunction own_;
  const int processors_;
  const GemmArgs args_;
  const Stream stream_;
  std::vector<uint8_t> head_, tail_;  // what our own kernel gives; empty: not yet asked
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_GEMM_CHECK_H_
