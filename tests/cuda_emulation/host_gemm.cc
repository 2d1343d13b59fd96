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
      row[k] = LoadElement(args.element, args.weights, m * args.weight_stride + k);
    return row;
  };
  const auto store = [&](int64_t t, int64_t m, float sum) {
    const int64_t at = t * args.y_stride + m;
    if (args.beta != 0) sum += args.beta * LoadElement(args.out, args.y, at);
    StoreElement(args.out, args.y, at, sum);
  };
  MultiplyOnHost({.tokens = args.tokens,
                  .outputs = args.outputs,
                  .columns = args.columns,
                  .element = args.element,
                  .x = args.x,
                  .x_stride = args.x_stride,
                  .weight_row = weight_row,
                  .store = store});
}

}  // namespace

ErrorCode HostGemm::Run(const GemmArgs& args, Stream stream) {
  return EnqueueOnHost(stream, [args] { Multiply(args); });
}

}  // namespace ropeway::cuda::emulation
