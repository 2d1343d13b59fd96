// The one-line error of a number that is out of its range.
#ifndef ROPEWAY_ENGINE_BASE_IN_RANGE_H_
#define ROPEWAY_ENGINE_BASE_IN_RANGE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace ropeway {

// INVALID_ARGUMENT naming field, bounds and value where `value` is not in [least, most].
inline absl::Status InRange(absl::string_view field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " must be in [", least, ", ", most, "], is ", value));
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_IN_RANGE_H_
