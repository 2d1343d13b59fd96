// Filters of numbers and of any value.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/arguments.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/filters.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/print.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Result Default(Interpreter&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"default_value", "boolean"}));
  const bool missing = self.IsUndefined() || (bound.TruthyOr(1, false) && !Truthy(self));
  if (!missing) return self;
  return bound[0] == nullptr ? Value(Str()) : *bound[0];
}

Result LengthFilter(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  if (const Str* text = self.AsStr()) interpreter.budget().Work(static_cast<int64_t>(text->size()));
  ASSIGN_OR_RETURN(const Integer length, Length(self));
  return Value(length);
}

Result String(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  return Value(ToText(self, interpreter.budget()));
}

Result Safe(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  return Value(ToText(self, interpreter.budget()).WithMarkup(true));
}

Result EscapeFilter(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  return Value(Escape(ToText(self, interpreter.budget()), interpreter.budget()));
}

Result ForceEscape(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  return Value(Escape(ToText(self, interpreter.budget()).WithMarkup(false), interpreter.budget()));
}

// What int() and float() read: surrounded by white space, with underscores between digits.
std::string NumberText(const Str& text) {
  const Str stripped = StripSpace(text, Side::kBoth);
  std::string digits;
  const std::string_view view = stripped.view();
  for (size_t i = 0; i < view.size(); ++i) {
    const bool joins = view[i] == '_' && i > 0 && i + 1 < view.size() && absl::ascii_isalnum(view[i - 1]) &&
                       absl::ascii_isalnum(view[i + 1]);
    if (!joins) digits += view[i];
  }
  return digits;
}

std::optional<Integer> TextToInteger(const Str& text, int base) {
  std::string digits = NumberText(text);
  std::string_view view = digits;
  const bool is_signed = !view.empty() && (view[0] == '-' || view[0] == '+');
  const std::string_view prefix = view.substr(is_signed ? 1 : 0, 2);
  const bool has_prefix = (base == 16 && (prefix == "0x" || prefix == "0X")) ||
                          (base == 8 && (prefix == "0o" || prefix == "0O")) ||
                          (base == 2 && (prefix == "0b" || prefix == "0B"));
  if (has_prefix) digits.erase(is_signed ? 1 : 0, 2);
  return ParseInteger(digits, base);
}

Result IntFilter(Interpreter&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"default", "base"}));
  ASSIGN_OR_RETURN(const Integer base, bound.IntegerOr(1, 10));
  if (base < 2 || base > 36) return ValueError("int() base must be >= 2 and <= 36");
  if (const Undefined* undefined = self.AsUndefined()) return UndefinedError(*undefined);
  if (const auto index = self.AsIndex()) return Value(*index);
  std::optional<double> number;
  if (const double* value = self.AsFloat()) number = *value;
  if (const Str* text = self.AsStr()) {
    if (const auto integer = TextToInteger(*text, static_cast<int>(base))) return Value(*integer);
    number = ParseDouble(NumberText(*text));
  }
  if (number.has_value() && !std::isnan(*number)) {
    const std::optional<Integer> whole = Truncate(*number);
    if (!whole.has_value()) return ValueError("cannot convert the number to an integer of at most 127 bits");
    return Value(*whole);
  }
  return bound[0] == nullptr ? Value(0) : *bound[0];
}

Result FloatFilter(Interpreter&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"default"}));
  if (const Undefined* undefined = self.AsUndefined()) return UndefinedError(*undefined);
  if (const double* value = self.AsFloat()) return Value(*value);
  if (const auto index = self.AsIndex()) return Value(static_cast<double>(*index));
  if (const Str* text = self.AsStr()) {
    if (const auto number = ParseDouble(NumberText(*text))) return Value(*number);
  }
  return bound[0] == nullptr ? Value(0.0) : *bound[0];
}

Result Absolute(Interpreter&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  if (const double* value = self.AsFloat()) return Value(std::abs(*value));
  const auto integer = self.AsIndex();
  if (!integer.has_value())
    return TypeError(absl::StrCat("bad operand type for abs(): '", std::string(TypeName(self)), "'"));
  return Value(*integer < 0 ? -*integer : *integer);
}

