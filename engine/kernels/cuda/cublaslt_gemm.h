// Makes the Gemm of libropeway_cuda.so. Plain C++.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_CUBLASLT_GEMM_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_CUBLASLT_GEMM_H_

#include "engine/kernels/cuda/gemm.h"

namespace ropeway::cuda {

// For the device that the calling thread is bound to. Null with the reason, a string that lives forever, in
// `error`.
Gemm* MakeCublasLtGemm(const GemmOptions& options, const char** error);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_CUBLASLT_GEMM_H_
