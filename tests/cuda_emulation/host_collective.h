// Sums over emulated devices, each of which has a thread that runs its stream.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_HOST_COLLECTIVE_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_HOST_COLLECTIVE_H_

#include <memory>
#include <vector>

#include "engine/kernels/cuda/collective.h"

namespace ropeway::cuda::emulation {

// One object per rank; they share what they sum in, and may be destroyed in any order.
std::vector<std::unique_ptr<Collective>> MakeHostCollectives(int size);

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_HOST_COLLECTIVE_H_
