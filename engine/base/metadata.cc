#include "engine/base/metadata.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

template <typename T>
constexpr const char* kTypeName = "";
template <>
constexpr const char* kTypeName<bool> = "a bool";
template <>
constexpr const char* kTypeName<int64_t> = "an integer";
template <>
constexpr const char* kTypeName<double> = "a float";
template <>
constexpr const char* kTypeName<std::string> = "a string";
template <>
constexpr const char* kTypeName<std::vector<bool>> = "an array of bools";
template <>
constexpr const char* kTypeName<std::vector<int64_t>> = "an array of integers";
template <>
constexpr const char* kTypeName<std::vector<double>> = "an array of floats";
template <>
constexpr const char* kTypeName<std::vector<std::string>> = "an array of strings";

std::string NameOf(const MetadataValue& value) {
  return std::visit([](const auto& v) { return std::string(kTypeName<std::decay_t<decltype(v)>>); }, value);
}

template <typename T>
absl::StatusOr<const T*> Get(const Metadata& metadata, std::string_view key) {
  const MetadataValue* value = metadata.Find(key);
  const absl::string_view name(key.data(), key.size());
  if (value == nullptr) return absl::NotFoundError(absl::StrCat("metadata key '", name, "' is missing"));
  if (const T* typed = std::get_if<T>(value)) return typed;
  return absl::InvalidArgumentError(
      absl::StrCat("metadata key '", name, "' must be ", kTypeName<T>, ", is ", NameOf(*value)));
}

}  // namespace

absl::Status Metadata::Add(std::string key, MetadataValue value) {
  if (values_.contains(key))
    return absl::AlreadyExistsError(absl::StrCat("metadata key '", key, "' appears twice"));
  keys_.push_back(key);
  values_.emplace(std::move(key), std::move(value));
  return absl::OkStatus();
}

const MetadataValue* Metadata::Find(std::string_view key) const {
  const auto found = values_.find(absl::string_view(key.data(), key.size()));
  return found == values_.end() ? nullptr : &found->second;
}

absl::StatusOr<bool> Metadata::GetBool(std::string_view key) const {
  ASSIGN_OR_RETURN(const bool* value, Get<bool>(*this, key));
  return *value;
}

absl::StatusOr<int64_t> Metadata::GetInt(std::string_view key) const {
  ASSIGN_OR_RETURN(const int64_t* value, Get<int64_t>(*this, key));
  return *value;
}

absl::StatusOr<double> Metadata::GetDouble(std::string_view key) const {
  if (const MetadataValue* value = Find(key); value != nullptr && std::holds_alternative<int64_t>(*value))
    return static_cast<double>(std::get<int64_t>(*value));
  ASSIGN_OR_RETURN(const double* value, Get<double>(*this, key));
  return *value;
}

absl::StatusOr<std::string> Metadata::GetString(std::string_view key) const {
  ASSIGN_OR_RETURN(const std::string* value, Get<std::string>(*this, key));
  return *value;
}

absl::StatusOr<const std::vector<std::string>*> Metadata::GetStrings(std::string_view key) const {
  return Get<std::vector<std::string>>(*this, key);
}

absl::StatusOr<const std::vector<int64_t>*> Metadata::GetInts(std::string_view key) const {
  return Get<std::vector<int64_t>>(*this, key);
}

absl::StatusOr<const std::vector<double>*> Metadata::GetDoubles(std::string_view key) const {
  return Get<std::vector<double>>(*this, key);
}

absl::StatusOr<const std::vector<bool>*> Metadata::GetBools(std::string_view key) const {
  return Get<std::vector<bool>>(*this, key);
}

}  // namespace ropeway
