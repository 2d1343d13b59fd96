#include "engine/position/sinusoidal.h"

#include <cstddef>

#include "engine/base/check.h"
#include "engine/position/portable_math.h"

namespace ropeway {

std::vector<double> SinusoidalFrequencies(const SinusoidalSpec& spec, int32_t width) {
  const int32_t pairs = width / 2;
  ROPEWAY_DCHECK(width % 2 == 0);
  ROPEWAY_DCHECK(spec.layout != SinusoidalLayout::kTensor2Tensor || pairs >= 2);
  std::vector<double> frequencies(pairs);
  for (int32_t k = 0; k < pairs; ++k) {
    const double exponent =
        spec.layout == SinusoidalLayout::kTensor2Tensor ? k / (pairs - 1.0) : 2.0 * k / width;
    frequencies[k] = Power(spec.base, -exponent);
  }
  return frequencies;
}

void SinusoidalVector(const SinusoidalSpec& spec, const std::vector<double>& frequencies, int32_t position,
                      float* out) {
  const size_t pairs = frequencies.size();
  const double t = static_cast<double>(position) + spec.offset;
  for (size_t k = 0; k < pairs; ++k) {
    const SineCosine turned = SineCosineOf(t * frequencies[k]);
    const bool interleaved = spec.layout == SinusoidalLayout::kInterleaved;
    out[interleaved ? 2 * k : k] = static_cast<float>(turned.sine);
    out[interleaved ? 2 * k + 1 : pairs + k] = static_cast<float>(turned.cosine);
  }
}

}  // namespace ropeway
