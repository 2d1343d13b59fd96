#include "server/config/setting_value.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/base/status_macros.h"
#include "engine/position/rope_override.h"
#include "server/net/address.h"

namespace ropeway::server {
namespace {

constexpr size_t kMaxQuotedBytes = 200;
constexpr size_t kMinSecretBytes = 16;

// Takes digits off the front; whether there were any.
bool ConsumeDigits(absl::string_view& text) {
  const size_t digits = std::find_if_not(text.begin(), text.end(), absl::ascii_isdigit) - text.begin();
  text.remove_prefix(digits);
  return digits > 0;
}

bool IsWholeNumber(absl::string_view text) {
  absl::ConsumePrefix(&text, "-");
  return ConsumeDigits(text) && text.empty();
}

// Digits, perhaps with a sign, a point and an exponent.
bool IsDecimal(absl::string_view text) {
  absl::ConsumePrefix(&text, "-");
  bool any = ConsumeDigits(text);
  if (absl::ConsumePrefix(&text, ".")) any |= ConsumeDigits(text);
  if (!any) return false;
  if (!absl::ConsumePrefix(&text, "e") && !absl::ConsumePrefix(&text, "E")) return text.empty();
  if (!absl::ConsumePrefix(&text, "-")) absl::ConsumePrefix(&text, "+");
  return ConsumeDigits(text) && text.empty();
}

template <typename T>
absl::Status ParseWhole(absl::string_view text, T& value) {
  if (!IsWholeNumber(text)) return absl::InvalidArgumentError("a whole number");
  if (!absl::SimpleAtoi(text, &value)) return absl::OutOfRangeError("a whole number");
  return absl::OkStatus();
}

}  // namespace

absl::Status ParseValue(absl::string_view text, int32_t& value) { return ParseWhole(text, value); }

absl::Status ParseValue(absl::string_view text, int64_t& value) { return ParseWhole(text, value); }

absl::Status ParseValue(absl::string_view text, double& value) {
  if (!IsDecimal(text)) return absl::InvalidArgumentError("a decimal number");
  if (!absl::SimpleAtod(text, &value) || !std::isfinite(value))
    return absl::OutOfRangeError("a decimal number");
  return absl::OkStatus();
}

absl::Status ParseValue(absl::string_view text, absl::Duration& value) {
  double seconds = 0;
  if (const absl::Status number = ParseValue(text, seconds); !absl::IsInvalidArgument(number)) {
    value = absl::Seconds(seconds);
    return number;
  }
  const bool finite = absl::ParseDuration(text, &value) && value < absl::InfiniteDuration() &&
                      value > -absl::InfiniteDuration();
  return finite ? absl::OkStatus() : absl::InvalidArgumentError("a duration such as \"30s\"");
}

std::string FormatValue(int64_t value) { return absl::StrCat(value); }

// Enough digits that a value out of its range is told as such.
std::string FormatValue(double value) {
  for (int digits = 6;; ++digits) {
    char text[40];
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    double back = 0;
    if (digits >= std::numeric_limits<double>::max_digits10 || !absl::SimpleAtod(text, &back) ||
        back == value)
      return text;
  }
}

std::string FormatValue(absl::Duration value) {
  return value == absl::ZeroDuration() ? "0s" : absl::FormatDuration(value);
}

absl::Status CheckPath(absl::string_view text) {
  if (std::none_of(text.begin(), text.end(), absl::ascii_iscntrl)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("must be a path without control characters, is ", Quoted(text)));
}

absl::Status CheckName(absl::string_view text) {
  if (std::all_of(text.begin(), text.end(), absl::ascii_isprint)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("must be printable ASCII, is ", Quoted(text)));
}

absl::Status CheckSecret(absl::string_view text) {
  if (text.size() >= kMinSecretBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("must be at least ", kMinSecretBytes, " bytes, is ", text.size()));
}

absl::Status CheckAddress(absl::string_view text) {
  const absl::StatusOr<Address> address = ParseAddress(text);
  if (address.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("must be HOST:PORT, is ", Quoted(text), ": ", address.status().message()));
}

absl::Status CheckRopeScaling(absl::string_view text) { return ParseRopeOverride(text).status(); }

std::string Quoted(absl::string_view text) {
  if (text.size() <= kMaxQuotedBytes) return absl::StrCat("\"", absl::CHexEscape(text), "\"");
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kMaxQuotedBytes)), "...\"");
}

}  // namespace ropeway::server
