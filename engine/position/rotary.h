// What whole queries and keys of a layer are turned by, whichever scheme says so: rotary embeddings (rope.h),
// also as the base of DAPE, and 3D-RPE (rpe3d.h).
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_POSITION_ROTARY_H_
#define ROPEWAY_ENGINE_POSITION_ROTARY_H_

#include <optional>
#include <variant>
#include <vector>

#include "engine/position/position_spec.h"
#include "engine/position/rope.h"

namespace ropeway {

using RotarySpec = std::variant<RopeSpec, Rpe3dSpec>;

std::optional<RotarySpec> RotaryOf(const PositionScheme& scheme);

RopePairing PairingOf(const RotarySpec& rotary);

// Columns of a head that are turned.
int RotaryDimOf(const RotarySpec& rotary, int head_dim);

bool DependsOnLengths(const RotarySpec& rotary);

// As RopeChoice of rope.h; 0 for 3D-RPE.
double RotaryChoice(const RotarySpec& rotary, const AdmittedLengths& lengths);

// Of queries and keys; of chunked 3D-RPE, of keys and of queries for keys of their own zone.
Rotation RotationOf(const RotarySpec& rotary, int head_dim, double choice);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_ROTARY_H_
