#include "engine/position/position_spec.h"

namespace ropeway {

const RopeSpec* RopeOf(const PositionScheme& scheme) {
  if (const auto* dape = std::get_if<DapeSpec>(&scheme)) return std::get_if<RopeSpec>(&dape->base);
  return std::get_if<RopeSpec>(&scheme);
}

bool IsRotary(const PositionScheme& scheme) {
  if (const auto* rpe3d = std::get_if<Rpe3dSpec>(&scheme)) return rpe3d->form == Rpe3dForm::kDefinition1;
  return RopeOf(scheme) != nullptr;
}

}  // namespace ropeway
