#include "engine/position/rotary.h"

#include "engine/position/rpe3d.h"

namespace ropeway {

std::optional<RotarySpec> RotaryOf(const PositionScheme& scheme) {
  if (const RopeSpec* rope = RopeOf(scheme)) return *rope;
  if (const auto* rpe3d = std::get_if<Rpe3dSpec>(&scheme)) return *rpe3d;
  return std::nullopt;
}

RopePairing PairingOf(const RotarySpec& rotary) {
  const auto* rope = std::get_if<RopeSpec>(&rotary);
  return rope == nullptr ? RopePairing::kHalves : rope->pairing;
}

int RotaryDimOf(const RotarySpec& rotary, int head_dim) {
  const auto* rope = std::get_if<RopeSpec>(&rotary);
  return rope == nullptr ? head_dim : rope->rotary_dim;
}

bool DependsOnLengths(const RotarySpec& rotary) {
  const auto* rope = std::get_if<RopeSpec>(&rotary);
  return rope != nullptr && DependsOnLengths(*rope);
}

double RotaryChoice(const RotarySpec& rotary, const AdmittedLengths& lengths) {
  const auto* rope = std::get_if<RopeSpec>(&rotary);
  return rope == nullptr ? 0 : RopeChoice(*rope, lengths);
}

Rotation RotationOf(const RotarySpec& rotary, int head_dim, double choice) {
  if (const auto* rope = std::get_if<RopeSpec>(&rotary)) return RotationOf(*rope, choice);
  return Rpe3dRotation(std::get<Rpe3dSpec>(rotary), head_dim);
}

}  // namespace ropeway
