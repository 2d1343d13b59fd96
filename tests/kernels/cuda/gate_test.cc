#include <cmath>
#include <string>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {
namespace {

double Activated(Activation activation, double x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kGeluErf:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kRelu:
      return std::fmax(x, 0);
    case Activation::kRelu2:
      return std::fmax(x, 0) * std::fmax(x, 0);
    case Activation::kXielu:
    case Activation::kClampedSwiglu:
      break;  // models with them are refused
  }
  return 0;
}

struct Case {
  Activation activation = Activation::kSilu;
  Element element = Element::kF32;
  int columns = 1;
  bool gated = true, bias = false;
};

class GateTest : public DeviceTest {
 protected:
  static constexpr int kTokens = 3;

  // Tolerance: a few roundings of float32 in the activation, by |x| since 1 + tanh cancels, and one to the
  // element type.
  void Run(const Case& c) {
    SCOPED_TRACE(std::string(NameOf(c.element)) + " F " + std::to_string(c.columns) + " activation " +
                 std::to_string(static_cast<int>(c.activation)) + (c.gated ? " gated" : ""));
    const size_t width = size_t(c.columns) * (c.gated ? 2 : 1), size = size_t{kTokens} * c.columns;
    std::vector<float> gate_up = RandomValues(c.element, kTokens * width, 1, 4);
    gate_up[0] = -100;  // far out: exp(100) is infinite, and the result is zero
    const std::vector<float> bias = RandomValues(Element::kF32, width, 2);
    uint8_t* out = Allocate<uint8_t>(size * BytesOf(c.element));
    Check(Gate({.activation = c.activation,
                .gated = c.gated,
                .element = c.element,
                .num_tokens = kTokens,
                .columns = c.columns,
                .gate_up = Upload(Encode(c.element, gate_up)),
                .bias = c.bias ? Upload(bias) : nullptr,
                .out = out},
               stream()));
    const std::vector<float> got = Decode(c.element, Download(out, size * BytesOf(c.element)));
    for (size_t i = 0; i < size; ++i) {
      const size_t token = i / c.columns, column = i % c.columns;
      const auto input = [&](size_t at) {
        return double{gate_up[token * width + at]} + (c.bias ? bias[at] : 0);
      };
      const double gate = input(column), up = c.gated ? input(c.columns + column) : 1;
      const double activated = Activated(c.activation, gate);
      const double slack = 8 * 0x1p-23 * (std::fabs(gate) + std::fabs(activated) + 1) * (std::fabs(up) + 1) +
                           RoundingOf(c.element) * std::fabs(activated * up);
      EXPECT_NEAR(got[i], activated * up, slack) << "at " << i;
    }
  }
};

constexpr Activation kActivations[] = {Activation::kSilu, Activation::kGeluErf, Activation::kGeluTanh,
                                       Activation::kRelu, Activation::kRelu2};

TEST_F(GateTest, MultipliesTheActivatedGate) {
  for (Element element : kElements)
    for (int columns : {1, 12, 160, 2056})
      for (bool with_bias : {false, true})
        for (Activation activation : kActivations)
          Run({.activation = activation, .element = element, .columns = columns, .bias = with_bias});
}

TEST_F(GateTest, ActivatesWithoutAGate) {
  for (Element element : kElements)
    for (int columns : {1, 160, 2056})
      for (Activation activation : kActivations)
        Run({.activation = activation, .element = element, .columns = columns, .gated = false, .bias = true});
}

}  // namespace
}  // namespace ropeway::cuda
