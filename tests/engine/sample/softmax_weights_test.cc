#include "engine/sample/softmax_weights.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(WeightTest, IsTheExponentialInUnitsOfTheLikeliest) {
  EXPECT_EQ(Weight(0), kUnitWeight);
  for (double x = 0; x > -39; x -= 0.00137) {
    const auto exact = std::exp(static_cast<double>(static_cast<float>(x))) * 0x1p40;
    ASSERT_NEAR(static_cast<double>(Weight(static_cast<float>(x))), exact, exact * 0x1p-22 + 0.5) << x;
  }
  EXPECT_EQ(Weight(-1000), 0);
  EXPECT_EQ(Weight(-kInfinity), 0);
}

// A golden sum: whoever computes weights elsewhere has to come to it, to the last bit.
TEST(WeightTest, IsTheSameOnEveryMachine) {
  uint64_t sum = 0;
  uint64_t mixed = 0;
  for (int i = 0; i < 4000; ++i) {
    const uint64_t weight = Weight(-static_cast<float>(i) * 0x1p-7F);
    sum += weight;
    mixed = mixed * 31 + weight;
  }
  EXPECT_EQ(sum, 141287960339829u);
  EXPECT_EQ(mixed, 11617612179882012227u);
}

TEST(FindPeakTest, FindsTheLowestIdOfTheLargest) {
  EXPECT_EQ(FindPeak(std::vector<float>{-3, 2, 7, 7, -kInfinity})->id, 2);
  EXPECT_EQ(FindPeak(std::vector<float>{-3, -2, -7})->logit, -2);
  EXPECT_EQ(FindPeak(std::vector<float>{-1, -0.0F, 0.0F})->id, 1) << "zeros are equal";
}

TEST(FindPeakTest, RefusesLogitsThatAreNotNumbers) {
  EXPECT_FALSE(FindPeak(std::vector<float>{1, kNan, 2}).has_value());
  EXPECT_FALSE(FindPeak(std::vector<float>{1, -kNan, 2}).has_value());
  EXPECT_FALSE(FindPeak(std::vector<float>{1, kInfinity, 2}).has_value());
  EXPECT_FALSE(FindPeak(std::vector<float>{-kInfinity, -kInfinity}).has_value());
}

TEST(NaturalLogTest, IsTheLogarithm) {
  EXPECT_EQ(NaturalLog(1), 0);
  for (double x = 1e-30; x < 1e30; x *= 1.0173) {
    ASSERT_NEAR(NaturalLog(x), std::log(x), 1e-15 + std::abs(std::log(x)) * 0x1p-50) << x;
  }
}

}  // namespace
}  // namespace ropeway
