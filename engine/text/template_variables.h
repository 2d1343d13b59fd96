// Reads the variables of a chat template from JSON text, nothing lost: the order of keys is kept, integers
// stay apart from floats, and integers beyond 64 bits stay exact.
#ifndef ROPEWAY_ENGINE_TEXT_TEMPLATE_VARIABLES_H_
#define ROPEWAY_ENGINE_TEXT_TEMPLATE_VARIABLES_H_

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace ropeway {

// An integer beyond 64 bits is a binary value of this subtype that holds its decimal digits, since
// ordered_json has no other place for it. Such values have at most 127 bits.
inline constexpr uint64_t kBigIntegerSubtype = 0x4249;

// INVALID_ARGUMENT with the byte where `text` is not JSON, or for nesting deeper than `max_depth`. Of a key
// that occurs twice the last value counts, at the place of the first. An integer beyond 127 bits becomes a
// float.
absl::StatusOr<nlohmann::ordered_json> ParseTemplateVariables(std::string_view text, int max_depth = 200);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_TEMPLATE_VARIABLES_H_
