#include <cmath>
#include <string>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {
namespace {

constexpr ActivationNumbers kNumbers{.p = 0.8f, .n = 1.3f, .l = 0.5f, .m = -1e-6f, .s = 1.702f, .c = 7};

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
      return x > 0 ? kNumbers.p * x * x + kNumbers.l * x
                   : kNumbers.n * (std::expm1(std::fmin(x, kNumbers.m)) - x) + kNumbers.l * x;
    case Activation::kClampedSwiglu: {
      const double g = std::fmin(x, kNumbers.c);
      return g / (1 + std::exp(-kNumbers.s * g));
    }
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
                .numbers = kNumbers,
                .out = out},
               stream()));
    const std::vector<float> got = Decode(c.element, Download(out, size * BytesOf(c.element)));
    for (size_t i = 0; i < size; ++i) {
      const size_t token = i / c.columns, column = i % c.columns;
      const auto input = [&](size_t at) {
        return double{gate_up[token * width + at]} + (c.bias ? bias[at] : 0);
      };
      const double gate = input(column);
      double up = c.gated ? input(c.columns + column) : 1;
      if (c.activation == Activation::kClampedSwiglu)
        up = std::fmax(std::fmin(up, kNumbers.c), -kNumbers.c) + 1;
      const double activated = Activated(c.activation, gate);
      const double slack = 8 * 0x1p-23 * (std::fabs(gate) + std::fabs(activated) + 1) * (std::fabs(up) + 1) +
                           RoundingOf(c.element) * std::fabs(activated * up);
      EXPECT_NEAR(got[i], activated * up, slack) << "at " << i;
    }
  }
};

constexpr Activation kActivations[] = {Activation::kSilu, Activation::kGeluErf, Activation::kGeluTanh,
                                       Activation::kRelu, Activation::kRelu2,   Activation::kXielu};

TEST_F(GateTest, MultipliesTheActivatedGate) {
  for (Element element : kElements)
    for (int columns : {1, 12, 160, 2056})
      for (bool with_bias : {false, true})
        for (Activation activation : kActivations)
          Run({.activation = activation, .element = element, .columns = columns, .bias = with_bias});
}

TEST_F(GateTest, ClampsBothHalves) {
  for (Element element : kElements)
    for (int columns : {1, 160})
      Run({.activation = Activation::kClampedSwiglu, .element = element, .columns = columns, .bias = true});
}

// Rows of different experts, each with the bias of its own.
TEST_F(GateTest, TakesTheBiasOfEachRowsExpert) {
  const std::vector<float> gate_up = {1, 2, 3, 4, 5, 6, 7, 8};  // 4 rows of a gate and an up
  const std::vector<const float*> biases = {Upload(std::vector<float>{10, 20}),
                                            Upload(std::vector<float>{-30, -40})};
  float* out = Allocate<float>(4);
  Check(Gate({.activation = Activation::kRelu,
              .element = Element::kF32,
              .num_tokens = 4,
              .columns = 1,
              .gate_up = Upload(gate_up),
              .expert_biases = Upload(biases),
              .experts = Upload(std::vector<int32_t>{0, 1, 0, 0}),
              .out = out},
             stream()));
  EXPECT_EQ(Download(out, 4), (std::vector<float>{11 * 22, 0, 15 * 26, 17 * 28}));
}

TEST_F(GateTest, ActivatesWithoutAGate) {
  for (Element element : kElements)
    for (int columns : {1, 160, 2056})
      for (Activation activation : kActivations)
        Run({.activation = activation, .element = element, .columns = columns, .gated = false, .bias = true});
}

}  // namespace
}  // namespace ropeway::cuda
