// Whether attention by warpgroups gives the bytes of attention by mma.sync on a device: which tiles a kernel's sums are
// added in is known, but not how the device adds within an instruction.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_ATTENTION_CHECK_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_ATTENTION_CHECK_H_

#include "absl/status/statusor.h"
#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/ops.h"
#include "engine/kernels/cuda/runtime.h"

namespace ropeway {

// Attends a prompt of random numbers, of one KV head of `shape`, by both kernels, with and without a window, and waits.
// False where bytes differ, or where the device does not take the kernel and goes on. REQUIRES: shape.warpgroups, and
// that the calling thread is bound to the device.
absl::StatusOr<bool> WarpgroupsKeepBytes(const cuda::AttentionShape& shape, const cuda::KernelTable& kernels,
                                         cuda::Runtime& runtime, cuda::Stream stream);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_ATTENTION_CHECK_H_
