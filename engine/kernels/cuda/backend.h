// What libropeway_cuda.so gives the program that loads it: everything that needs CUDA's libraries behind
// plain C++.
//
// The library is opened only when CUDA is wanted, so that the program starts on machines without a driver.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_BACKEND_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_BACKEND_H_

#include "engine/kernels/cuda/collective.h"
#include "engine/kernels/cuda/fp8.h"
#include "engine/kernels/cuda/gemm.h"
#include "engine/kernels/cuda/ops.h"
#include "engine/kernels/cuda/runtime.h"
#include "engine/kernels/cuda/stream_clock.h"

namespace ropeway::cuda {

// Changes whenever anything of these headers does: program and library must be of one build.
inline constexpr int kBackendVersion = 17;

// Functions that fail return null and leave the reason in `error` (a string the backend owns, valid until the
// next call).
struct Backend {
  int version;
  int (*device_count)(const char** error);  // 0 with a reason where there is no usable device or driver
  Runtime* (*make_runtime)(int device, const char** error);
  Gemm* (*make_gemm)(Runtime& runtime, const GemmOptions& options, const char** error);
  // One group of `size` ranks in one process; out[rank].
  bool (*make_collectives)(int size, const int* devices, Collective** out, const char** error);
  StreamClock* (*make_stream_clock)();
  const KernelTable* kernels;
  const Fp8KernelTable* fp8_kernels;
};

// The one symbol of the library.
inline constexpr char kBackendSymbol[] = "ropeway_cuda_backend";
using BackendFunction = const Backend* (*)();

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_BACKEND_H_
