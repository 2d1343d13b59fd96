#include "engine/text/hf/json_fields.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"
#include "engine/text/template_variables.h"

namespace ropeway::hf {

absl::StatusOr<JsonFields> JsonFields::Of(const Json& json, std::string path) {
  if (!json.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " must be an object, is of type ", json.type_name()));
  }
  return JsonFields(json, std::move(path));
}

const Json* JsonFields::Find(std::string_view key) const {
  const auto found = json_->find(std::string(key));
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

absl::StatusOr<bool> JsonFields::BoolOr(std::string_view key, bool or_default) const {
  const Json* value = Find(key);
  if (value == nullptr) return or_default;
  if (!value->is_boolean()) return Invalid(key, "must be true or false");
  return value->get<bool>();
}

absl::StatusOr<int64_t> JsonFields::IntOr(std::string_view key, int64_t or_default) const {
  const Json* value = Find(key);
  if (value == nullptr) return or_default;
  const bool fits = value->is_number_integer() &&
                    (!value->is_number_unsigned() || value->get<uint64_t>() <= uint64_t{INT64_MAX});
  if (!fits) return Invalid(key, "must be an integer of 64 bits");
  return value->get<int64_t>();
}

absl::StatusOr<std::string> JsonFields::StringOr(std::string_view key, std::string_view or_default) const {
  const Json* value = Find(key);
  if (value == nullptr) return std::string(or_default);
  if (!value->is_string()) return Invalid(key, "must be a string");
  return value->get<std::string>();
}

absl::StatusOr<std::string> JsonFields::String(std::string_view key) const {
  if (Find(key) == nullptr) return Invalid(key, "is missing");
  return StringOr(key, "");
}

absl::StatusOr<JsonFields> JsonFields::Object(std::string_view key) const {
  const Json* value = Find(key);
  if (value == nullptr) return Invalid(key, "is missing");
  return Of(*value, PathOf(key));
}

absl::StatusOr<const Json*> JsonFields::Array(std::string_view key) const {
  const Json* value = Find(key);
  if (value == nullptr) return Invalid(key, "is missing");
  if (!value->is_array()) return Invalid(key, "must be an array");
  return value;
}

absl::StatusOr<std::vector<JsonFields>> JsonFields::Objects(std::string_view key) const {
  ASSIGN_OR_RETURN(const Json* array, Array(key));
  std::vector<JsonFields> objects;
  for (const Json& item : *array) {
    ASSIGN_OR_RETURN(JsonFields fields, Of(item, absl::StrCat(PathOf(key), "[", objects.size(), "]")));
    objects.push_back(std::move(fields));
  }
  return objects;
}

std::string JsonFields::PathOf(std::string_view key) const {
  return key.empty() ? path_
                     : absl::StrCat(path_, path_.find(": ") == path_.npos ? ": " : ".", Printable(key));
}

absl::Status JsonFields::Invalid(std::string_view key, std::string_view message) const {
  return absl::InvalidArgumentError(absl::StrCat(PathOf(key), " ", std::string(message)));
}

absl::Status JsonFields::Unsupported(std::string_view key, std::string_view message) const {
  return absl::UnimplementedError(absl::StrCat(PathOf(key), " ", std::string(message)));
}

absl::Status JsonFields::UnknownValue(std::string_view key, std::string_view value,
                                      std::string_view known) const {
  return Unsupported(key, absl::StrCat("is '", Printable(value), "', which is not supported; supported are ",
                                       std::string(known)));
}

absl::StatusOr<Json> ParseJsonFile(std::string_view text, std::string_view file) {
  constexpr int kMaxDepth = 64;
  absl::StatusOr<Json> json = ParseTemplateVariables(text, kMaxDepth);
  if (json.ok()) return json;
  return absl::InvalidArgumentError(absl::StrCat(std::string(file), ": ", json.status().message()));
}

}  // namespace ropeway::hf
