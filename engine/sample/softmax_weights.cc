#include "engine/sample/softmax_weights.h"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace ropeway {
namespace {

// Integers in the order of the floats that have these bits, NaNs beyond the infinities.
int32_t OrderedBits(float x) {
  const int32_t bits = std::bit_cast<int32_t>(x);
  return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

float FromOrderedBits(int32_t ordered) {
  return std::bit_cast<float>(ordered ^ ((ordered >> 31) & 0x7FFFFFFF));
}

}  // namespace

std::optional<Peak> FindPeak(absl::Span<const float> logits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  int32_t least = std::numeric_limits<int32_t>::max();
  int32_t most = std::numeric_limits<int32_t>::min();
  for (const float x : logits) {
    const int32_t ordered = OrderedBits(x);
    least = std::min(least, ordered);
    most = std::max(most, ordered);
  }
  if (least < OrderedBits(-kInfinity) || most >= OrderedBits(kInfinity) || most <= OrderedBits(-kInfinity)) {
    return std::nullopt;
  }
  // As a float again, since zeros of both signs are equal.
  const float largest = FromOrderedBits(most);
  const auto first = std::find(logits.begin(), logits.end(), largest);
  return Peak{.logit = largest, .id = static_cast<TokenId>(first - logits.begin())};
}

uint64_t SumWeights(absl::Span<const float> logits, float largest, float scale) {
  uint64_t sum = 0;
  for (const float x : logits) sum += Weight((x - largest) * scale);
  return sum;
}

// x = 2^exponent * m with m in [sqrt(1/2), sqrt(2)), and log(m) = 2 artanh(s), s = (m - 1) / (m + 1), by its
// series.
double NaturalLog(double x) {
  constexpr double kLog2 = 0x1.62e42fefa39efp-1;
  constexpr double kSqrt2 = 0x1.6a09e667f3bcdp0;
  constexpr uint64_t kMantissa = (uint64_t{1} << 52) - 1;
  constexpr int kSeriesTerms = 10;  // s^2 < 0.0295; what is left out is below 2^-56
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & kMantissa) | std::bit_cast<uint64_t>(1.0));
  if (m >= kSqrt2) {
    m *= 0.5;
    ++exponent;
  }
  const double s = (m - 1) / (m + 1);
  const double square = s * s;
  double series = 0;
  for (int i = kSeriesTerms; i > 0; --i) series = (series + 1.0 / (2 * i + 1)) * square;
  return exponent * kLog2 + 2 * s * (1 + series);
}

}  // namespace ropeway
