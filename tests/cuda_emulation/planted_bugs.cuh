// How a kernel of the planted bugs is launched, with its mistake or without.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_PLANTED_BUGS_CUH_
#define ROPEWAY_TESTS_CUDA_EMULATION_PLANTED_BUGS_CUH_

#include "engine/kernels/cuda/device.h"
#include "tests/cuda_emulation/planted_bugs.h"

namespace ropeway::cuda {

using Kernel = void (*)(const float*, float*);

template <Kernel kPlanted, Kernel kRight, int kBlocks, int kThreads>
ErrorCode LaunchEither(bool planted, const BugArguments& arguments, Stream stream) {
  constexpr size_t kSharedBytes = kThreads * sizeof(float);  // used by DynamicSharedPastTheEnd
  return Launch(stream, planted ? kPlanted : kRight, dim3(kBlocks), dim3(kThreads), kSharedBytes,
                arguments.in, arguments.out);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_PLANTED_BUGS_CUH_
