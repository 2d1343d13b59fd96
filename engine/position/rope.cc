#include "engine/position/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ropeway {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

double Llama3Frequency(const RopeSpec& rope, double frequency) {
  const double wavelength = kTwoPi / frequency, context = static_cast<double>(rope.original_context);
  if (wavelength < context / rope.high_freq_factor) return frequency;
  if (wavelength > context / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth =
      (context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

// The pair that makes `turns` turns within the original context, as a real number.
double YarnPair(const RopeSpec& rope, double turns) {
  return rope.rotary_dim * std::log(static_cast<double>(rope.original_context) / (turns * kTwoPi)) /
         (2 * std::log(rope.base));
}

// 1 where a pair keeps its frequency, 0 where it is divided by the factor.
double YarnKeep(const RopeSpec& rope, int pair) {
  double low = YarnPair(rope, rope.beta_fast), high = YarnPair(rope, rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rope.rotary_dim - 1));
  if (low == high) high += 0.001;
  return 1 - std::clamp((pair - low) / (high - low), 0.0, 1.0);
}

double ScaledFrequency(const RopeSpec& rope, int pair, double frequency) {
  switch (rope.scaling) {
    case RopeScalingKind::kNone:
      return frequency;
    case RopeScalingKind::kLinear:
      return frequency / rope.factor;
    case RopeScalingKind::kLlama3:
      return Llama3Frequency(rope, frequency);
    case RopeScalingKind::kYarn: {
      const double keep = YarnKeep(rope, pair);
      return frequency / rope.factor * (1 - keep) + frequency * keep;
    }
  }
  return frequency;
}

// Sine and cosine by explicit operations, since those of the C library may differ between processors.
// Taylor's series after reduction to [-pi / 4, pi / 4] in two steps; error below 1e-15 for angles up to 1e8.
struct SineCosine {
  double sine, cosine;
};
SineCosine SineCosineOf(double angle) {
  constexpr double kHalfPiHigh = 0x1.921fb54442d18p+0, kHalfPiLow = 0x1.1a62633145c07p-54;
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

}  // namespace

std::vector<double> RopeFrequencies(const RopeSpec& rope) {
  std::vector<double> frequencies(rope.rotary_dim / 2);
  for (int i = 0; i < rope.rotary_dim / 2; ++i) {
    const double plain = std::pow(rope.base, -2.0 * i / rope.rotary_dim);
    frequencies[i] = ScaledFrequency(rope, i, plain);
    if (!rope.frequency_factors.empty()) frequencies[i] /= rope.frequency_factors[i];
  }
  return frequencies;
}

void RopeAngles(const RopeSpec& rope, const std::vector<double>& frequencies, int32_t position,
                float* cosines, float* sines) {
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const SineCosine turned = SineCosineOf(position * frequencies[i]);
    cosines[i] = static_cast<float>(turned.cosine * rope.attention_factor);
    sines[i] = static_cast<float>(turned.sine * rope.attention_factor);
  }
}

}  // namespace ropeway
