// Dense matrix products on a device: y = x W^T, as linear layers have them.
//
// The rule of sums: where x and W have 16 bits, an output is one chain of tensor-core steps of 16 columns
// (c = c + a b of mma.m16n8k16), from column 0 to K and from zero, zeros standing for columns past K; the end
// of the chain is rounded once, to the type of y. Whoever keeps it gives the same bytes, whatever T, tile and
// kernel are, so that products of one matrix may be made now by one and now by another: by cuBLASLt's
// algorithms that do not split K, by our own kernels (stream_matmul.cu). On an H100 all of them gave the same
// bytes.
//
// A row of y has the same bytes whatever T is, of float32 too. Plain C++. Implementations: cuBLASLt (gemm_cublaslt.cc), and a
// host one for tests. Not thread-safe; one object per device and stream.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_GEMM_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_GEMM_H_

#include <cstdint>
#include <string>

#include "engine/kernels/cuda/element.h"
#include "engine/kernels/cuda/runtime.h"

namespace ropeway::cuda {

// Row-major. x [T, K], W [M, K], y [T, M]: y = x W^T + beta y. x and W are of one type; sums are float32.
struct GemmArgs {
  int64_t tokens = 0;   // T
  int64_t outputs = 0;  // M
  int64_t columns = 0;  // K
  Element element = Element::kBF16;
  Element out = Element::kBF16;  // of y: kF32 or `element`
  const void* x = nullptr;
  int64_t x_stride = 0;  // elements from one token to the next; likewise below
  const void* weights = nullptr;
  int64_t weight_stride = 0;
  void* y = nullptr;
  int64_t y_stride = 0;
  float beta = 0;  // 0 or 1
};

struct GemmOptions {
  int64_t workspace_bytes = int64_t{32} << 20;
};

// Errors of the library that multiplies have codes from here on; smaller ones are CUDA's.
inline constexpr ErrorCode kFirstGemmError = 1 << 16;

class Gemm {
 public:
  virtual ~Gemm() = default;
  // The first product of a shape may do what a capture of a graph forbids.
  virtual ErrorCode Run(const GemmArgs& args, Stream stream) = 0;

  // "CUBLAS_STATUS_NOT_SUPPORTED: no algorithm takes ...", of a code from kFirstGemmError on that Run has
  // just given.
  virtual std::string Describe(ErrorCode code) const = 0;
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_GEMM_H_
