// The activations of feed-forward layers: formulas.h, on a device. One source for the gate's own kernel and for products
// that end with it: the same bytes.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_ACTIVATION_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_ACTIVATION_CUH_

#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/gate.h"
#include "engine/tensor/formulas.h"

namespace ropeway::cuda {

ROPEWAY_DEVICE float Activate(Activation activation, const ActivationNumbers& numbers, float x) {
  constexpr float kRootHalf = 0.70710678118654752f, kRootTwoOverPi = 0.79788456080286536f;
  const float positive = x < 0 ? 0 : x;  // NaN stays NaN
  switch (activation) {
    case Activation::kSilu:
      return x / (1.0f + expf(-x));
    case Activation::kGeluTanh: {
      const float inner = __fmaf_rn(__fmul_rn(0.044715f, __fmul_rn(x, x)), x, x);
      return __fmul_rn(__fmul_rn(0.5f, x), 1.0f + tanhf(__fmul_rn(kRootTwoOverPi, inner)));
    }
    case Activation::kGeluErf:
      return __fmul_rn(__fmul_rn(0.5f, x), 1.0f + erff(__fmul_rn(x, kRootHalf)));
    case Activation::kRelu:
      return positive;
    case Activation::kXielu: {
      const float bent = x > 0 ? __fmul_rn(__fmul_rn(numbers.p, x), x)
                               : __fmul_rn(numbers.n, __fadd_rn(expm1f(fminf(x, numbers.m)), -x));
      return __fmaf_rn(numbers.l, x, bent);
    }
    default:  // kRelu2: kClampedSwiglu takes both halves
      return __fmul_rn(positive, positive);
  }
}

// Calls visit.operator()<kActivation>(): all numbers of a thread by one choice, and not a choice for each.
template <class Visit>
ROPEWAY_DEVICE void WithActivation(Activation activation, const Visit& visit) {
  switch (activation) {
    case Activation::kSilu:
      return visit.template operator()<Activation::kSilu>();
    case Activation::kGeluErf:
      return visit.template operator()<Activation::kGeluErf>();
    case Activation::kGeluTanh:
      return visit.template operator()<Activation::kGeluTanh>();
    case Activation::kRelu:
      return visit.template operator()<Activation::kRelu>();
    case Activation::kRelu2:
      return visit.template operator()<Activation::kRelu2>();
    case Activation::kXielu:
      return visit.template operator()<Activation::kXielu>();
    case Activation::kClampedSwiglu:
      return visit.template operator()<Activation::kClampedSwiglu>();
  }
}

// activation(gate) * up; of gated layers. Each operation is rounded by itself, or fused by name.
ROPEWAY_DEVICE float Gated(Activation activation, const ActivationNumbers& numbers, float gate, float up) {
  if (activation != Activation::kClampedSwiglu) return __fmul_rn(Activate(activation, numbers, gate), up);
  const float g = gate > numbers.c ? numbers.c : gate;  // NaN stays NaN
  const float u = up > numbers.c ? numbers.c : up < -numbers.c ? -numbers.c : up;
  return __fmul_rn(g / (1.0f + expf(__fmul_rn(-numbers.s, g))), __fadd_rn(u, 1.0f));
}

// Of a row: its expert's, or everyone's; or null.
ROPEWAY_DEVICE const float* GateBias(const GateArgs& args, int64_t row) {
  return args.experts == nullptr ? args.bias : args.expert_biases[args.experts[row]];
}

// What a column comes to, of its two numbers in a row of gate_up; or of its one number without a gate.
ROPEWAY_DEVICE float GatedNumber(const GateArgs& args, const float* bias, int column, float gate, float up) {
  if (bias != nullptr) {
    gate += bias[column];
    up += bias[args.columns + column];
  }
  return Gated(args.activation, args.numbers, gate, up);
}
ROPEWAY_DEVICE float ActivatedNumber(const GateArgs& args, const float* bias, int column, float x) {
  if (bias != nullptr) x += bias[column];
  return Activate(args.activation, args.numbers, x);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_ACTIVATION_CUH_
