// Opens libropeway_cuda.so, which holds everything that needs CUDA's libraries, when CUDA is wanted.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_BACKEND_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_BACKEND_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/kernels/cuda/backend.h"

namespace ropeway {

// From the folder of the program, from ../lib beside it, or wherever the loader finds libraries. It stays
// open. UNAVAILABLE saying why there is none, or why it cannot be loaded.
absl::StatusOr<const cuda::Backend*> OpenCudaBackend();

// Likewise from the first of `paths` that exists; a path without '/' is left to the loader.
absl::StatusOr<const cuda::Backend*> OpenCudaBackend(absl::Span<const std::string> paths);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_BACKEND_H_
