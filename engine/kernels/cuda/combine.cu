// out [T, D] = what the expert of all tokens gives + the weighted results [T K, D] of each token's experts; or the
// residual += that, as norm.cu adds it.
//
// Moves K + 2 elements per element of out, 128 bits at a time; 8 B instead of one of them to add to the residual.
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/norm_row.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 256;

// The residual += sums, which are numbers of T before.
template <class T, int kWidth>
ROPEWAY_DEVICE void AddToResidual(const CombineArgs& args, int64_t token, int column,
                                  const float (&sums)[kWidth]) {
  float* const residual = args.residual + token * args.columns + column;
  float values[kWidth];
  LoadFloats(residual, values);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    float added = ToFloat(FromFloat<T>(sums[i]));
    if (args.branch_bias != nullptr) added += args.branch_bias[column + i];
    values[i] = AddedTo(values[i], args.branch_scale, added);
  }
  StoreFloats(residual, values);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) CombineKernel(CombineArgs args) {
  LaunchDependents();
  GridDependencyWait();
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
  if (args.residual == nullptr)
    StoreFloats(out, sums);
  else
    AddToResidual<T>(args, token, column, sums);
}

template <class T, int kWidth>
ErrorCode LaunchCombine(const CombineArgs& args, Stream stream) {
  constexpr int kColumns = kThreads * kWidth;
  const dim3 grid(static_cast<unsigned>(args.num_tokens),
                  static_cast<unsigned>((args.columns + kColumns - 1) / kColumns));
  return LaunchDependent(stream, CombineKernel<T, kWidth>, grid, dim3(kThreads), 0, args);
}

}  // namespace

ErrorCode Combine(const CombineArgs& args, Stream stream) {
  return WithElement(args.element, [&]<class T>() {
    return TakesVectors(args.columns) ? LaunchCombine<T, 8>(args, stream) : LaunchCombine<T, 1>(args, stream);
  });
}

}  // namespace ropeway::cuda
