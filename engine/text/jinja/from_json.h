// Variables of a request as values of a template.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_FROM_JSON_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_FROM_JSON_H_

#include "absl/status/statusor.h"
#include "engine/text/jinja/value.h"
#include "nlohmann/json.hpp"

namespace ropeway::jinja {

// Strings become trusted or untrusted as said, keys included; those inside of arrays and objects are always
// untrusted. INVALID_ARGUMENT for a string that is not valid UTF-8 and for nesting or size beyond the budget.
absl::StatusOr<Value> FromJson(const nlohmann::ordered_json& json, bool trusted, Budget& budget);

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_FROM_JSON_H_
