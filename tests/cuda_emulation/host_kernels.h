// The kernel tables in plain loops on the stream of an emulated device: what each operation of
// engine/kernels/cuda/ops.h and fp8.h means, in the precision of its arguments.
//
// Quick enough for whole models, where executing the kernels' own source lane by lane is not. Tests of the
// executor run on both. Arithmetic is float32; sums are taken in the order of their terms.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_HOST_KERNELS_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_HOST_KERNELS_H_

#include "engine/kernels/cuda/fp8.h"
#include "engine/kernels/cuda/ops.h"

namespace ropeway::cuda::emulation {

const KernelTable& HostKernels();
const Fp8KernelTable& HostFp8Kernels();

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_HOST_KERNELS_H_
