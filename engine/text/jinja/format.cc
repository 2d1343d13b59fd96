#include "engine/text/jinja/format.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/text_operations.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

constexpr int64_t kMaxPrecision = 400;  // digits beyond those that a double has are zeros

// "1234567" with a mark between groups of digits.
std::string Group(std::string_view digits, char mark, size_t group) {
  std::string result;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % group == 0) result += mark;
    result += digits[i];
  }
  return result;
}

// Digits of a finite number's magnitude in the notation of field.type.
std::string FloatDigits(double magnitude, const FieldFormat& field) {
  const int64_t precision = std::min(field.precision < 0 ? 6 : field.precision, kMaxPrecision);
  const auto digits = static_cast<int>(precision);
  switch (field.type) {
    case 'e':
      return absl::StrFormat("%.*e", digits, magnitude);
    case 'E':
      return absl::StrFormat("%.*E", digits, magnitude);
    case 'f':
    case 'F':
      return absl::StrFormat("%.*f", digits, magnitude);
    case 'G':
      return absl::StrFormat("%.*G", digits, magnitude);
    case '%':
      return absl::StrFormat("%.*f%%", digits, magnitude * 100);
    case 'g':
      return absl::StrFormat("%.*g", digits, magnitude);
    default:
      break;
  }
  if (field.precision < 0) return ToString(magnitude);
  std::string text = absl::StrFormat("%.*g", digits, magnitude);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

absl::StatusOr<std::string> IntegerDigits(Integer magnitude, const FieldFormat& field) {
  switch (field.type) {
    case 0:
    case 'd':
    case 'i':
    case 'u':
    case 'n':
      return ToString(magnitude);
    case 'x':
      return ToString(magnitude, 16);
    case 'X':
      return absl::AsciiStrToUpper(ToString(magnitude, 16));
    case 'o':
      return ToString(magnitude, 8);
    case 'b':
      return ToString(magnitude, 2);
    default:
      return ValueError(
          absl::StrCat("Unknown format code '", std::string(1, field.type), "' for object of type 'int'"));
  }
}

std::string Prefix(const FieldFormat& field) {
  const bool has_prefix = field.type == 'x' || field.type == 'X' || field.type == 'o' || field.type == 'b';
  if (!field.alternate || !has_prefix) return "";
  return absl::StrCat("0", std::string(1, field.type));
}

bool IsFloatType(char type) {
  return type != 0 && std::string_view("eEfFgG%").find(type) != std::string_view::npos;
}

}  // namespace

Str FormatText(const Str& text, const FieldFormat& field, Budget& budget) {
  Str cut = text;
  const auto length = static_cast<int64_t>(CountCodePoints(text));
  int64_t shown = length;
  if (field.precision >= 0 && field.precision < length) {
    shown = field.precision;
    cut = text.Slice(0, OffsetOf(text, static_cast<size_t>(shown)));
  }
  const int64_t padding = std::max<int64_t>(0, field.width - shown);
  const int64_t left = field.align == '>' ? padding : field.align == '^' ? padding / 2 : 0;
  return Pad(cut, field.fill.empty() ? Str::Literal(" ") : field.fill, left, padding - left, budget);
}

absl::StatusOr<Str> FormatNumber(const Value& number, const FieldFormat& field, Budget& budget) {
  std::string digits;
  bool negative = false;
  const std::optional<Integer> integer = number.AsIndex();
  if (integer.has_value() && !IsFloatType(field.type)) {
    negative = *integer < 0;
    ASSIGN_OR_RETURN(digits, IntegerDigits(negative ? -*integer : *integer, field));
  } else {
    const double* given = number.AsFloat();
    if (given != nullptr && field.type != 0 && !IsFloatType(field.type)) {
      return ValueError(
          absl::StrCat("Unknown format code '", std::string(1, field.type), "' for object of type 'float'"));
    }
    const double value = given != nullptr ? *given : static_cast<double>(*integer);
    negative = std::signbit(value);
    digits = FloatDigits(std::abs(value), field);
  }
  if (field.grouping != 0) {
    const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
    const bool decimal = field.type == 0 || field.type == 'd' || IsFloatType(field.type);
    digits = Group(std::string_view(digits).substr(0, whole), field.grouping, decimal ? 3 : 4) +
             digits.substr(whole);
  }
  std::string sign = negative ? "-" : field.sign == '-' ? "" : std::string(1, field.sign);
  sign += Prefix(field);
  const int64_t padding =
      std::max<int64_t>(0, field.width - static_cast<int64_t>(sign.size() + digits.size()));
  const Str fill = field.fill.empty() ? Str::Literal(" ") : field.fill;
  StrBuilder out(budget);
  const int64_t left = field.align == '<' ? 0 : field.align == '^' ? padding / 2 : padding;
  if (field.align != '=') out.Repeat(fill, left);
  out.AppendTrusted(sign);
  if (field.align == '=') out.Repeat(fill, left);
  out.AppendTrusted(digits);
  out.Repeat(fill, padding - left);
  return out.Build();
}

}  // namespace ropeway::jinja
