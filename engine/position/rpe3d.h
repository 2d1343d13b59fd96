// 3D-RPE (Ma et al., AAAI 2025, arXiv:2406.09897), experimental. The paper and its code are different things:
//
//   Definition 1   Positions fall into chunks of c. The token at place m of chunk n is turned, in every pair
//                  p of the head (halves), by m w_p / pi_factor + pi / 2 - phi_base^-n. w_p = base^(-2 p / d)
//   chunked        The released code, a variant of Dual Chunk Attention with zones of L = chunk_size -
//                  local_window: keys are turned by (j mod L) w_p. Queries are turned in three ways; the zone
//                  of the key says which: n = i div L
//                    its own             (i mod L) w_p
//                    the one before      min(i mod L + L, chunk_size) w_p
//                    an older one        min(2 L - 1, chunk_size) w_p + phi_base^-(n - 1)
// Angles in radians. With its own values of phi, Definition 1 cannot tell chunks from the second on apart:
// nothing is claimed about quality.
//
// Pure; thread-safe. The same bytes on every processor.
#ifndef ROPEWAY_ENGINE_POSITION_RPE3D_H_
#define ROPEWAY_ENGINE_POSITION_RPE3D_H_

#include <cstdint>

#include "engine/position/position_spec.h"
#include "engine/position/rope.h"

namespace ropeway {

// Definition 1: of queries and keys. Chunked: of keys, and of queries for keys of their own zone.
Rotation Rpe3dRotation(const Rpe3dSpec& spec, int head_dim);

// The chunked form of a scheme; null where it is another.
const Rpe3dSpec* ChunkedRpe3dOf(const PositionScheme& scheme);

// L of the chunked form.
int32_t Rpe3dZone(const Rpe3dSpec& spec);

enum class Rpe3dKeyZone { kBefore, kOlder };

// Cosines and sines of a query of the chunked form, for keys of other zones than its own. [n], n =
// rotation.frequencies.size(); rotation: of Rpe3dRotation
void Rpe3dQueryAngles(const Rpe3dSpec& spec, const Rotation& rotation, Rpe3dKeyZone zone, int32_t position,
                      float* cosines, float* sines);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_RPE3D_H_
