// The activation of feed-forward layers on a device, a kernel of its own or the end of a product: its arguments.
//
// Plain C++.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_GATE_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_GATE_H_

#include <cstdint>

#include "engine/kernels/cuda/element.h"
#include "engine/tensor/formulas.h"

namespace ropeway::cuda {

// out = activation(gate + bias) * (up + bias), or activation(up + bias) without a gate.
struct GateArgs {
  Activation activation = Activation::kSilu;
  bool gated = true;
  Element element = Element::kBF16;
  int num_tokens = 0;
  int columns = 0;                // F
  const void* gate_up = nullptr;  // [T, 2 F] of element: gate, then up; [T, F] without a gate
  const float* bias = nullptr;    // [2 F], or [F], or null
  // Of slots of experts: the bias of row t is that of expert experts[t]. Or both null.
  const float* const* expert_biases = nullptr;  // [X] of [2 F] or [F]
  const int32_t* experts = nullptr;             // [T]
  ActivationNumbers numbers;
  void* out = nullptr;  // [T, F] of element
};

// Numbers of a row of gate_up.
constexpr int64_t GateUpColumns(const GateArgs& args) { return int64_t{args.gated ? 2 : 1} * args.columns; }

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_GATE_H_
