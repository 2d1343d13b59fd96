// JSON from untrusted files: no duplicate keys, no deep nesting, errors instead of exceptions; and objects
// read field by field, so that none is overlooked.
//
// Thread-compatible.
#ifndef ROPEWAY_ENGINE_MODEL_STRICT_JSON_H_
#define ROPEWAY_ENGINE_MODEL_STRICT_JSON_H_

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "nlohmann/json.hpp"

namespace ropeway {

inline constexpr int kMaxJsonDepth = 32;
inline constexpr size_t kMaxJsonKeyBytes = 1024;

// INVALID_ARGUMENT with the byte or the key that is wrong.
absl::StatusOr<nlohmann::json> ParseStrictJson(absl::string_view text);

// A value for a message, whatever its size and its bytes: ASCII on one line, cut where it is long.
std::string Shown(const nlohmann::json& value);

// Reads the fields of one object and remembers which were asked for. A field that is null counts as absent.
// Errors name `where` and the field.
class JsonFields {
 public:
  // REQUIRES: `object` is an object that outlives this.
  JsonFields(const nlohmann::json& object, std::string where);

  // "where field 'name'"
  std::string NameOf(absl::string_view name) const;

  bool Has(const char* name) const;              // also when null; does not count as asking
  const nlohmann::json* Find(const char* name);  // null when absent
  bool Asked(const char* name) const { return asked_.contains(name); }

  // INVALID_ARGUMENT when absent or of another type. Integers are in [0, 2^31); doubles finite, from
  // integers too.
  absl::StatusOr<int32_t> Int(const char* name);
  absl::StatusOr<double> Double(const char* name);
  absl::StatusOr<std::string> String(const char* name);
  absl::StatusOr<int32_t> IntOr(const char* name, int32_t or_default);
  absl::StatusOr<double> DoubleOr(const char* name, double or_default);
  absl::StatusOr<bool> BoolOr(const char* name, bool or_default);
  absl::StatusOr<std::string> StringOr(const char* name, const char* or_default);

  // UNIMPLEMENTED when a field that says something (null does not) was neither asked for nor is in `ignorable`, listing
  // those that were asked for.
  absl::Status Finish(absl::Span<const absl::string_view> ignorable = {}) const;

 private:
  const nlohmann::json& object_;
  const std::string where_;
  std::set<std::string> asked_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_STRICT_JSON_H_
