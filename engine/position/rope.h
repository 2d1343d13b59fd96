// Rotary position embeddings: which angles a position turns the pairs of a head by.
//
// Pure mathematics; thread-safe.
#ifndef ROPEWAY_ENGINE_POSITION_ROPE_H_
#define ROPEWAY_ENGINE_POSITION_ROPE_H_

#include <cstdint>
#include <vector>

namespace ropeway {

enum class RopePairing {
  kHalves,       // pairs (i, i + rotary_dim / 2)
  kInterleaved,  // pairs (2 i, 2 i + 1)
};

enum class RopeScalingKind { kNone, kLinear, kLlama3, kYarn };

// The rotary embedding of some layers. Frequencies are base^(-2 i / rotary_dim), changed by the scaling.
struct RopeSpec {
  double base = 10000;
  int rotary_dim = 0;  // even, <= head_dim; the rest of a head passes unrotated
  RopePairing pairing = RopePairing::kHalves;
  RopeScalingKind scaling = RopeScalingKind::kNone;
  double factor = 1;             // linear, Llama-3, YaRN
  double low_freq_factor = 1;    // Llama-3
  double high_freq_factor = 4;   // Llama-3
  int64_t original_context = 0;  // Llama-3, YaRN
  double beta_fast = 32;         // YaRN
  double beta_slow = 1;          // YaRN
  double attention_factor = 1;   // YaRN: multiplies cosines and sines; resolved by the reader
  bool truncate = true;          // YaRN: round the borders of the ramp to whole dimensions
  std::vector<float>
      frequency_factors;  // [rotary_dim / 2] divisors stored in the file (rope_freqs); may be empty

  bool operator==(const RopeSpec&) const = default;
};

// Radians per position of each pair, [rotary_dim / 2]: base^(-2 i / rotary_dim) under the scaling. Formulas:
// linear divides by factor; Llama-3 divides long wavelengths, keeps short ones and blends between (Llama 3.1
// model card); YaRN blends by how many turns a pair makes within the original context (arXiv:2309.00071,
// section 3.2).
std::vector<double> RopeFrequencies(const RopeSpec& rope);

// Cosines and sines of position * frequency, each times the attention factor. [n], n = frequencies.size().
// The same bytes on every processor.
void RopeAngles(const RopeSpec& rope, const std::vector<double>& frequencies, int32_t position,
                float* cosines, float* sines);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_ROPE_H_
