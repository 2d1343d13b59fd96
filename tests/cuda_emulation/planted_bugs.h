// Small kernels with one mistake each, and the same kernels without it.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_PLANTED_BUGS_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_PLANTED_BUGS_H_

#include <span>

#include "engine/kernels/cuda/runtime.h"
#include "engine/kernels/cuda/tensor_map.h"

namespace ropeway::cuda {

inline constexpr int kBugOutputs = 128;  // floats that a kernel may write

// Rows of `in` as bulk copies have it: 64 numbers of 16 bits, which are the halves of 32 floats.
inline constexpr int kBugRows = 2 * kBugOutputs / 64, kBugBoxRows = 8;

struct BugArguments {
  const float* in;  // [kBugOutputs], in[i] = i
  float* out;       // [kBugOutputs], zeros
  TensorMap map;    // of `in`, with boxes of 64 columns and kBugBoxRows rows, more than there are
};

struct PlantedBug {
  const char* name;
  // Launches the kernel with the mistake or without.
  ErrorCode (*launch)(bool planted, const BugArguments& arguments, Stream stream);
  float (*want)(int i);  // out[i] of the kernel without it
};

std::span<const PlantedBug> PlantedBugs();
std::span<const PlantedBug> PlantedWarpgroupBugs();  // with wgmma
std::span<const PlantedBug> PlantedBulkBugs();       // with bulk copies

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_PLANTED_BUGS_H_
