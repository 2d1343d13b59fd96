// Whether products for few tokens whose weights come by bulk copies have the bytes of those by cp.async, as ops.h has it: a
// device is asked before it serves.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_STREAM_CHECK_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_STREAM_CHECK_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/kernels/cuda/ops.h"
#include "engine/kernels/cuda/runtime.h"

namespace ropeway {

// Multiplies random numbers both ways and waits: a product with parts of stages and tiles, and more stages than are ever
// under way. Empty where the bytes are the same; otherwise why bulk copies are not to be used: other bytes, or that the
// device does not take the kernel, and goes on. REQUIRES: `element` has 16 bits.
absl::StatusOr<std::string> WhyNoBulkCopies(cuda::Element element, const cuda::KernelTable& kernels,
                                            cuda::Runtime& runtime, cuda::Stream stream);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_STREAM_CHECK_H_
