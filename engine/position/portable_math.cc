#include "engine/position/portable_math.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

namespace ropeway {
namespace {

// high + low, |low| at most half a unit in the last place of high.
struct Pair {
  double high = 0, low = 0;
};

constexpr Pair kLn2 = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};

// a + b exactly.
Pair Sum(double a, double b) {
  const double sum = a + b, rounded_b = sum - a;
  return {sum, (a - (sum - rounded_b)) + (b - rounded_b)};
}

// a * b exactly.
Pair Product(double a, double b) {
  const double product = a * b;
  return {product, std::fma(a, b, -product)};
}

Pair Product(Pair a, double b) {
  const Pair product = Product(a.high, b);
  return Sum(product.high, std::fma(a.low, b, product.low));
}

// ln(x) by x = 2^k m, sqrt(1/2) <= m < sqrt(2), and ln(m) = 2 artanh(s) = 2 (s + s^3 / 3 + s^5 / 5 + ...)
// with s = (m - 1) / (m + 1), |s| < 0.172.
Pair LogarithmPair(double x) {
  int k = 0;
  double m = std::frexp(x, &k);
  if (m < std::numbers::sqrt2 / 2) m *= 2, --k;
  const Pair divisor = Sum(m, 1);
  const double s = (m - 1) / divisor.high;
  const double s_low = (std::fma(-s, divisor.high, m - 1) - s * divisor.low) / divisor.high;
  const double s2 = s * s;
  double series = 0;
  for (int n = 29; n >= 3; n -= 2) series = (series + 1.0 / n) * s2;
  const Pair of_m = Sum(2 * s, 2 * std::fma(s, series, s_low));
  const Pair of_power = Product(kLn2, k);
  const Pair sum = Sum(of_power.high, of_m.high);
  return Sum(sum.high, sum.low + (of_power.low + of_m.low));
}

// e^x by x = k ln(2) + r, |r| <= ln(2) / 2, and the series of e^r.
double ExponentialOf(Pair x) {
  if (std::isnan(x.high)) return x.high;
  if (x.high > 800) return std::numeric_limits<double>::infinity();
  if (x.high < -800) return 0;
  const double k = std::nearbyint(x.high * std::numbers::log2e);
  const Pair turned = Product(kLn2, -k);
  const Pair sum = Sum(x.high, turned.high);
  const Pair r = Sum(sum.high, sum.low + (turned.low + x.low));
  double series = 0;  // r^3 / 6 + r^4 / 24 + ..., divided by r^2
  for (int n = 16; n >= 3; --n) series = (series + 1) * r.high / n;
  const double square = r.high * r.high / 2;
  const Pair result = Sum(1, r.high);
  return std::ldexp(result.high + (result.low + (r.low + std::fma(square, series, square))),
                    static_cast<int>(k));
}

}  // namespace

// Taylor's series after reduction to [-pi / 4, pi / 4] in two steps.
SineCosine SineCosineOf(double angle) {
  constexpr double kHalfPiHigh = 0x1.921fb54442d18p+0, kHalfPiLow = 0x1.1a62633145c07p-54;
  if (!(std::fabs(angle) < 0x1p52)) return {};
  const double n = std::nearbyint(angle * (2 / std::numbers::pi));
  const double r = std::fma(-n, kHalfPiLow, std::fma(-n, kHalfPiHigh, angle)), r2 = r * r;
  double s = 0, c = 0;  // of r, by Horner's rule: s = r (1 - r2/6 (1 - r2/20 (...))), c likewise
  for (int k = 17; k >= 3; k -= 2) s = (s + 1) * -r2 / (k * (k - 1));
  for (int k = 16; k >= 2; k -= 2) c = (c + 1) * -r2 / (k * (k - 1));
  const double sine = std::fma(s, r, r), cosine = c + 1;
  switch (static_cast<int64_t>(n) & 3) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, -sine};
    case 2:
      return {-sine, -cosine};
    default:
      return {-cosine, sine};
  }
}

double Logarithm(double x) { return LogarithmPair(x).high; }

double Exponential(double x) { return ExponentialOf({x, 0}); }

double Power(double x, double y) {
  if (y == 0) return 1;
  if (x == 0) return 0;
  return ExponentialOf(Product(LogarithmPair(x), y));
}

}  // namespace ropeway
