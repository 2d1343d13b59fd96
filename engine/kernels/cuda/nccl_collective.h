// Makes the collectives of libropeway_cuda.so. Plain C++.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_NCCL_COLLECTIVE_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_NCCL_COLLECTIVE_H_

#include <string>

#include "engine/kernels/cuda/collective.h"

namespace ropeway::cuda {

// One group of ranks on `devices`, out[rank]. False with the reason in `error`.
bool MakeNcclCollectives(int size, const int* devices, Collective** out, std::string* error);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_NCCL_COLLECTIVE_H_
