// Against long double functions of the C library, whose error is far below half a unit of a double.
#include "engine/position/portable_math.h"

#include <cmath>
#include <limits>

#include "engine/base/splitmix.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

// |value - expected| in units in the last place of the expected double.
double UnitsOff(double value, long double expected) {
  const double rounded = static_cast<double>(expected);
  if (value == rounded) return 0;
  const double unit =
      std::nextafter(std::fabs(rounded), std::numeric_limits<double>::infinity()) - std::fabs(rounded);
  return static_cast<double>(std::fabs(value - expected) / unit);
}

// Numbers of all sizes between 10^-6 and 10^8.
double AnyNumber(int i) { return std::pow(10.0, 14 * UnitInterval(1, i) - 6); }

TEST(PortableMathTest, LogarithmsAreRoundedAlmostAsIfExact) {
  int wrong = 0;
  for (int i = 0; i < 100000; ++i) {
    const double x = i < 50000 ? AnyNumber(i) : 0.5 + 1.5 * UnitInterval(2, i);
    const double off = UnitsOff(Logarithm(x), std::log(static_cast<long double>(x)));
    ASSERT_LE(off, 0.53) << x;
    wrong += off > 0;
  }
  EXPECT_LE(wrong, 2000);
  EXPECT_EQ(Logarithm(1), 0);
  EXPECT_EQ(Logarithm(8) / Logarithm(16), 0.75);
}

TEST(PortableMathTest, ExponentialsAndPowersAreWithinAUnit) {
  for (int i = 0; i < 100000; ++i) {
    const double x = 40 * UnitInterval(3, i) - 20, base = AnyNumber(i), y = 6 * UnitInterval(4, i) - 3;
    ASSERT_LE(UnitsOff(Exponential(x), std::exp(static_cast<long double>(x))), 0.65) << x;
    ASSERT_LE(UnitsOff(Power(base, y), std::pow(static_cast<long double>(base), static_cast<long double>(y))),
              0.65)
        << base << " " << y;
  }
}

TEST(PortableMathTest, PowersOfTwoAreExact) {
  for (int k = -60; k <= 60; ++k) EXPECT_EQ(Power(2, k), std::ldexp(1.0, k)) << k;
  EXPECT_EQ(Power(0.25, 0.5), 0.5);
}

TEST(PortableMathTest, EndsOfTheRange) {
  EXPECT_EQ(Exponential(0), 1);
  EXPECT_EQ(Exponential(-10000), 0);
  EXPECT_EQ(Exponential(10000), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(Exponential(std::numeric_limits<double>::quiet_NaN())));
  EXPECT_EQ(Power(0, 0), 1);
  EXPECT_EQ(Power(0, 1.5), 0);
  EXPECT_EQ(Power(5, 0), 1);
}

TEST(PortableMathTest, SinesAndCosinesOfLargeAngles) {
  for (int i = 0; i < 100000; ++i) {
    const double angle = (i % 2 == 0 ? 1 : -1) * AnyNumber(i);
    const SineCosine turned = SineCosineOf(angle);
    ASSERT_NEAR(turned.sine, static_cast<double>(std::sin(static_cast<long double>(angle))), 1e-15) << angle;
    ASSERT_NEAR(turned.cosine, static_cast<double>(std::cos(static_cast<long double>(angle))), 1e-15)
        << angle;
  }
}

TEST(PortableMathTest, AnglesWithoutMeaningCountAsNone) {
  for (const double angle :
       {0x1p52, 1e300, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(SineCosineOf(angle).sine, 0);
    EXPECT_EQ(SineCosineOf(angle).cosine, 1);
  }
}

}  // namespace
}  // namespace ropeway
