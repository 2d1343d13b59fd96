#include "engine/base/softmax_weight.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

TEST(SoftmaxWeightTest, IsExpInFixedPoint) {
  EXPECT_EQ(FixedExp(0), kSoftmaxOne);
  for (float x = 0; x > -28; x -= 0.00037f) {
    const double exact = std::exp(static_cast<double>(x)) * 0x1p40;
    EXPECT_NEAR(static_cast<double>(FixedExp(x)), exact, exact * 2.5e-7 + 1) << x;
  }
}

TEST(SoftmaxWeightTest, FallsToZero) {
  EXPECT_EQ(FixedExp(-28), 0u);
  EXPECT_EQ(FixedExp(-std::numeric_limits<float>::infinity()), 0u);
  EXPECT_EQ(FixedExp(std::numeric_limits<float>::quiet_NaN()), 0u);
}

TEST(SoftmaxWeightTest, TheLikeliestHasTheWholeWeightWhateverItIs) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (float largest : {-infinity, -3.0f, 0.0f, 1e30f, infinity})
    EXPECT_EQ(SoftmaxWeight(largest, largest, 0.7f), kSoftmaxOne) << largest;
  EXPECT_EQ(SoftmaxWeight(1, 2, 0.5f), FixedExp(-2));
  EXPECT_EQ(SoftmaxWeight(1, 2, 1e-38f), 0u);
}

TEST(SoftmaxWeightTest, PartsOfSums) {
  EXPECT_EQ(PartOfSum(0, 100), 0u);
  EXPECT_EQ(PartOfSum(0.5, 101), 50u);
  EXPECT_EQ(PartOfSum(1, 101), 101u);
  const double largest_coin = 1 - 0x1p-53;
  for (uint64_t sum : {uint64_t{1}, kSoftmaxOne, (uint64_t{1} << 62) + 1, (uint64_t{1} << 63) - 1}) {
    EXPECT_LT(PartOfSum(largest_coin, sum), sum);
    EXPECT_EQ(PartOfSum(1, sum), sum);
  }
}

TEST(SoftmaxWeightTest, LogarithmsOfSums) {
  EXPECT_EQ(FixedLog(kSoftmaxOne), 0);
  for (uint64_t sum = 1; sum < uint64_t{1} << 62; sum += sum / 7 + 1)
    EXPECT_NEAR(FixedLog(sum), std::log(static_cast<double>(sum)) - 40 * std::log(2.0), 1e-12) << sum;
  EXPECT_FLOAT_EQ(LogProbability(1.5f, 2.0f, 4 * kSoftmaxOne), -0.5f - std::log(4.0f));
}

}  // namespace
}  // namespace ropeway