Result Round(Interpreter&, const Value& self, const Arguments& arguments) {
  constexpr int64_t kMaxPrecision = 300;
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"precision", "method"}));
  ASSIGN_OR_RETURN(const Integer given, bound.IntegerOr(0, 0));
  ASSIGN_OR_RETURN(const Str method, bound.TextOr(1, Str::Literal("common")));
  const auto precision = static_cast<int>(std::clamp<Integer>(given, -kMaxPrecision, kMaxPrecision));
  const auto integer = self.AsIndex();
  if (!integer.has_value() && !self.AsFloat()) {
    return TypeError(absl::StrCat("type ", std::string(TypeName(self)), " doesn't define __round__ method"));
  }
  const double value = integer.has_value() ? static_cast<double>(*integer) : *self.AsFloat();
  if (method.view() == "ceil" || method.view() == "floor") {
    const double scale = std::pow(10.0, precision);
    return Value((method.view() == "ceil" ? std::ceil(value * scale) : std::floor(value * scale)) / scale);
  }
  if (method.view() != "common") return ValueError("method must be common, ceil or floor");
  if (integer.has_value() && precision >= 0) return Value(*integer);
  if (precision < 0) {
    const double scale = std::pow(10.0, -precision);
    const double rounded = std::nearbyint(value / scale) * scale;
    if (!integer.has_value()) return Value(rounded);
    return Value(Truncate(rounded).value_or(*integer));
  }
  return Value(*ParseDouble(absl::StrFormat("%.*f", precision, value)));
}

// Separators, the two of json.dumps() or a pair.
absl::Status ReadSeparators(const Value* given, JsonFormat& format) {
  format.item_separator = Str::Literal(format.indent.has_value() ? "," : ", ");
  format.key_separator = Str::Literal(": ");
  if (given == nullptr || given->IsNone()) return absl::OkStatus();
  const Sequence* pair = given->AsSequence();
  if (pair == nullptr || pair->items.size() != 2 || !pair->items[0].AsStr() || !pair->items[1].AsStr()) {
    return TypeError("separators must be two strings");
  }
  format.item_separator = *pair->items[0].AsStr();
  format.key_separator = *pair->items[1].AsStr();
  return absl::OkStatus();
}

Result ToJsonFilter(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound,
                   BoundArguments::Bind(arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonFormat format;
  format.ensure_ascii = bound.TruthyOr(0, false);
  format.sort_keys = bound.TruthyOr(3, false);
  if (bound[1] != nullptr && bound[1]->AsStr()) {
    format.indent = *bound[1]->AsStr();
  } else if (bound[1] != nullptr && !bound[1]->IsNone()) {
    ASSIGN_OR_RETURN(const Integer width, bound.IntegerOr(1, 0));
    StrBuilder spaces(interpreter.budget());
    spaces.Repeat(Str::Literal(" "), Clamp64(width));
    format.indent = spaces.Build();
  }
  RETURN_IF_ERROR(ReadSeparators(bound[2], format));
  ASSIGN_OR_RETURN(Str json, ToJson(self, format, interpreter.budget()));
  return Value(std::move(json));
}

constexpr NamedNative kFilters[] = {
    {"default", Default},     {"d", Default},
    {"length", LengthFilter}, {"count", LengthFilter},
    {"string", String},       {"safe", Safe},
    {"escape", EscapeFilter}, {"e", EscapeFilter},
    {"tojson", ToJsonFilter}, {"forceescape", ForceEscape},
    {"int", IntFilter},       {"float", FloatFilter},
    {"abs", Absolute},        {"round", Round},
};

}  // namespace

Native FindValueFilter(std::string_view name) { return FindNative(kFilters, name); }

bool IsMissingFilter(std::string_view name) {
  constexpr std::string_view kMissing[] = {"pprint", "random", "urlize", "wordwrap", "xmlattr"};
  return std::find(std::begin(kMissing), std::end(kMissing), name) != std::end(kMissing);
}

Native FindFilter(std::string_view name) {
  if (const Native filter = FindTextFilter(name)) return filter;
  if (const Native filter = FindListFilter(name)) return filter;
  if (const Native filter = FindMarkupFilter(name)) return filter;
  return FindValueFilter(name);
}

}  // namespace ropeway::jinja
