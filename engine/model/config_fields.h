// The objects of a config.json whose every field is named by its path: "positions[2].scaling.factor".
//
// A reader asks for all fields of an object and then for its status. What was wrong first is remembered, so
// that reading needs no branches; a field nobody asked for comes before all else. Values that were wrong or
// missing read as the default or as the least value allowed.
//
// Thread-compatible.
#ifndef ROPEWAY_ENGINE_MODEL_CONFIG_FIELDS_H_
#define ROPEWAY_ENGINE_MODEL_CONFIG_FIELDS_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "nlohmann/json.hpp"

namespace ropeway {

// Integers of a config are at most so large, where no range says less.
inline constexpr int32_t kMaxConfigInt = 1 << 24;

// INVALID_ARGUMENT "path: reason".
absl::Status ConfigError(absl::string_view path, absl::string_view reason);

struct IntRange {
  int32_t least = 0, most = kMaxConfigInt;
};
struct NumberRange {
  double above = 0;  // not allowed itself
  double least = -std::numeric_limits<double>::infinity();
};

class ConfigFields {
 public:
  // A value that is no object is an error. `object` outlives this.
  ConfigFields(const nlohmann::json& object, std::string path);

  const std::string& path() const { return path_; }
  // "path.name", or "name" at the top.
  std::string PathOf(absl::string_view name) const;

  // Neither counts as asking.
  bool Contains(const char* name) const;  // also when null
  bool Has(const char* name) const;       // and not null

  // Required: absent or null is an error.
  int32_t Int(const char* name, const IntRange& range);
  double Number(const char* name, const NumberRange& range);
  std::vector<double> Numbers(const char* name);  // all above 0, at least one

  // With a default; null is an error.
  int32_t IntOr(const char* name, int32_t or_default, const IntRange& range);
  double NumberOr(const char* name, double or_default, const NumberRange& range = {});
  bool BoolOr(const char* name, bool or_default);

  // Whose default is null.
  std::optional<int32_t> MaybeInt(const char* name, const IntRange& range);
  std::optional<double> MaybeNumber(const char* name, const NumberRange& range = {});

  // One of several names: its index; 0 after an error. Without a default the field is required.
  int Choice(const char* name, absl::Span<const absl::string_view> choices,
             std::optional<int> or_default = std::nullopt);

  // The value itself; null where it is absent or null.
  const nlohmann::json* Find(const char* name);

  // Remembers an error, or that of an object inside this one.
  void Fail(const char* name, absl::string_view reason);
  void Check(bool condition, const char* name, absl::string_view reason);
  void Take(const absl::Status& status);

  // What was wrong so far, unknown fields apart.
  const absl::Status& status() const { return first_error_; }

  // What was wrong. REQUIRES: all fields were asked for.
  absl::Status Finish() const;

 private:
  // The value of a field; null and an error where it is absent or null.
  const nlohmann::json* Required(const char* name);
  // The value of a field that has a default; null where it is absent, with an error where it is null.
  const nlohmann::json* Present(const char* name);
  int32_t IntOf(const nlohmann::json* value, const char* name, const IntRange& range);
  double NumberOf(const nlohmann::json* value, const char* name, const NumberRange& range);

  const nlohmann::json& object_;
  const std::string path_;
  std::set<std::string> asked_;
  absl::Status first_error_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_CONFIG_FIELDS_H_
