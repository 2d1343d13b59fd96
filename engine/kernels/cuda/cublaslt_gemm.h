// Makes the Gemm of libropeway_cuda.so. Plain C++.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_CUBLASLT_GEMM_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_CUBLASLT_GEMM_H_

#include "engine/kernels/cuda/gemm.h"
#include "engine/kernels/cuda/ops.h"

namespace ropeway::cuda {

// Our own product of dense weights (KernelTable::dense_matmul): what the library's are held to, and what does
// where none of them keeps the rule.
using DenseMatMulFunction = ErrorCode (*)(const MatMulArgs&, Stream);

// For the device that the calling thread is bound to. Null with the reason, a string that lives until the
// next call of the thread, in `error`.
Gemm* MakeCublasLtGemm(const GemmOptions& options, DenseMatMulFunction own, const char** error);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_CUBLASLT_GEMM_H_
