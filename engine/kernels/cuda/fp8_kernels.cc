#include "engine/kernels/cuda/fp8.h"

namespace ropeway::cuda {

const Fp8KernelTable& Fp8Kernels() {
  static constexpr Fp8KernelTable kTable = {
      .quantize = QuantizeToFp8, .matmul = Fp8MatMul, .expert_matmul = Fp8ExpertMatMul};
  return kTable;
}

}  // namespace ropeway::cuda
