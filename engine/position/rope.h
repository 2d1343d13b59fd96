// Rotary position embeddings (Su et al., RoFormer, arXiv:2104.09864): which angles a position turns the pairs
// of a head by, under every frequency rule.
//
// Queries and keys are turned by the same angles before their product, so that a score depends on the
// distance alone. For the pair (a, b) at the angle t = position * frequency, in radians:
//   a' = m (a cos t - b sin t),  b' = m (a sin t + b cos t),  m = the attention factor of the rotation
//
// Pure mathematics; thread-safe. The same bytes on every processor.
#ifndef ROPEWAY_ENGINE_POSITION_ROPE_H_
#define ROPEWAY_ENGINE_POSITION_ROPE_H_

#include <cstdint>
#include <vector>

#include "engine/base/admitted_lengths.h"

namespace ropeway {

enum class RopePairing {
  kHalves,       // pairs (i, i + rotary_dim / 2)
  kInterleaved,  // pairs (2 i, 2 i + 1)
};

// How frequencies w_i = base^(-2 i / rotary_dim) are changed for contexts longer than those of the training.
// f: factor, r: rotary_dim, L0: original_context. ChatGLM's rope_ratio needs no rule of its own: ChatGLM2-32k
// divides positions by it, which is kLinear; ChatGLM3 and GLM-4 multiply the base by it.
enum class RopeScalingKind {
  kNone,
  kLinear,      // w / f: position interpolation (arXiv:2306.15595)
  kNtk,         // base f^(r / (r - 2)): the fastest pair keeps its frequency, the slowest is divided by f
  kDynamicNtk,  // kNtk with f L / L0 - (f - 1) for f, L = max(prompt length, L0)
  kQwen1Ntk,    // kNtk with max(1, 2^ceil(log2(prompt length / L0) + 1) - 1) for f
  kLlama3,      // w / f where the wavelength exceeds L0 / low_freq_factor, w where it is below
                // L0 / high_freq_factor, a blend between (Llama 3.1 model card)
  kYarn,        // a blend of w and w / f by how many turns a pair makes within L0 (arXiv:2309.00071, as its
                // code has it: linear in the index of the pair)
  kLongRope,    // w_i / short_factors_i, or / long_factors_i where prompt and answer may exceed L0 together
                // (arXiv:2402.13753)
};

// Whether a rule changes the base by a factor. Such rules need two pairs or more.
bool IsNtk(RopeScalingKind kind);

// The name of a rule in messages and in config.json of the ropeway architecture.
const char* RopeScalingName(RopeScalingKind kind);

// The rotary embedding of some layers.
struct RopeSpec {
  double base = 10000;
  int rotary_dim = 0;  // even, <= head_dim; the rest of a head passes unrotated
  RopePairing pairing = RopePairing::kHalves;
  RopeScalingKind scaling = RopeScalingKind::kNone;
  double factor = 1;             // linear, NTK, dynamic NTK, Llama-3, YaRN
  double low_freq_factor = 1;    // Llama-3
  double high_freq_factor = 4;   // Llama-3
  int64_t original_context = 0;  // L0 of dynamic NTK, Qwen-1, Llama-3, YaRN, LongRoPE
  double beta_fast = 32;         // YaRN
  double beta_slow = 1;          // YaRN
  // YaRN, LongRoPE with the short list: multiplies cosines and sines; resolved by the reader
  double attention_factor = 1;
  double long_attention_factor = 1;  // the same for LongRoPE's long list
  bool truncate = true;              // YaRN: round the borders of the ramp to whole dimensions
  int turned_pairs = 0;              // pairs from here on stand still (Gemma-4's "proportional"); 0: all turn
  // [rotary_dim / 2] divisors stored in the file (rope_freqs); may be empty
  std::vector<float> frequency_factors;
  std::vector<double> short_factors;  // [rotary_dim / 2] LongRoPE
  std::vector<double> long_factors;   // [rotary_dim / 2] LongRoPE

  bool operator==(const RopeSpec&) const = default;
};

// The one number that a rule takes from a request's lengths: the NTK factor of kDynamicNtk and kQwen1Ntk, 0
// (short) or 1 (long) for kLongRope, 0 for all other rules. Keys rotated under one RopeSpec may be shared by
// two requests only where their choices are equal.
double RopeChoice(const RopeSpec& rope, const AdmittedLengths& lengths);

// Whether RopeChoice depends on the lengths at all.
bool DependsOnLengths(const RopeSpec& rope);

// What a request's queries and keys are turned by.
struct Rotation {
  std::vector<double> frequencies;  // [rotary_dim / 2] radians per position
  double attention_factor = 1;      // multiplies cosines and sines
  // 3D-RPE (rpe3d.h) alone has the following.
  int32_t chunk = 0;      // positions count from the beginning of their chunk; 0: of their sequence
  double phase_base = 0;  // chunk n is turned by pi / 2 - phase_base^-n beside; 0: by nothing

  bool operator==(const Rotation&) const = default;
};
Rotation RotationOf(const RopeSpec& rope, double choice);

// Frequencies of a rule that does not depend on lengths. [rotary_dim / 2]
std::vector<double> RopeFrequencies(const RopeSpec& rope);

// Cosines and sines of position * frequency, each times the attention factor. [n], n = frequencies.size().
// Angles are computed in float64 and reduced modulo 2 pi there.
void RopeAngles(const Rotation& rotation, int32_t position, float* cosines, float* sines);
void RopeAngles(const RopeSpec& rope, const std::vector<double>& frequencies, int32_t position,
                float* cosines, float* sines);

// YaRN's 0.1 * mscale * ln(factor) + 1, and 1 for factors up to 1. Its quotient for (mscale, mscale_all_dim)
// is DeepSeek's attention factor; DeepSeek multiplies the softmax scale by its square for mscale_all_dim.
double YarnMagnitude(double factor, double mscale);

// LongRoPE's sqrt(1 + ln(extension) / ln(original_context)), extension = longest / original context; 1 for
// extensions up to 1. REQUIRES: original_context >= 2
double LongRopeMagnitude(double extension, int64_t original_context);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_ROPE_H_
