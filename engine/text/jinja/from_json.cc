#include "engine/text/jinja/from_json.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/base/utf8.h"
#include "engine/text/template_variables.h"

namespace ropeway::jinja {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<Value> Convert(const Json& json, bool trusted, int depth, Budget& budget);

absl::StatusOr<Value> ConvertText(const std::string& text, bool trusted, Budget& budget) {
  if (const size_t bad = FindInvalidUtf8(text); bad != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("a string is not valid UTF-8 at byte ", bad));
  }
  if (!budget.Allocate(static_cast<int64_t>(text.size() + sizeof(StrBuffer)))) return budget.status();
  return Value(trusted ? Str::Literal(text) : Str::Untrusted(text));
}

absl::StatusOr<Value> ConvertArray(const Json& json, int depth, Budget& budget) {
  std::vector<Value> items;
  for (const Json& item : json) {
    ASSIGN_OR_RETURN(Value value, Convert(item, /*trusted=*/false, depth + 1, budget));
    items.push_back(std::move(value));
  }
  return MakeList(std::move(items), budget);
}

absl::StatusOr<Value> ConvertObject(const Json& json, int depth, Budget& budget) {
  DictBuilder builder(budget);
  for (const auto& [name, item] : json.items()) {
    ASSIGN_OR_RETURN(const Value key, ConvertText(name, /*trusted=*/false, budget));
    ASSIGN_OR_RETURN(Value value, Convert(item, /*trusted=*/false, depth + 1, budget));
    RETURN_IF_ERROR(builder.Set(key, std::move(value)));
  }
  return builder.Build();
}

absl::StatusOr<Value> Convert(const Json& json, bool trusted, int depth, Budget& budget) {
  if (!budget.CheckDepth(depth)) return budget.status();
  switch (json.type()) {
    case Json::value_t::null:
      return Value(None());
    case Json::value_t::boolean:
      return Value(json.get<bool>());
    case Json::value_t::number_integer:
      return Value(Integer(json.get<int64_t>()));
    case Json::value_t::number_unsigned:
      return Value(Integer(json.get<uint64_t>()));
    case Json::value_t::number_float:
      return Value(json.get<double>());
    case Json::value_t::string:
      return ConvertText(json.get_ref<const std::string&>(), trusted, budget);
    case Json::value_t::array:
      return ConvertArray(json, depth, budget);
    case Json::value_t::object:
      return ConvertObject(json, depth, budget);
    case Json::value_t::binary: {
      const auto& digits = json.get_binary();
      const std::optional<Integer> value =
          ParseInteger(std::string_view(reinterpret_cast<const char*>(digits.data()), digits.size()));
      if (digits.subtype() == kBigIntegerSubtype && value.has_value()) return Value(*value);
      break;
    }
    case Json::value_t::discarded:
      break;
  }
  return absl::InvalidArgumentError("not a JSON value");
}

}  // namespace

absl::StatusOr<Value> FromJson(const nlohmann::ordered_json& json, bool trusted, Budget& budget) {
  return Convert(json, trusted, /*depth=*/0, budget);
}

}  // namespace ropeway::jinja
