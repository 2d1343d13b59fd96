// out [T, F] = activation(gate + bias) * (up + bias), gate and up side by side in gate_up [T, 2 F].
//
// Moves 3 F elements per token, 128 bits at a time.
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 256;

ROPEWAY_DEVICE float Activate(GateKind kind, float x) {
  constexpr float kRootHalf = 0.70710678118654752f, kRootTwoOverPi = 0.79788456080286536f;
  switch (kind) {
    case GateKind::kSilu:
      return x / (1.0f + expf(-x));
    case GateKind::kGeluTanh:
      return 0.5f * x * (1.0f + tanhf(kRootTwoOverPi * (x + 0.044715f * x * x * x)));
    default:
      return 0.5f * x * (1.0f + erff(x * kRootHalf));
  }
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) GateKernel(GateArgs args) {
  const int column = static_cast<int>(blockIdx.y * kThreads + threadIdx.x) * kWidth;
  if (column >= args.columns) return;
  const int64_t token = blockIdx.x;
  const T* row = static_cast<const T*>(args.gate_up) + token * 2 * args.columns;
  float gate[kWidth], up[kWidth];
  LoadFloats(row + column, gate);
  LoadFloats(row + args.columns + column, up);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    if (args.bias != nullptr) {
      gate[i] += args.bias[column + i];
      up[i] += args.bias[args.columns + column + i];
    }
    gate[i] = Activate(args.kind, gate[i]) * up[i];
  }
  StoreFloats(static_cast<T*>(args.out) + token * args.columns + column, gate);
}

template <class T, int kWidth>
ErrorCode LaunchGate(const GateArgs& args, Stream stream) {
  constexpr int kColumns = kThreads * kWidth;
  const dim3 grid(static_cast<unsigned>(args.num_tokens),
                  static_cast<unsigned>((args.columns + kColumns - 1) / kColumns));
  return Launch(stream, GateKernel<T, kWidth>, grid, dim3(kThreads), 0, args);
}

}  // namespace

ErrorCode Gate(const GateArgs& args, Stream stream) {
  return WithElement(args.element, [&]<class T>() {
    return TakesVectors(args.columns) ? LaunchGate<T, 8>(args, stream) : LaunchGate<T, 1>(args, stream);
  });
}

}  // namespace ropeway::cuda
