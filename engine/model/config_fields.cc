#include "engine/model/config_fields.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/model/strict_json.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

const Json& NoFields() {
  static const Json& empty = *new Json(Json::object());
  return empty;
}

}  // namespace

absl::Status ConfigError(absl::string_view path, absl::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", reason));
}

ConfigFields::ConfigFields(const Json& object, std::string path)
    : object_(object.is_object() ? object : NoFields()), path_(std::move(path)) {
  if (!object.is_object()) first_error_ = ConfigError(path_, "must be an object");
}

std::string ConfigFields::PathOf(absl::string_view name) const {
  return path_.empty() ? std::string(name) : absl::StrCat(path_, ".", name);
}

bool ConfigFields::Contains(const char* name) const { return object_.contains(name); }

bool ConfigFields::Has(const char* name) const {
  const auto found = object_.find(name);
  return found != object_.end() && !found->is_null();
}

const Json* ConfigFields::Find(const char* name) {
  asked_.insert(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const Json* ConfigFields::Required(const char* name) {
  const Json* value = Find(name);
  if (value == nullptr) Fail(name, Contains(name) ? "must not be null" : "missing");
  return value;
}

const Json* ConfigFields::Present(const char* name) {
  const Json* value = Find(name);
  if (value == nullptr && Contains(name)) Fail(name, "must not be null");
  return value;
}

int32_t ConfigFields::IntOf(const Json* value, const char* name, const IntRange& range) {
  if (value == nullptr) return range.least;
  if (!value->is_number_integer()) {
    Fail(name, absl::StrCat("must be an integer, is ", Shown(*value)));
    return range.least;
  }
  // Unsigned numbers that int64 cannot hold are too large for every range.
  const int64_t number =
      value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX ? INT64_MAX : value->get<int64_t>();
  if (number < range.least) Fail(name, absl::StrCat(Shown(*value), " is below ", range.least));
  if (number > range.most) Fail(name, absl::StrCat(Shown(*value), " is above ", range.most));
  return static_cast<int32_t>(std::clamp<int64_t>(number, range.least, range.most));
}

double ConfigFields::NumberOf(const Json* value, const char* name, const NumberRange& range) {
  constexpr double kAllowed = 1;
  if (value == nullptr) return kAllowed;
  if (!value->is_number() || !std::isfinite(value->get<double>())) {
    Fail(name, absl::StrCat("must be a finite number, is ", Shown(*value)));
    return kAllowed;
  }
  const double number = value->get<double>();
  if (number < range.least) Fail(name, absl::StrCat(Shown(*value), " is below ", range.least));
  if (number <= range.above) Fail(name, absl::StrCat(Shown(*value), " must be above ", range.above));
  return number;
}

int32_t ConfigFields::Int(const char* name, const IntRange& range) {
  return IntOf(Required(name), name, range);
}

double ConfigFields::Number(const char* name, const NumberRange& range) {
  return NumberOf(Required(name), name, range);
}

std::vector<double> ConfigFields::Numbers(const char* name) {
  const Json* value = Required(name);
  std::vector<double> numbers;
  if (value == nullptr) return numbers;
  if (!value->is_array() || value->empty()) {
    Fail(name, absl::StrCat("must be a list of numbers, is ", Shown(*value)));
    return numbers;
  }
  for (const Json& entry : *value) numbers.push_back(NumberOf(&entry, name, {.above = 0}));
  return numbers;
}

int32_t ConfigFields::IntOr(const char* name, int32_t or_default, const IntRange& range) {
  const Json* value = Present(name);
  return value == nullptr ? or_default : IntOf(value, name, range);
}

double ConfigFields::NumberOr(const char* name, double or_default, const NumberRange& range) {
  const Json* value = Present(name);
  return value == nullptr ? or_default : NumberOf(value, name, range);
}

bool ConfigFields::BoolOr(const char* name, bool or_default) {
  const Json* value = Present(name);
  if (value == nullptr) return or_default;
  if (value->is_boolean()) return value->get<bool>();
  Fail(name, absl::StrCat("must be true or false, is ", Shown(*value)));
  return or_default;
}

std::optional<int32_t> ConfigFields::MaybeInt(const char* name, const IntRange& range) {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  return IntOf(value, name, range);
}

std::optional<double> ConfigFields::MaybeNumber(const char* name, const NumberRange& range) {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  return NumberOf(value, name, range);
}

int ConfigFields::Choice(const char* name, absl::Span<const absl::string_view> choices,
                         std::optional<int> or_default) {
  const Json* value = or_default ? Present(name) : Required(name);
  if (value == nullptr) return or_default.value_or(0);
  if (!value->is_string()) {
    Fail(name, absl::StrCat("must be a string, is ", Shown(*value)));
    return or_default.value_or(0);
  }
  const auto found = std::find(choices.begin(), choices.end(), value->get_ref<const std::string&>());
  if (found != choices.end()) return static_cast<int>(found - choices.begin());
  Fail(name, absl::StrCat(Shown(*value), " is none of ", absl::StrJoin(choices, ", ")));
  return or_default.value_or(0);
}

void ConfigFields::Fail(const char* name, absl::string_view reason) {
  Take(ConfigError(PathOf(name), reason));
}

void ConfigFields::Check(bool condition, const char* name, absl::string_view reason) {
  if (!condition) Fail(name, reason);
}

void ConfigFields::Take(const absl::Status& status) { first_error_.Update(status); }

absl::Status ConfigFields::Finish() const {
  for (const auto& item : object_.items()) {
    if (asked_.contains(item.key())) continue;
    const auto type = object_.find("type");
    const bool has_type = asked_.contains("type") && type != object_.end() && type->is_string();
    return ConfigError(PathOf(absl::Utf8SafeCHexEscape(item.key())),
                       has_type ? absl::StrCat("unknown field of type ", Shown(*type)) : "unknown field");
  }
  return first_error_;
}

}  // namespace ropeway
