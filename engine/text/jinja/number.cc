#include "engine/text/jinja/number.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace ropeway::jinja {
namespace {

using Unsigned = absl::uint128;

// The lowest value is left out, so that every Integer can be negated.
constexpr Integer kMaxInteger = std::numeric_limits<Integer>::max();

Unsigned Magnitude(Integer value) { return static_cast<Unsigned>(value < 0 ? -value : value); }

std::optional<Integer> WithSign(Unsigned magnitude, bool negative) {
  if (magnitude > static_cast<Unsigned>(kMaxInteger)) return std::nullopt;
  const auto value = static_cast<Integer>(magnitude);
  return negative ? -value : value;
}

}  // namespace

std::optional<Integer> Add(Integer left, Integer right) {
  if (right > 0 ? left > kMaxInteger - right : left < -kMaxInteger - right) return std::nullopt;
  return left + right;
}

std::optional<Integer> Subtract(Integer left, Integer right) { return Add(left, -right); }

std::optional<Integer> Multiply(Integer left, Integer right) {
  if (left == 0 || right == 0) return Integer(0);
  const Unsigned a = Magnitude(left);
  const Unsigned b = Magnitude(right);
  if (a > static_cast<Unsigned>(kMaxInteger) / b) return std::nullopt;
  return WithSign(a * b, (left < 0) != (right < 0));
}

std::optional<Integer> Power(Integer base, Integer exponent) {
  if (base == 0 || base == 1) return exponent == 0 ? Integer(1) : base;
  if (base == -1) return exponent % 2 == 0 ? Integer(1) : base;
  if (exponent > 127) return std::nullopt;
  std::optional<Integer> result = 1;
  for (Integer i = 0; i < exponent && result.has_value(); ++i) result = Multiply(*result, base);
  return result;
}

Integer FloorDivide(Integer dividend, Integer divisor) {
  const Integer quotient = dividend / divisor;
  const bool rounded_up = dividend % divisor != 0 && (dividend < 0) != (divisor < 0);
  return rounded_up ? quotient - 1 : quotient;
}

Integer FloorModulo(Integer dividend, Integer divisor) {
  const Integer rest = dividend % divisor;
  return rest != 0 && (rest < 0) != (divisor < 0) ? rest + divisor : rest;
}

double FloorModulo(double dividend, double divisor) {
  const double rest = std::fmod(dividend, divisor);
  if (rest == 0) return std::copysign(0.0, divisor);
  return (rest < 0) != (divisor < 0) ? rest + divisor : rest;
}

std::partial_ordering Compare(Integer left, double right) {
  if (std::isnan(right)) return std::partial_ordering::unordered;
  if (right >= 0x1p127) return std::partial_ordering::less;
  if (right <= -0x1p127) return std::partial_ordering::greater;
  const double whole = std::trunc(right);
  const auto integer = static_cast<Integer>(whole);
  if (left != integer) return left < integer ? std::partial_ordering::less : std::partial_ordering::greater;
  return 0.0 <=> right - whole;
}

std::optional<Integer> ParseInteger(std::string_view text, int base) {
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty()) return std::nullopt;
  Unsigned magnitude = 0;
  for (const char c : text) {
    int digit = base;
    if (absl::ascii_isdigit(c)) digit = c - '0';
    if (absl::ascii_isalpha(c)) digit = absl::ascii_tolower(c) - 'a' + 10;
    if (digit >= base) return std::nullopt;
    if (magnitude > (static_cast<Unsigned>(kMaxInteger) - digit) / base) return std::nullopt;
    magnitude = magnitude * base + digit;
  }
  return WithSign(magnitude, negative);
}

std::optional<Integer> Truncate(double value) {
  if (!(std::abs(value) < 0x1p127)) return std::nullopt;
  return static_cast<Integer>(std::trunc(value));
}

std::optional<double> ParseDouble(std::string_view text) {
  double value = 0;
  // SimpleAtod would take hexadecimal too.
  if (text.find_first_of("xX") != std::string_view::npos) return std::nullopt;
  if (!absl::SimpleAtod(absl::string_view(text.data(), text.size()), &value)) return std::nullopt;
  return value;
}

int64_t Clamp64(Integer value) {
  constexpr int64_t kLow = std::numeric_limits<int64_t>::min();
  constexpr int64_t kHigh = std::numeric_limits<int64_t>::max();
  if (value < kLow) return kLow;
  if (value > kHigh) return kHigh;
  return static_cast<int64_t>(value);
}

std::string ToString(Integer value, int base) {
  std::string digits;
  Unsigned rest = Magnitude(value);
  do {
    digits += "0123456789abcdefghijklmnopqrstuvwxyz"[static_cast<int>(rest % base)];
    rest /= base;
  } while (rest != 0);
  if (value < 0) digits += '-';
  std::reverse(digits.begin(), digits.end());
  return digits;
}

std::string ToString(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto scientific =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  const std::string_view text(buffer, static_cast<size_t>(scientific.ptr - buffer));
  const int exponent = std::atoi(std::string(text.substr(text.find('e') + 1)).c_str());
  if (exponent < -4 || exponent >= 16) return std::string(text);
  const auto fixed = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::fixed);
  std::string result(buffer, static_cast<size_t>(fixed.ptr - buffer));
  if (result.find('.') == std::string::npos) result += ".0";
  return result;
}

}  // namespace ropeway::jinja
