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
};

enum class NormKind : uint8_t {
  kNone,   // x
  kRms,    // x / sqrt(mean(x^2) + epsilon) * weight
  kLayer,  // (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_FORMULAS_H_
