#include <cmath>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {
namespace {

double Activated(GateKind kind, double x) {
  switch (kind) {
    case GateKind::kSilu:
      return x / (1 + std::exp(-x));
    case GateKind::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    default:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  }
}

class GateTest : public DeviceTest {};

// Tolerance: a few roundings of float32 in the activation, by |x| since 1 + tanh cancels, and one to the
// element type.
TEST_F(GateTest, MultipliesTheActivatedGate) {
  constexpr int kTokens = 3;
  for (Element element : kElements) {
    for (int columns : {1, 12, 160, 2056}) {
      for (bool with_bias : {false, true}) {
        for (GateKind kind : {GateKind::kSilu, GateKind::kGeluTanh, GateKind::kGeluErf}) {
          std::vector<float> gate_up = RandomValues(element, size_t{kTokens} * 2 * columns, 1, 4);
          gate_up[0] = -100;  // far out: exp(100) is infinite, and the result is zero
          const std::vector<float> bias = RandomValues(Element::kF32, size_t{2} * columns, 2);
          uint8_t* out = Allocate<uint8_t>(size_t{kTokens} * columns * BytesOf(element));
          Check(Gate({.kind = kind,
                      .element = element,
                      .num_tokens = kTokens,
                      .columns = columns,
                      .gate_up = Upload(Encode(element, gate_up)),
                      .bias = with_bias ? Upload(bias) : nullptr,
                      .out = out},
                     stream()));
          const std::vector<float> got =
              Decode(element, Download(out, size_t{kTokens} * columns * BytesOf(element)));
          for (int i = 0; i < kTokens * columns; ++i) {
            const int token = i / columns, column = i % columns;
            const double gate =
                double{gate_up[token * 2 * columns + column]} + (with_bias ? bias[column] : 0);
            const double up = double{gate_up[(token * 2 + 1) * columns + column]} +
                              (with_bias ? bias[columns + column] : 0);
            const double expected = Activated(kind, gate) * up;
            const double slack = 8 * 0x1p-23 * (std::fabs(gate) + 1) * (std::fabs(up) + 1) +
                                 RoundingOf(element) * std::fabs(expected);
            EXPECT_NEAR(got[i], expected, slack) << NameOf(element) << " " << columns << " at " << i;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace ropeway::cuda
