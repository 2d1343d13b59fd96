// Sampling and scoring by engine/sample, which has the semantics of the kernels; see host_kernels.h.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_HOST_SAMPLING_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_HOST_SAMPLING_H_

#include "engine/kernels/cuda/sampling.h"

namespace ropeway::cuda::emulation {

void SampleOnHost(const SampleArgs& args);
void ScoreOnHost(const ScoreArgs& args);

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_HOST_SAMPLING_H_
