// Sinusoidal positions (Vaswani et al., arXiv:1706.03762, section 3.5), added to the embeddings.
//
// With t = position + offset, k = 0 .. D / 2 - 1 and w_k radians per position, fastest first:
//   interleaved    PE[2 k] = sin(t w_k), PE[2 k + 1] = cos(t w_k)        w_k = base^(-2 k / D)
//   concat         PE[k] = sin(t w_k), PE[D / 2 + k] = cos(t w_k)        w_k = base^(-2 k / D)
//   tensor2tensor  as concat, with                                       w_k = base^(-k / (D / 2 - 1))
// Transformer-XL has the second, tensor2tensor and fairseq the third. A checkpoint needs the layout it was
// trained with.
//
// Pure; thread-safe. The same bytes on every processor.
#ifndef ROPEWAY_ENGINE_POSITION_SINUSOIDAL_H_
#define ROPEWAY_ENGINE_POSITION_SINUSOIDAL_H_

#include <cstdint>
#include <vector>

#include "engine/position/position_spec.h"

namespace ropeway {

// w_k in radians per position. [width / 2]
// REQUIRES: width even, and at least 4 for tensor2tensor
std::vector<double> SinusoidalFrequencies(const SinusoidalSpec& spec, int32_t width);

// The vector of one position. out: [2 n], n = frequencies.size()
void SinusoidalVector(const SinusoidalSpec& spec, const std::vector<double>& frequencies, int32_t position,
                      float* out);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_SINUSOIDAL_H_
