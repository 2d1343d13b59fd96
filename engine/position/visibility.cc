#include "engine/position/visibility.h"

#include <algorithm>
#include <limits>

namespace ropeway {

int32_t FirstVisible(const PositionSpec& spec, int32_t position) {
  if (spec.window > 0) return std::max(0, position - (spec.window - 1));
  if (spec.chunk > 0) return position - position % spec.chunk;
  return 0;
}

int32_t LastToSee(const PositionSpec& spec, int32_t position) {
  constexpr int32_t kAll = std::numeric_limits<int32_t>::max();
  int64_t last = kAll;
  if (spec.window > 0) last = int64_t{position} + spec.window - 1;
  if (spec.chunk > 0) last = int64_t{position} - position % spec.chunk + spec.chunk - 1;
  return static_cast<int32_t>(std::min<int64_t>(last, kAll));
}

}  // namespace ropeway
