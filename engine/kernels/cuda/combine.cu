// out [T, D] = what the expert of all tokens gives + the weighted results [T K, D] of each token's experts.
//
// Moves K + 2 elements per element of out, 128 bits at a time.
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 256;

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) CombineKernel(CombineArgs args) {
  const int column = static_cast<int>(blockIdx.y * kThreads + threadIdx.x) * kWidth;
  if (column >= args.columns) return;
  const int64_t token = blockIdx.x;
  T* out = static_cast<T*>(args.out) + token * args.columns + column;
  float sums[kWidth] = {};
  if (args.has_shared) {
    LoadFloats(out, sums);
    const float weight =
        args.shared_z == nullptr ? 1.0f : 1.0f / (1.0f + expf(-args.shared_z[token * args.z_stride]));
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sums[i] *= weight;
  }
  for (int rank = 0; rank < args.per_token; ++rank) {
    const int64_t choice = token * args.per_token + rank;
    const float weight = args.weighted ? args.slots.weights[choice] : 1.0f;
    float values[kWidth];
    LoadFloats(
        static_cast<const T*>(args.results) + int64_t{args.slots.slots[choice]} * args.columns + column,
        values);
    const float* bias = args.biases == nullptr ? nullptr : args.biases[args.slots.experts[choice]];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      if (bias != nullptr) values[i] += bias[column + i];
      sums[i] = fmaf(weight, values[i], sums[i]);
    }
  }
  StoreFloats(out, sums);
}

template <class T, int kWidth>
ErrorCode LaunchCombine(const CombineArgs& args, Stream stream) {
  constexpr int kColumns = kThreads * kWidth;
  const dim3 grid(static_cast<unsigned>(args.num_tokens),
                  static_cast<unsigned>((args.columns + kColumns - 1) / kColumns));
  return Launch(stream, CombineKernel<T, kWidth>, grid, dim3(kThreads), 0, args);
}

}  // namespace

ErrorCode Combine(const CombineArgs& args, Stream stream) {
  return WithElement(args.element, [&]<class T>() {
    return TakesVectors(args.columns) ? LaunchCombine<T, 8>(args, stream) : LaunchCombine<T, 1>(args, stream);
  });
}

}  // namespace ropeway::cuda
