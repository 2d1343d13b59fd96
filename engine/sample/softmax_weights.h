// The arithmetic of probabilities, the same on every machine and in every order of summation.
//
// A token's weight is its probability relative to the likeliest token's, as an integer multiple of 2^-40:
//
//   weight(logit) = round_to_even(2^40 * exp((logit - largest) * scale)),   scale = 1 / temperature
//
// Sums of weights are sums of integers, so that blocks, threads and devices may add them in any order. 2^23
// tokens fit into 63 bits. A token less likely than 2^-41 of the likeliest has no weight and is never drawn.
// What a device has to do to get the same bits: float32 with rounding to nearest, each operation rounded by
// itself (no fused multiply-add), in the order in which Weight() writes them.
#ifndef ROPEWAY_ENGINE_SAMPLE_SOFTMAX_WEIGHTS_H_
#define ROPEWAY_ENGINE_SAMPLE_SOFTMAX_WEIGHTS_H_

#include <bit>
#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "engine/api/token.h"

namespace ropeway {

inline constexpr uint64_t kUnitWeight = uint64_t{1} << 40;  // of the likeliest token

// Below it the weight is zero.
inline constexpr float kLeastExponent = -40;

// round(2^40 * exp(x)); exactly kUnitWeight for 0. Relative error of exp below 2^-22. Written without
// branches, for loops over vocabularies. REQUIRES: x <= 0, perhaps -infinity.
inline uint64_t Weight(float x) {
  // exp(x) = 2^n * exp(r), |r| <= log(2) / 2. Adding 1.5 * 2^23 rounds to an integer, left in the low bits.
  constexpr float kRound = 0x1.8p23F;
  x = x > kLeastExponent ? x : kLeastExponent;
  const float shifted = x * 0x1.715476p0F + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375F) - n * -2.12194440e-4F;  // log(2) in two parts, the first one short
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = (p * (r * r) + r) + 1.0F;
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  const float power = std::bit_cast<float>((exponent + 127) << 23);
  // Exact up to the last addition, which rounds to an integer in the low bits of the sum.
  const double rounded = static_cast<double>(p * power) * 0x1p40 + 0x1p52;
  return std::bit_cast<uint64_t>(rounded) - std::bit_cast<uint64_t>(0x1p52);
}

// The likeliest token, of the lowest id among equals.
struct Peak {
  float logit = 0;
  TokenId id = 0;
};

// None where a logit is NaN or +infinity, or where none is above -infinity: such logits say nothing.
std::optional<Peak> FindPeak(absl::Span<const float> logits);

// The weights of all logits, added up.
uint64_t SumWeights(absl::Span<const float> logits, float largest, float scale);

// The natural logarithm to within 2^-50, the same on every machine. REQUIRES: x is positive, finite and
// normal.
double NaturalLog(double x);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SAMPLE_SOFTMAX_WEIGHTS_H_
