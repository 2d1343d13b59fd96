#include "engine/position/rpe3d.h"

#include <algorithm>
#include <cstddef>
#include <variant>

#include "engine/position/portable_math.h"

namespace ropeway {

Rotation Rpe3dRotation(const Rpe3dSpec& spec, int head_dim) {
  Rotation rotation = RotationOf({.base = spec.base, .rotary_dim = head_dim}, 0);
  if (spec.form == Rpe3dForm::kChunked) {
    rotation.chunk = Rpe3dZone(spec);
    return rotation;
  }
  for (double& frequency : rotation.frequencies) frequency /= spec.pi_factor;
  rotation.chunk = spec.chunk_size;
  rotation.phase_base = spec.phi_base;
  return rotation;
}

const Rpe3dSpec* ChunkedRpe3dOf(const PositionScheme& scheme) {
  const auto* rpe3d = std::get_if<Rpe3dSpec>(&scheme);
  return rpe3d != nullptr && rpe3d->form == Rpe3dForm::kChunked ? rpe3d : nullptr;
}

int32_t Rpe3dZone(const Rpe3dSpec& spec) { return spec.chunk_size - spec.local_window; }

void Rpe3dQueryAngles(const Rpe3dSpec& spec, const Rotation& rotation, Rpe3dKeyZone zone, int32_t position,
                      float* cosines, float* sines) {
  const int32_t length = Rpe3dZone(spec), index = position / length;
  const bool older = zone == Rpe3dKeyZone::kOlder;
  const int64_t place = std::min<int64_t>(
      older ? 2 * int64_t{length} - 1 : int64_t{position % length} + length, spec.chunk_size);
  // A query that has no older zone needs no phase, and none is defined.
  const double phase = older && index >= 2 ? Power(spec.phi_base, 1.0 - index) : 0;
  for (size_t i = 0; i < rotation.frequencies.size(); ++i) {
    const SineCosine turned = SineCosineOf(static_cast<double>(place) * rotation.frequencies[i] + phase);
    cosines[i] = static_cast<float>(turned.cosine);
    sines[i] = static_cast<float>(turned.sine);
  }
}

}  // namespace ropeway
