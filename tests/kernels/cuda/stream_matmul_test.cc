// Dense products for few tokens on a device.
#include <cmath>
#include <cstdint>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {
namespace {

struct Case {
  Element element = Element::kBF16;
  Element out = Element::kF32;
  int64_t rows = 16, columns = 16, stride = 16;
  int processors = 4;
};

class StreamMatMulTest : public DeviceTest, public testing::WithParamInterface<Element> {
 protected:
  // y [T, stride] of `out`, which was 0x3C in all bytes.
  std::vector<uint8_t> Multiply(const Case& c, const void* weights, const std::vector<float>& x,
                                int64_t tokens) {
    const std::vector<float> first(x.begin(), x.begin() + tokens * c.columns);
    const int64_t bytes = tokens * c.stride * BytesOf(c.out);
    uint8_t* y = Upload(std::vector<uint8_t>(bytes, 0x3C));
    Check(DenseMatMul({.weights = {DenseType(c.element), c.rows, c.columns, weights},
                       .element = c.element,
                       .out = c.out,
                       .num_tokens = tokens,
                       .processors = c.processors,
                       .x = Upload(Encode(c.element, first)),
                       .y = y,
                       .y_stride = c.stride},
                      stream()));
    return Download(y, bytes);
  }
  // Tolerance: float32 sums of K products, by the norms of both factors, and one rounding to the type of y.
  void ExpectProducts(const Case& c, int64_t tokens) {
    SCOPED_TRACE(testing::Message() << "T " << tokens << " M " << c.rows << " K " << c.columns << " to "
                                    << NameOf(c.out));
    const std::vector<float> weights = RandomValues(c.element, c.rows * c.columns, 1);
    const std::vector<float> x = RandomValues(c.element, tokens * c.columns, 2);
    const std::vector<float> y = Decode(c.out, Multiply(c, Upload(Encode(c.element, weights)), x, tokens));
    const float gap = Decode(c.out, std::vector<uint8_t>(4, 0x3C))[0];
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t row = 0; row < c.stride; ++row) {
        double sum = 0, norm = 0;
        for (int64_t k = 0; k < c.columns && row < c.rows; ++k) {
          const double product = static_cast<double>(weights[row * c.columns + k]) * x[t * c.columns + k];
          sum += product;
          norm += std::fabs(product);
        }
        const double tolerance = 0x1p-24 * norm * 16 + RoundingOf(c.out) * std::fabs(sum);
        ASSERT_NEAR(y[t * c.stride + row], row < c.rows ? sum : gap, row < c.rows ? tolerance : 0)
            << "token " << t << " row " << row;
      }
    }
  }
};

TEST_P(StreamMatMulTest, MultipliesAnyShapeAndLeavesTheGapsOfY) {
  const Element element = GetParam();
  for (const Element out : {Element::kF32, element}) {
    ExpectProducts({.element = element, .out = out, .rows = 19, .columns = 40, .stride = 23}, 5);
    ExpectProducts({.element = element, .out = out, .rows = 1, .columns = 8, .stride = 1}, 1);
    ExpectProducts({.element = element, .out = out, .rows = 48, .columns = 576, .stride = 48}, 16);
    ExpectProducts({.element = element, .out = out, .rows = 33, .columns = 1032, .stride = 40}, 9);
  }
}

// Tiles follow each other in a warp's ring; warps have no tile, one or several.
TEST_P(StreamMatMulTest, WarpsHaveAnyNumberOfTiles) {
  for (const int processors : {1, 2, 7, 132}) {
    ExpectProducts(
        {.element = GetParam(), .rows = 160, .columns = 264, .stride = 160, .processors = processors}, 3);
  }
}

TEST_P(StreamMatMulTest, ProductsOfATokenDoNotDependOnTheOthers) {
  constexpr int64_t kMost = 40;
  const Case c = {.element = GetParam(), .rows = 40, .columns = 600, .stride = 40};
  const void* weights = Upload(Encode(c.element, RandomValues(c.element, c.rows * c.columns, 3)));
  const std::vector<float> x = RandomValues(c.element, kMost * c.columns, 4);
  const std::vector<uint8_t> all = Multiply(c, weights, x, kMost);
  for (const int64_t tokens : {1, 2, 7, 8, 9, 15, 16, 17, 33}) {
    const std::vector<uint8_t> some = Multiply(c, weights, x, tokens);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << "T " << tokens;
  }
  const std::vector<float> last(x.end() - c.columns, x.end());
  const std::vector<uint8_t> alone = Multiply(c, weights, last, 1);
  EXPECT_TRUE(std::equal(alone.rbegin(), alone.rend(), all.rbegin())) << "the last by itself";
}

INSTANTIATE_TEST_SUITE_P(Types, StreamMatMulTest, testing::Values(Element::kF16, Element::kBF16),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

using DenseMatMulTest = DeviceTest;

TEST_F(DenseMatMulTest, WhatNoKernelDoesIsRefused) {
  const auto code = [&](Element element, Element out, int64_t columns) {
    return DenseMatMul({.weights = {DenseType(element), 16, columns, nullptr},
                        .element = element,
                        .out = out,
                        .num_tokens = 1},
                       stream());
  };
  EXPECT_NE(code(Element::kF32, Element::kF32, 16), 0);
  EXPECT_NE(code(Element::kBF16, Element::kF16, 16), 0);
  EXPECT_NE(code(Element::kBF16, Element::kBF16, 12), 0);
}

}  // namespace
}  // namespace ropeway::cuda
