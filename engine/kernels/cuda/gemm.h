// Dense matrix products on a device: y = x W^T, as linear layers have them.
//
// The rule of sums: where x and W have 16 bits, an output is one chain of tensor-core steps of 16 columns
// (c = c + a b of mma.m16n8k16), from column 0 to K and from zero, zeros standing for columns past K; the end
// of the chain is rounded once, to the type of y. Whoever keeps it gives the same bytes, whatever T, tile and
// kernel are, so that products of one matrix may be made now by one and now by another: by cuBLASLt's
// algorithms that do not split K, by our own kernels (mma_steps.cuh and who includes it). An implementation uses
// no algorithm that it has not seen give those of our own, in the product that it is for.
//
// A row of y has the same bytes whatever T is, of float32 too. Plain C++. Implementations: cuBLASLt
// (gemm_cublaslt.cc), and a host one for tests. Not thread-safe; one object per device and stream.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_GEMM_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_GEMM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/kernels/cuda/element.h"
#include "engine/kernels/cuda/runtime.h"

namespace ropeway::cuda {

// Row-major. x [T, K], W [M, K], y [T, M]. x and W are of one type; sums are float32.
struct GemmArgs {
  int64_t tokens = 0;   // T
  int64_t outputs = 0;  // M
  int64_t columns = 0;  // K
  Element element = Element::kBF16;
  Element out = Element::kBF16;  // of y: kF32 or `element`
  const void* x = nullptr;
  const void* weights = nullptr;
  void* y = nullptr;
  int64_t y_stride = 0;  // elements from one token to the next
  // Whether what was launched just before writes `weights`: no kernel may then read them ahead of its turn.
  bool fresh_weights = false;
};

struct GemmOptions {
  bool search = true;      // algorithms are chosen by measuring; else by the library's estimate
  std::string cache_path;  // file of what earlier searches chose; empty: none
};

// Errors of the library that multiplies have codes from here on; smaller ones are CUDA's.
inline constexpr ErrorCode kFirstGemmError = 1 << 16;

class Gemm {
 public:
  virtual ~Gemm() = default;

  // Chooses how products of this shape are made for each number of tokens up to args.tokens, or fails where one has no way:
  // Run else chooses at the first of them, by estimate. x and W are read, y is overwritten, the stream is waited for.
  virtual ErrorCode Prepare(const GemmArgs& args, Stream stream) = 0;

  // The first product of a shape may do what a capture of a graph forbids.
  virtual ErrorCode Run(const GemmArgs& args, Stream stream) = 0;

  // What Prepare chose: a line for each shape, for the log.
  virtual std::vector<std::string> Choices() const = 0;

  // "CUBLAS_STATUS_NOT_SUPPORTED: no algorithm takes ...", of a code from kFirstGemmError on that Run or
  // Prepare has just given.
  virtual std::string Describe(ErrorCode code) const = 0;
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_GEMM_H_
