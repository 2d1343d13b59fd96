// Small kernels with one mistake each, and the same kernels without it.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_PLANTED_BUGS_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_PLANTED_BUGS_H_

#include <span>

#include "engine/kernels/cuda/runtime.h"

namespace ropeway::cuda {

inline constexpr int kBugOutputs = 128;  // floats that a kernel may write

struct PlantedBug {
  const char* name;
  // Launches the kernel with the mistake or without. `out` [kBugOutputs], zeros; `in` [kBugOutputs], in[i] =
  // i.
  ErrorCode (*launch)(bool planted, const float* in, float* out, Stream stream);
  float (*want)(int i);  // out[i] of the kernel without it
};

std::span<const PlantedBug> PlantedBugs();
std::span<const PlantedBug> PlantedWarpgroupBugs();  // with wgmma

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_PLANTED_BUGS_H_
