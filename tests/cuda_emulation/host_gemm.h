// Matrix products of an emulated device, computed by plain loops on its stream.
// They keep the rule of sums (gemm.h).
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_HOST_GEMM_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_HOST_GEMM_H_

#include <string>
#include <vector>

#include "engine/kernels/cuda/gemm.h"

namespace ropeway::cuda::emulation {

class HostGemm : public Gemm {
 public:
  ErrorCode Prepare(const GemmArgs&, Stream) override { return 0; }
  ErrorCode Run(const GemmArgs& args, Stream stream) override;
  std::vector<std::string> Choices() const override { return {}; }
  std::string Describe(ErrorCode) const override { return "no error of its own"; }
};

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_HOST_GEMM_H_
