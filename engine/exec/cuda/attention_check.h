// Whether attention by warpgroups gives the bytes of attention by mma.sync on a device: which tiles a kernel's sums are
// added in is known, but not how the device adds within an instruction. A mistake that loses the device, or leaves it
// waiting, is an error, here as in any kernel.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_ATTENTION_CHECK_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_ATTENTION_CHECK_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/ops.h"
#include "engine/kernels/cuda/runtime.h"

namespace ropeway {

// Attends a prompt and a token of random numbers of `element`, of one KV head of `shape`, by both kinds of kernels, with and
// without a window, and waits.
// Empty where the bytes are the same; otherwise why the kernel is not to be used: other bytes, or that driver or device do
// not take what it needs, and go on. REQUIRES: shape.warpgroups, for `element`, and that the calling thread is bound to the
// device.
absl::StatusOr<std::string> WhyNoWarpgroups(const cuda::AttentionShape& shape, cuda::Element element,
                                            const cuda::KernelTable& kernels, cuda::Runtime& runtime,
                                            cuda::Stream stream);

// The maps of one layer's keys and values; likewise why there are none.
absl::StatusOr<std::string> MapKeysAndValues(cuda::Runtime& runtime, const cuda::KvPages& kv,
                                             int64_t num_pages, cuda::KvMaps& maps);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_ATTENTION_CHECK_H_
