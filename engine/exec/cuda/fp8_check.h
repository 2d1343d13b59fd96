// Whether products of fp8 by warpgroups give the bytes of those by mma.sync, as fp8.h has it of every number of tokens: a
// device is asked before it serves.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_FP8_CHECK_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_FP8_CHECK_H_

#include "absl/status/statusor.h"
#include "engine/kernels/cuda/fp8.h"
#include "engine/kernels/cuda/runtime.h"

namespace ropeway {

// A product of random numbers, of more than one tile each way and with a part of one, by both kernels. False, too, where
// the device has no code of the one; an error is of the device. Waits for the stream.
absl::StatusOr<bool> Fp8WarpgroupsKeepBytes(cuda::Element element, const cuda::Fp8KernelTable& kernels,
                                            cuda::Runtime& runtime, cuda::Stream stream);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_FP8_CHECK_H_
