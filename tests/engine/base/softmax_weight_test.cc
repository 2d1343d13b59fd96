#include "engine/base/softmax_weight.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

TEST(SoftmaxWeightTest, IsExpInFixedPoint) {
  EXPECT_EQ(SoftmaxWeight(0), kSoftmaxUnit);
  for (float x = 0; x > -45; x -= 0.00037f) {
    const double exact = std::exp(static_cast<double>(x)) * 0x1p40;
    EXPECT_NEAR(static_cast<double>(SoftmaxWeight(x)), exact, exact * 0x1p-22 + 0.5) << x;
  }
  EXPECT_EQ(SoftmaxWeight(-40), 0u);
  EXPECT_EQ(SoftmaxWeight(-std::numeric_limits<float>::infinity()), 0u);
}

// A golden sum: whoever computes weights elsewhere has to come to it, to the last bit.
TEST(SoftmaxWeightTest, IsTheSameOnEveryMachine) {
  uint64_t sum = 0;
  uint64_t mixed = 0;
  for (int i = 0; i < 4000; ++i) {
    const uint64_t weight = SoftmaxWeight(-static_cast<float>(i) * 0x1p-7F);
    sum += weight;
    mixed = mixed * 31 + weight;
  }
  EXPECT_EQ(sum, 141287960339829u);
  EXPECT_EQ(mixed, 11617612179882012227u);
}

TEST(SoftmaxWeightTest, Logarithms) {
  EXPECT_EQ(ExactLog(1), 0);
  for (double x = 0x1p-40; x < 0x1p40; x *= 1.00731) {
    const double exact = std::log(x);
    EXPECT_NEAR(ExactLog(x), exact, 0x1p-50 * std::fmax(1, std::fabs(exact))) << x;
  }
  EXPECT_DOUBLE_EQ(LogNormaliser(2, 4 * kSoftmaxUnit), 2 + std::log(4.0));
}

}  // namespace
}  // namespace ropeway
