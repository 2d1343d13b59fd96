#include "engine/model/strict_json.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

// Sees the text go by before any value is made: finds what a parser would accept and forget.
class Checker final : public nlohmann::json_sax<Json> {
 public:
  const absl::Status& status() const { return status_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return Enter(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool end_array() override { return Leave(); }
  bool key(string_t& name) override {
    if (name.size() > kMaxJsonKeyBytes)
      return Fail(absl::StrCat("a key may have ", kMaxJsonKeyBytes, " bytes, has ", name.size()));
    if (keys_.back().insert(name).second) return true;
    return Fail(absl::StrCat("key '", name, "' appears twice"));
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Fail(absl::StrCat("not valid JSON at byte ", position));
  }

 private:
  bool Enter() {
    keys_.emplace_back();
    return keys_.size() <= kMaxJsonDepth ||
           Fail(absl::StrCat("JSON may be nested ", kMaxJsonDepth, " deep, is deeper"));
  }
  bool Leave() {
    keys_.pop_back();
    return true;
  }
  bool Fail(const std::string& message) {
    status_ = absl::InvalidArgumentError(message);
    return false;
  }

  absl::Status status_;
  std::vector<absl::flat_hash_set<std::string>> keys_;  // of every object or array that is open
};

}  // namespace

absl::StatusOr<Json> ParseStrictJson(absl::string_view text) {
  Checker checker;
  if (!Json::sax_parse(text.begin(), text.end(), &checker)) return checker.status();
  return Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

std::string Shown(const Json& value) {
  constexpr size_t kMaxShown = 80;
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  if (text.size() > kMaxShown) text = text.substr(0, kMaxShown) + "...";
  return text;
}

JsonFields::JsonFields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
  ROPEWAY_CHECK(object.is_object());
}

std::string JsonFields::NameOf(absl::string_view name) const {
  return absl::StrCat(where_, " field '", name, "'");
}

bool JsonFields::Has(const char* name) const { return object_.contains(name); }

const Json* JsonFields::Find(const char* name) {
  asked_.insert(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

absl::StatusOr<int32_t> JsonFields::Int(const char* name) {
  const Json* value = Find(name);
  if (value == nullptr) return absl::InvalidArgumentError(absl::StrCat(NameOf(name), " is missing"));
  if (!value->is_number_unsigned() || value->get<uint64_t>() > INT32_MAX)
    return absl::InvalidArgumentError(
        absl::StrCat(NameOf(name), " must be an integer in [0, 2^31), is ", Shown(*value)));
  return value->get<int32_t>();
}

absl::StatusOr<double> JsonFields::Double(const char* name) {
  const Json* value = Find(name);
  if (value == nullptr) return absl::InvalidArgumentError(absl::StrCat(NameOf(name), " is missing"));
  if (!value->is_number() || !std::isfinite(value->get<double>()))
    return absl::InvalidArgumentError(absl::StrCat(NameOf(name), " must be a number, is ", Shown(*value)));
  return value->get<double>();
}

absl::StatusOr<std::string> JsonFields::String(const char* name) {
  const Json* value = Find(name);
  if (value == nullptr) return absl::InvalidArgumentError(absl::StrCat(NameOf(name), " is missing"));
  if (!value->is_string())
    return absl::InvalidArgumentError(absl::StrCat(NameOf(name), " must be a string, is ", Shown(*value)));
  return value->get<std::string>();
}

absl::StatusOr<int32_t> JsonFields::IntOr(const char* name, int32_t or_default) {
  if (Find(name) == nullptr) return or_default;
  return Int(name);
}

absl::StatusOr<double> JsonFields::DoubleOr(const char* name, double or_default) {
  if (Find(name) == nullptr) return or_default;
  return Double(name);
}

absl::StatusOr<bool> JsonFields::BoolOr(const char* name, bool or_default) {
  const Json* value = Find(name);
  if (value == nullptr) return or_default;
  if (!value->is_boolean())
    return absl::InvalidArgumentError(
        absl::StrCat(NameOf(name), " must be true or false, is ", Shown(*value)));
  return value->get<bool>();
}

absl::StatusOr<std::string> JsonFields::StringOr(const char* name, const char* or_default) {
  if (Find(name) == nullptr) return or_default;
  return String(name);
}

absl::Status JsonFields::Finish(absl::Span<const absl::string_view> ignorable) const {
  for (const auto& item : object_.items()) {
    if (item.value().is_null() || asked_.contains(item.key())) continue;
    if (std::find(ignorable.begin(), ignorable.end(), item.key()) != ignorable.end()) continue;
    return absl::UnimplementedError(absl::StrCat(
        NameOf(item.key()), " is not supported and may change what the model computes; supported are ",
        absl::StrJoin(asked_, ", ")));
  }
  return absl::OkStatus();
}

}  // namespace ropeway
