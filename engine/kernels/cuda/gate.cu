// out [T, F] = activation(gate + bias) * (up + bias), gate and up side by side in gate_up [T, 2 F]; without a
// gate activation(up + bias) of gate_up [T, F].
//
// Moves 3 F elements per token, or 2 F, 128 bits at a time. The activation is chosen once for all numbers of a thread: a
// choice for each is a walk through all activations' code, 48 KB that a product's weights have swept from the caches. With
// one a layer of an 8B took 3.2 us less for 64 tokens, 6.9 for 128 and 9.8 for 256 (H200, 2026-11-27).
#include "engine/kernels/cuda/activation.cuh"
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 256;

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) GateKernel(GateArgs args) {
  LaunchDependents();
  GridDependencyWait();
  const int column = static_cast<int>(blockIdx.y * kThreads + threadIdx.x) * kWidth;
  if (column >= args.columns) return;
  const int64_t token = blockIdx.x;
  const T* row = static_cast<const T*>(args.gate_up) + token * GateUpColumns(args);
  float gate[kWidth], up[kWidth] = {};
  LoadFloats(row + column, gate);
  if (args.gated) LoadFloats(row + args.columns + column, up);
  if (const float* bias = GateBias(args, token); bias != nullptr) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      gate[i] += bias[column + i];
      if (args.gated) up[i] += bias[args.columns + column + i];
    }
  }
  WithActivation(args.activation, [&]<Activation kActivation>() {
    if (args.gated) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) gate[i] = Gated(kActivation, args.numbers, gate[i], up[i]);
    } else {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) gate[i] = Activate(kActivation, args.numbers, gate[i]);
    }
  });
  StoreFloats(static_cast<T*>(args.out) + token * args.columns + column, gate);
}

template <class T, int kWidth>
ErrorCode LaunchGate(const GateArgs& args, Stream stream) {
  constexpr int kColumns = kThreads * kWidth;
  const dim3 grid(static_cast<unsigned>(args.num_tokens),
                  static_cast<unsigned>((args.columns + kColumns - 1) / kColumns));
  return LaunchDependent(stream, GateKernel<T, kWidth>, grid, dim3(kThreads), 0, args);
}

}  // namespace

ErrorCode Gate(const GateArgs& args, Stream stream) {
  return WithElement(args.element, [&]<class T>() {
    return TakesVectors(args.columns) ? LaunchGate<T, 8>(args, stream) : LaunchGate<T, 1>(args, stream);
  });
}

}  // namespace ropeway::cuda
