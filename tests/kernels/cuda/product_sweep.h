// Every algorithm that cuBLASLt offers for a product, for several numbers of tokens: what ProductCheck accepts is compared
// with our own kernel's bytes in all rows, of which ProductCheck sees the first and the last alone.
#ifndef ROPEWAY_TESTS_KERNELS_CUDA_PRODUCT_SWEEP_H_
#define ROPEWAY_TESTS_KERNELS_CUDA_PRODUCT_SWEEP_H_

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "engine/kernels/cuda/cublaslt.h"
#include "engine/kernels/cuda/cublaslt_gemm.h"
#include "engine/kernels/cuda/gemm_check.h"

namespace ropeway::cuda {

struct SweepReport {
  int candidates = 0, accepted = 0;
  int products = 0;                // that were made, our own kernel's included
  std::vector<std::string> wrong;  // what was accepted and gives other bytes
  bool ended_early = false;        // there was no time for the rest
};

class ProductSweep {
 public:
  // `args` with the most tokens; its y is overwritten.
  ProductSweep(const CublasLt& library, DenseMatMulFunction own, int processors, const GemmArgs& args,
               Stream stream)
      : library_(library), own_(own), processors_(processors), args_(args), stream_(stream) {}

  // For each of these numbers of tokens, at most as many as args has, until `limit` has passed.
  ErrorCode Run(std::span<const int64_t> tokens, std::chrono::seconds limit, SweepReport* report) {
    const auto began_at = std::chrono::steady_clock::now();
    if (const ErrorCode error = own_(OwnArgs(args_, processors_), stream_)) return error;
    if (const ErrorCode error = Read(args_.tokens, &expected_)) return error;
    ++report->products;
    for (const int64_t count : tokens) {
      GemmArgs args = args_;
      args.tokens = count;
      Layouts layouts;
      std::vector<cublasLtMatmulAlgo_t> algorithms;
      cublasStatus_t status = layouts.Make(ShapeOf(args), count);
      if (status == CUBLAS_STATUS_SUCCESS)
        status = library_.Candidates(layouts, ShapeOf(args).y_alignment, &algorithms);
      if (status != CUBLAS_STATUS_SUCCESS) return CodeOf(status);
      ProductCheck check(library_, own_, processors_, args, stream_);
      for (const cublasLtMatmulAlgo_t& algorithm : algorithms) {
        report->ended_early = std::chrono::steady_clock::now() - began_at > limit;
        if (report->ended_early) return 0;
        if (const ErrorCode error = Try(args, layouts, algorithm, check, report)) return error;
      }
    }
    return 0;
  }

 private:
  ErrorCode Try(const GemmArgs& args, const Layouts& layouts, const cublasLtMatmulAlgo_t& algorithm,
                ProductCheck& check, SweepReport* report) {
    bool keeps = false;
    if (const ErrorCode error = check.KeepsRule(algorithm, &keeps)) return error;
    ++report->candidates;
    report->products += 2;
    if (!keeps) return 0;
    ++report->accepted;
    ++report->products;
    const size_t row_bytes = RowBytesOfY(), stride = args_.y_stride * BytesOf(args_.out);
    if (const ErrorCode error = cudaMemset2DAsync(args.y, stride, 0xFF, row_bytes, args.tokens,
                                                  static_cast<cudaStream_t>(stream_.native)))
      return error;
    const auto status = library_.Multiply(args, layouts, algorithm, stream_);
    if (status != CUBLAS_STATUS_SUCCESS) return CodeOf(status);
    if (const ErrorCode error = Read(args.tokens, &got_)) return error;
    if (std::memcmp(got_.data(), expected_.data(), args.tokens * row_bytes) == 0) return 0;
    int64_t row = 0;
    while (std::memcmp(&got_[row * row_bytes], &expected_[row * row_bytes], row_bytes) == 0) ++row;
    report->wrong.push_back(ToString(NameOf(algorithm)) + ", T " + std::to_string(args.tokens) +
                            ", first in row " + std::to_string(row));
    return 0;
  }

  size_t RowBytesOfY() const { return args_.outputs * BytesOf(args_.out); }

  ErrorCode Read(int64_t tokens, std::vector<uint8_t>* bytes) const {
    const size_t row_bytes = RowBytesOfY();
    if (bytes->size() < tokens * row_bytes) bytes->resize(tokens * row_bytes);
    if (const ErrorCode error = cudaStreamSynchronize(static_cast<cudaStream_t>(stream_.native)))
      return error;
    return cudaMemcpy2D(bytes->data(), row_bytes, args_.y, args_.y_stride * BytesOf(args_.out), row_bytes,
                        tokens, cudaMemcpyDeviceToHost);
  }

  const CublasLt& library_;
  const DenseMatMulFunction own_;
  const int processors_;
  const GemmArgs args_;
  const Stream stream_;
  std::vector<uint8_t> expected_, got_;
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_KERNELS_CUDA_PRODUCT_SWEEP_H_
