// out [T, N] = y / sqrt(mean(y^2) + epsilon) * weight, y = x + bias, of N columns of wider rows: the narrow rows
// of latent attention on their way to the next product.
//
// A block a row, its columns read twice. Moves 2 N elements of a row, N weights and N biases.
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 128;

template <class T>
ROPEWAY_DEVICE float WithBias(const NormColumnsArgs& args, const T* row, int column) {
  const float x = ToFloat(row[column]);
  return args.bias == nullptr ? x : x + args.bias[column];
}

template <class T>
__global__ void __launch_bounds__(kThreads) NormColumnsKernel(NormColumnsArgs args) {
  const T* row = static_cast<const T*>(args.x) + blockIdx.x * args.x_stride;
  T* out = static_cast<T*>(args.out) + int64_t{blockIdx.x} * args.columns;
  float squares = 0;
  for (int i = static_cast<int>(threadIdx.x); i < args.columns; i += kThreads) {
    const float x = WithBias(args, row, i);
    squares += x * x;
  }
  const float sum = BlockSum<kThreads / 32>(squares);
  const float inverse = 1.0f / sqrtf(sum / static_cast<float>(args.columns) + args.epsilon);
  for (int i = static_cast<int>(threadIdx.x); i < args.columns; i += kThreads)
    out[i] = FromFloat<T>(WithBias(args, row, i) * inverse * args.weight[i]);
}

}  // namespace

ErrorCode NormColumns(const NormColumnsArgs& args, Stream stream) {
  return WithElement(args.element, [&]<class T>() {
    return Launch(stream, NormColumnsKernel<T>, dim3(static_cast<unsigned>(args.num_tokens)), dim3(kThreads),
                  0, args);
  });
}

}  // namespace ropeway::cuda
