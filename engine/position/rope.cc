#include "engine/position/rope.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

#include "engine/base/check.h"
#include "engine/position/portable_math.h"

namespace ropeway {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

// base^(-2 i / r).
double PlainFrequency(double base, int pair, int rotary_dim) { return Power(base, -2.0 * pair / rotary_dim); }

// base * factor^(r / (r - 2)).
double NtkBase(const RopeSpec& rope, double factor) {
  return rope.base * Power(factor, rope.rotary_dim / (rope.rotary_dim - 2.0));
}

// The NTK factor of Qwen-1: 2^(e + 1) - 1 for the smallest e >= 0 with prompt length <= 2^e original_context.
double Qwen1Factor(int64_t prompt_length, int64_t original_context) {
  double reach = static_cast<double>(original_context), factor = 1;
  while (reach < static_cast<double>(prompt_length)) reach *= 2, factor = 2 * factor + 1;
  return factor;
}

double DynamicFactor(const RopeSpec& rope, int64_t prompt_length) {
  const double original = static_cast<double>(rope.original_context),
               length = std::max(static_cast<double>(prompt_length), original);
  return rope.factor * length / original - (rope.factor - 1);
}

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
  return rope.rotary_dim * Logarithm(static_cast<double>(rope.original_context) / (turns * kTwoPi)) /
         (2 * Logarithm(rope.base));
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

double ScaledFrequency(const RopeSpec& rope, double choice, int pair) {
  const double ntk_factor = rope.scaling == RopeScalingKind::kNtk ? rope.factor : choice;
  const double frequency =
      PlainFrequency(IsNtk(rope.scaling) ? NtkBase(rope, ntk_factor) : rope.base, pair, rope.rotary_dim);
  switch (rope.scaling) {
    case RopeScalingKind::kNone:
    case RopeScalingKind::kNtk:
    case RopeScalingKind::kDynamicNtk:
    case RopeScalingKind::kQwen1Ntk:
      return frequency;
    case RopeScalingKind::kLinear:
      return frequency / rope.factor;
    case RopeScalingKind::kLlama3:
      return Llama3Frequency(rope, frequency);
    case RopeScalingKind::kYarn: {
      const double keep = YarnKeep(rope, pair);
      return frequency / rope.factor * (1 - keep) + frequency * keep;
    }
    case RopeScalingKind::kLongRope:
      return frequency / (choice == 0 ? rope.short_factors : rope.long_factors)[pair];
  }
  return frequency;
}

}  // namespace

bool IsNtk(RopeScalingKind kind) {
  return kind == RopeScalingKind::kNtk || kind == RopeScalingKind::kDynamicNtk ||
         kind == RopeScalingKind::kQwen1Ntk;
}

const char* RopeScalingName(RopeScalingKind kind) {
  switch (kind) {
    case RopeScalingKind::kNone:
      return "none";
    case RopeScalingKind::kLinear:
      return "linear";
    case RopeScalingKind::kNtk:
      return "ntk";
    case RopeScalingKind::kDynamicNtk:
      return "dynamic";
    case RopeScalingKind::kQwen1Ntk:
      return "dynamic_qwen1";
    case RopeScalingKind::kLlama3:
      return "llama3";
    case RopeScalingKind::kYarn:
      return "yarn";
    case RopeScalingKind::kLongRope:
      return "longrope";
  }
  return "unknown";
}

double RopeChoice(const RopeSpec& rope, const AdmittedLengths& lengths) {
  switch (rope.scaling) {
    case RopeScalingKind::kDynamicNtk:
      return DynamicFactor(rope, lengths.prompt_length);
    case RopeScalingKind::kQwen1Ntk:
      return Qwen1Factor(lengths.prompt_length, rope.original_context);
    case RopeScalingKind::kLongRope:
      return int64_t{lengths.prompt_length} + lengths.max_new_tokens > rope.original_context ? 1 : 0;
    default:
      return 0;
  }
}

bool DependsOnLengths(const RopeSpec& rope) {
  return rope.scaling == RopeScalingKind::kDynamicNtk || rope.scaling == RopeScalingKind::kQwen1Ntk ||
         rope.scaling == RopeScalingKind::kLongRope;
}

Rotation RotationOf(const RopeSpec& rope, double choice) {
  const int pairs = rope.rotary_dim / 2, turned = rope.turned_pairs == 0 ? pairs : rope.turned_pairs;
  const bool is_long = rope.scaling == RopeScalingKind::kLongRope && choice != 0;
  Rotation rotation{.frequencies = std::vector<double>(pairs),
                    .attention_factor = is_long ? rope.long_attention_factor : rope.attention_factor};
  for (int i = 0; i < std::min(pairs, turned); ++i) {
    rotation.frequencies[i] = ScaledFrequency(rope, choice, i);
    if (!rope.frequency_factors.empty()) rotation.frequencies[i] /= rope.frequency_factors[i];
  }
  return rotation;
}

std::vector<double> RopeFrequencies(const RopeSpec& rope) {
  return RotationOf(rope, RopeChoice(rope, {})).frequencies;
}

void RopeAngles(const Rotation& rotation, int32_t position, float* cosines, float* sines) {
  const int32_t chunk = rotation.chunk == 0 ? 0 : position / rotation.chunk,
                place = position - chunk * rotation.chunk;
  const double phase = rotation.phase_base == 0
                           ? 0
                           : std::numbers::pi / 2 - Power(rotation.phase_base, -static_cast<double>(chunk));
  for (size_t i = 0; i < rotation.frequencies.size(); ++i) {
    const SineCosine turned = SineCosineOf(place * rotation.frequencies[i] + phase);
    cosines[i] = static_cast<float>(turned.cosine * rotation.attention_factor);
    sines[i] = static_cast<float>(turned.sine * rotation.attention_factor);
  }
}

void RopeAngles(const RopeSpec& rope, const std::vector<double>& frequencies, int32_t position,
                float* cosines, float* sines) {
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const SineCosine turned = SineCosineOf(position * frequencies[i]);
    cosines[i] = static_cast<float>(turned.cosine * rope.attention_factor);
    sines[i] = static_cast<float>(turned.sine * rope.attention_factor);
  }
}

double YarnMagnitude(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * Logarithm(factor) + 1.0;
}

double LongRopeMagnitude(double extension, int64_t original_context) {
  ROPEWAY_DCHECK(original_context >= 2);
  if (extension <= 1) return 1;
  return std::sqrt(1 + Logarithm(extension) / Logarithm(static_cast<double>(original_context)));
}

}  // namespace ropeway
