#include "tests/cuda_emulation/host_gemm.h"

#include <vector>

#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/cuda_emulation/host_elements.h"
#include "tests/cuda_emulation/host_matmul.h"

namespace ropeway::cuda::emulation {
namespace {

void Multiply(const GemmArgs& args) {
  const auto weight_row = [&](int64_t m) {
    std::vector<float> row(args.columns);
    for (int64_t k = 0; k < args.columns; ++k)
      row[k] = LoadElement(args.element, args.weights, m * args.columns + k);
    return row;
  };
  const auto store = [&](int64_t t, int64_t m, float sum) {
    StoreElement(args.out, args.y, t * args.y_stride + m, sum);
  };
  MultiplyOnHost({.tokens = args.tokens,
                  .outputs = args.outputs,
                  .columns = args.columns,
                  .element = args.element,
                  .x = args.x,
                  .weight_row = weight_row,
                  .store = store});
}

}  // namespace

ErrorCode HostGemm::Run(const GemmArgs& args, Stream stream) {
  return EnqueueOnHost(stream, [args] { Multiply(args); });
}

}  // namespace ropeway::cuda::emulation
