// Whether products by warpgroups have the bytes of those by mma.sync, as ops.h has it: a device is asked before it serves.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_PRODUCT_CHECK_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_PRODUCT_CHECK_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/kernels/cuda/ops.h"
#include "engine/kernels/cuda/runtime.h"
#include "engine/tensor/dtype.h"

namespace ropeway {

// Multiplies random numbers both ways and waits: with weights of each type, as many tokens as each of warpgroups' kernels
// is for, parts of tiles, and more stages than are ever under way. Empty where the bytes are the same; otherwise why
// warpgroups are not to be used: other bytes, or that the device does not take the kernel, and goes on. REQUIRES: `element`
// has 16 bits; the types are packed, or its own.
absl::StatusOr<std::string> WhyNoProductsByWarpgroups(cuda::Element element, absl::Span<const DType> types,
                                                      const cuda::KernelTable& kernels,
                                                      cuda::Runtime& runtime, cuda::Stream stream);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_PRODUCT_CHECK_H_
