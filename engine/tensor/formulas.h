// Formulas of decoders that models choose and kernels compute, named once for all of them.
//
// Plain C++ without functions, so that the translation unit of any instruction set may include it.
#ifndef ROPEWAY_ENGINE_TENSOR_FORMULAS_H_
#define ROPEWAY_ENGINE_TENSOR_FORMULAS_H_

#include <cstdint>

namespace ropeway {

enum class Activation : uint8_t {
  kSilu,      // x / (1 + e^-x)
  kGeluErf,   // x / 2 (1 + erf(x / sqrt(2)))
  kGeluTanh,  // x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  kRelu,      // max(x, 0)
  kRelu2,     // max(x, 0)^2
  kXielu,     // x > 0: p x^2 + l x, else n (e^min(x, m) - 1 - x) + l x (arXiv:2411.13010)
  // Of gated layers alone: g / (1 + e^(-s g)) (max(min(u, c), -c) + 1), g = min(gate, c) (gpt-oss)
  kClampedSwiglu,
};

// What an activation takes beside its arguments, by the letters of its formula.
struct ActivationNumbers {
  // kXielu
  float p = 0;
  float n = 0;
  float l = 0;
  float m = 0;
  // kClampedSwiglu
  float s = 0;
  float c = 0;

  bool operator==(const ActivationNumbers&) const = default;
};

enum class NormKind : uint8_t {
  kNone,   // x
  kRms,    // x / sqrt(mean(x^2) + epsilon) * weight
  kLayer,  // (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_FORMULAS_H_
