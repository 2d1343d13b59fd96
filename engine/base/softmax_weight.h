// The weights of a softmax as integers: sums are exact, so that they are the same in any order, on any number
// of threads, on a CPU and on a GPU. Whoever samples by these functions chooses the same token everywhere.
//
// Compiled without contraction (-ffp-contract=off, nvcc -fmad=false): every operation is rounded by itself.
//
// How a token is chosen from logits x (after SamplingParams' changes to them; NaN counts as -infinity):
//   largest = max x_i; ties go to the lowest id. Greedy takes it; otherwise
//   w_i    = SoftmaxWeight(x_i, largest, temperature)
//   top_k  keeps the first k tokens by (x descending, id ascending)
//   top_p  of these keeps the shortest beginning whose weights add up to at least PartOfSum(top_p, their sum)
//   min_p  of these keeps tokens with w_i >= min_p * kSoftmaxOne, compared as doubles
//   token  = the lowest id at which the sum of the kept weights up to and including it exceeds
//            PartOfSum(coin, sum of all kept weights)
// A log-probability under softmax(x) is LogProbability(x_i, largest, sum of all weights at temperature 1).
#ifndef ROPEWAY_ENGINE_BASE_SOFTMAX_WEIGHT_H_
#define ROPEWAY_ENGINE_BASE_SOFTMAX_WEIGHT_H_

#include <bit>
#include <cstdint>

namespace ropeway {

// The weight of the likeliest token: 2^40, so that 2^22 tokens fit into 63 bits, and a token is given up only
// when it is 10^12 times less likely than the likeliest.
inline constexpr uint64_t kSoftmaxOne = uint64_t{1} << 40;

// exp(x) * kSoftmaxOne, rounded down, for x <= 0; within 2 units of float32's last place. 0 for NaN.
constexpr uint64_t FixedExp(float x) {
  if (!(x > -28.0f)) return 0;  // exp(-28) < 2^-40
  // x = n ln 2 + r with |r| <= ln 2 / 2; 355 / 512 has so few bits that its product with n is exact.
  const int n = static_cast<int>(x * 1.44269504f - 0.5f);
  const float count = static_cast<float>(n);
  const float r = (x - count * 0.693359375f) + count * 2.12194440e-4f;
  float sum = 1.98756915e-4f;  // exp(r) = 1 + r + r^2 * a polynomial of degree 5
  sum = sum * r + 1.39819994e-3f;
  sum = sum * r + 8.33345179e-3f;
  sum = sum * r + 4.16657955e-2f;
  sum = sum * r + 1.66666654e-1f;
  sum = sum * r + 5.00000012e-1f;
  sum = (sum * (r * r) + r) + 1.0f;
  const float power = std::bit_cast<float>(static_cast<uint32_t>(127 + 40 + n) << 23);  // 2^(40 + n)
  return static_cast<uint64_t>(sum * power);
}

constexpr uint64_t SoftmaxWeight(float logit, float largest, float temperature) {
  return logit >= largest ? kSoftmaxOne : FixedExp((logit - largest) / temperature);
}

// A part of a sum of weights, rounded down; less than `sum` for every part below 1, so that a coin always
// finds a token. REQUIRES: 0 <= part <= 1, sum > 0.
constexpr uint64_t PartOfSum(double part, uint64_t sum) {
  if (part >= 1) return sum;
  const uint64_t scaled = static_cast<uint64_t>(part * static_cast<double>(sum));
  return scaled < sum ? scaled : sum - 1;  // the product of doubles may have been rounded up
}

// ln(sum / kSoftmaxOne), within 1e-12. REQUIRES: sum > 0.
constexpr double FixedLog(uint64_t sum) {
  // sum = mantissa * 2^exponent, mantissa in [0.7, 1.4]; ln m = 2 artanh((m - 1) / (m + 1)).
  const int bits = 63 - std::countl_zero(sum);
  double mantissa = static_cast<double>(sum) / static_cast<double>(uint64_t{1} << bits);
  int exponent = bits - 40;
  if (mantissa > 1.4142135623730951) {
    mantissa *= 0.5;
    ++exponent;
  }
  const double s = (mantissa - 1) / (mantissa + 1), square = s * s;
  double series = 0;
  for (int k = 17; k >= 1; k -= 2) series = series * square + 1.0 / k;
  return exponent * 0.6931471805599453 + 2 * s * series;
}

constexpr float LogProbability(float logit, float largest, uint64_t sum) {
  return static_cast<float>(static_cast<double>(logit) - (static_cast<double>(largest) + FixedLog(sum)));
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_SOFTMAX_WEIGHT_H_
