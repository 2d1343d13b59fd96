#include "engine/position/position_spec.h"

#include <iterator>

namespace ropeway {

const char* PositionSchemeName(const PositionScheme& scheme) {
  constexpr const char* kNames[] = {"nope",           "sinusoidal", "learned", "shaw",  "t5",
                                    "transformer_xl", "rope",       "rpe3d",   "alibi", "kerple",
                                    "fire",           "sandwich",   "dape"};
  static_assert(std::size(kNames) == std::variant_size_v<PositionScheme>);
  return kNames[scheme.index()];
}

const RopeSpec* RopeOf(const PositionScheme& scheme) { return SchemeOrBase<RopeSpec>(scheme); }

bool IsRotary(const PositionScheme& scheme) {
  if (const auto* rpe3d = std::get_if<Rpe3dSpec>(&scheme)) return rpe3d->form == Rpe3dForm::kDefinition1;
  return RopeOf(scheme) != nullptr;
}

}  // namespace ropeway
