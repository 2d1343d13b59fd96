#include "engine/tensor/half.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

TEST(HalfTest, EveryNumberComesBack) {
  for (int code = 0; code < 65536; ++code) {
    const uint16_t bits = static_cast<uint16_t>(code);
    const float half = HalfToFloat(bits), brain = BFloat16ToFloat(bits);
    if (!std::isnan(half)) {
      EXPECT_EQ(FloatToHalf(half), bits);
    }
    if (!std::isnan(brain)) {
      EXPECT_EQ(FloatToBFloat16(brain), bits);
    }
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(nan))));
  EXPECT_TRUE(std::isnan(BFloat16ToFloat(FloatToBFloat16(nan))));
}

// Halfway between neighbours the even one; beside it the nearer one.
TEST(HalfTest, RoundsToTheNearestTiesToEven) {
  for (int code = 0; code < 0x7BFF; ++code) {
    const uint16_t low = static_cast<uint16_t>(code), high = static_cast<uint16_t>(code + 1);
    const float middle = (HalfToFloat(low) + HalfToFloat(high)) / 2;
    EXPECT_EQ(FloatToHalf(middle), low % 2 == 0 ? low : high) << code;
    EXPECT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), low) << code;
    EXPECT_EQ(FloatToHalf(std::nextafter(middle, 1e9f)), high) << code;
    EXPECT_EQ(FloatToHalf(-middle), FloatToHalf(middle) | 0x8000) << code;
  }
  EXPECT_EQ(FloatToHalf(65519), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65520), 0x7C00);
  EXPECT_EQ(FloatToBFloat16(1 + 0x1p-8f), FloatToBFloat16(1));
  EXPECT_EQ(FloatToBFloat16(1 + 0x1.8p-7f), FloatToBFloat16(1) + 2);
}

}  // namespace
}  // namespace ropeway
