#include "engine/tensor/fp8.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

TEST(Fp8Test, NumbersAreThoseOfTheFormat) {
  for (int code = 0; code < 0x7F; ++code) {
    const int exponent = code >> 3, mantissa = code & 7;
    const double magnitude =
        exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    EXPECT_EQ(Fp8ToFloat(static_cast<uint8_t>(code)), magnitude) << code;
    EXPECT_EQ(Fp8ToFloat(static_cast<uint8_t>(code | 0x80)), -magnitude) << code;
  }
  EXPECT_TRUE(std::isnan(Fp8ToFloat(0x7F)));
  EXPECT_TRUE(std::isnan(Fp8ToFloat(0xFF)));
  EXPECT_EQ(Fp8ToFloat(0x7E), kLargestFp8);
}

TEST(Fp8Test, EveryNumberComesBack) {
  for (int code = 0; code < 256; ++code) {
    const auto bits = static_cast<uint8_t>(code);
    if ((code & 0x7F) == 0x7F) continue;
    EXPECT_EQ(FloatToFp8(Fp8ToFloat(bits)), bits) << code;
  }
}

// Halfway between neighbours the even one; beside it the nearer one.
TEST(Fp8Test, RoundsToTheNearestTiesToEven) {
  for (int code = 0; code < 0x7E; ++code) {
    const auto low = static_cast<uint8_t>(code), high = static_cast<uint8_t>(code + 1);
    const float middle = (Fp8ToFloat(low) + Fp8ToFloat(high)) / 2;
    EXPECT_EQ(FloatToFp8(middle), low % 2 == 0 ? low : high) << code;
    EXPECT_EQ(FloatToFp8(std::nextafter(middle, 0.0f)), low) << code;
    EXPECT_EQ(FloatToFp8(std::nextafter(middle, 1e9f)), high) << code;
    EXPECT_EQ(FloatToFp8(-middle), FloatToFp8(middle) | 0x80) << code;
  }
}

TEST(Fp8Test, WhatIsTooLargeIsTheLargestAndNaNStays) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const float value : {448.0f, 449.0f, 1e30f, inf}) {
    EXPECT_EQ(FloatToFp8(value), 0x7E);
    EXPECT_EQ(FloatToFp8(-value), 0xFE);
  }
  EXPECT_EQ(FloatToFp8(std::numeric_limits<float>::quiet_NaN()), 0x7F);
  EXPECT_EQ(FloatToFp8(1e-30f), 0);
  EXPECT_EQ(FloatToFp8(-0.0f), 0x80);
}

}  // namespace
}  // namespace ropeway
