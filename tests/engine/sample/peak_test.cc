#include "engine/sample/peak.h"

#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

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

}  // namespace
}  // namespace ropeway
