#include "tests/cuda_emulation/host_gemm.h"

#include <vector>

#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/cuda_emulation/host_elements.h"

namespace ropeway::cuda::emulation {
namespace {

constexpr int kLanes = 16;

std::vector<float> Floats(Element element, const void* values, int64_t rows, int64_t columns,
                          int64_t stride) {
  std::vector<float> floats(rows * columns);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      floats[r * columns + c] = LoadElement(element, values, r * stride + c);
  return floats;
}

float Dot(const float* a, const float* b, int64_t n) {
  float sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  for (int lane = 0; i < n; ++i, ++lane) sums[lane] += a[i] * b[i];
  float sum = 0;
  for (const float part : sums) sum += part;
  return sum;
}

void Multiply(const GemmArgs& args) {
  const std::vector<float> x = Floats(args.element, args.x, args.tokens, args.columns, args.x_stride);
  for (int64_t m = 0; m < args.outputs; ++m) {
    const auto* row =
        static_cast<const uint8_t*>(args.weights) + m * args.weight_stride * BytesOf(args.element);
    const std::vector<float> weights = Floats(args.element, row, 1, args.columns, args.columns);
    for (int64_t t = 0; t < args.tokens; ++t) {
      float sum = Dot(&x[t * args.columns], weights.data(), args.columns);
      const int64_t at = t * args.y_stride + m;
      if (args.beta != 0) sum += args.beta * LoadElement(args.out, args.y, at);
      StoreElement(args.out, args.y, at, sum);
    }
  }
}

}  // namespace

ErrorCode HostGemm::Run(const GemmArgs& args, Stream stream) {
  return EnqueueOnHost(stream, [args] { Multiply(args); });
}

}  // namespace ropeway::cuda::emulation
