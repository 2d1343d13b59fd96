// The arithmetic of a softmax in integers: sums are exact, so that they are the same in any order, on any
// number of threads, on a CPU and on a GPU. Whoever samples by these functions chooses the same token
// everywhere.
//
// Every operation is rounded by itself, in the order in which it is written: compiled with -ffp-contract=off,
// and -fmad=false under nvcc.
#ifndef ROPEWAY_ENGINE_BASE_SOFTMAX_WEIGHT_H_
#define ROPEWAY_ENGINE_BASE_SOFTMAX_WEIGHT_H_

#include <bit>
#include <cstdint>

namespace ropeway {

// The weight of the likeliest token; 2^23 of them fit into 63 bits.
inline constexpr uint64_t kSoftmaxUnit = uint64_t{1} << 40;

// kSoftmaxUnit * exp(x), rounded to the nearest integer, ties to even; exactly kSoftmaxUnit for 0. The
// relative error of exp is below 2^-22. Without branches, for loops over vocabularies. REQUIRES: x <= 0,
// perhaps -infinity.
constexpr uint64_t SoftmaxWeight(float x) {
  // exp(x) = 2^n * exp(r), |r| <= log(2) / 2. Adding 1.5 * 2^23 rounds to an integer, left in the low bits.
  constexpr float kRound = 0x1.8p23f;
  x = x > -40.0f ? x : -40.0f;  // below, the weight is zero
  const float shifted = x * 0x1.715476p0f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // log(2) in two parts, the first one short
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * (r * r) + r) + 1.0f;
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  const float power = std::bit_cast<float>((exponent + 127) << 23);
  // Exact up to the last addition, which rounds to an integer in the low bits of the sum.
  const double rounded = static_cast<double>(p * power) * 0x1p40 + 0x1p52;
  return std::bit_cast<uint64_t>(rounded) - std::bit_cast<uint64_t>(0x1p52);
}

// The natural logarithm to within 2^-50. REQUIRES: x is positive, finite and normal.
constexpr double ExactLog(double x) {
  // x = 2^exponent * m with m in [sqrt(1/2), sqrt(2)); log(m) = 2 artanh(s), s = (m - 1) / (m + 1), by its
  // series.
  constexpr uint64_t kMantissa = (uint64_t{1} << 52) - 1;
  constexpr int kSeriesTerms = 10;  // s^2 < 0.0295; what is left out is below 2^-56
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & kMantissa) | std::bit_cast<uint64_t>(1.0));
  if (m >= 0x1.6a09e667f3bcdp0) {
    m *= 0.5;
    ++exponent;
  }
  const double s = (m - 1) / (m + 1), square = s * s;
  double series = 0;
  for (int i = kSeriesTerms; i > 0; --i) series = (series + 1.0 / (2 * i + 1)) * square;
  return exponent * 0x1.62e42fefa39efp-1 + 2 * s * (1 + series);
}

// The logarithm of what log-probabilities under softmax(x) are divided by; `sum` is of SoftmaxWeight(x -
// largest).
constexpr double LogNormaliser(float largest, uint64_t sum) {
  return static_cast<double>(largest) +
         ExactLog(static_cast<double>(sum) / static_cast<double>(kSoftmaxUnit));
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_SOFTMAX_WEIGHT_H_
