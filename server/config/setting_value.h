// Reading and writing the values that settings have, and the rules they keep.
//
// Numbers are decimal: "010" is ten, "0x10" and "nan" are no numbers.
#ifndef ROPEWAY_SERVER_CONFIG_SETTING_VALUE_H_
#define ROPEWAY_SERVER_CONFIG_SETTING_VALUE_H_

#include <cstdint>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace ropeway::server {

// `text` as a value. INVALID_ARGUMENT with what it must be ("a whole number") where it is none; OUT_OF_RANGE
// where it is one that the type cannot hold.
absl::Status ParseValue(absl::string_view text, int32_t& value);
absl::Status ParseValue(absl::string_view text, int64_t& value);
absl::Status ParseValue(absl::string_view text, double& value);
// "1m30s"; a number alone is seconds.
absl::Status ParseValue(absl::string_view text, absl::Duration& value);

std::string FormatValue(int64_t value);
std::string FormatValue(double value);
std::string FormatValue(absl::Duration value);

// [least, most], or (least, most] where `open`.
template <typename T>
struct Range {
  T least, most;
  bool open = false;

  bool Holds(const T& value) const { return (open ? value > least : value >= least) && value <= most; }
  std::string Text() const {
    return absl::StrCat(open ? "(" : "[", FormatValue(least), ", ", FormatValue(most), "]");
  }
};

template <typename T>
constexpr auto Between(T least, T most) {
  return Range<T>{least, most};
}
constexpr Range<int64_t> Between(int least, int64_t most) { return {least, most}; }
constexpr Range<int64_t> Between(int least, int most) { return {least, most}; }
constexpr Range<double> Above(double least, double most) { return {least, most, /*open=*/true}; }

// One of the words of an enumeration.
struct OneOf {};

// A text that `check` takes: it returns INVALID_ARGUMENT with what it must be, and where `text` is not.
struct TextRule {
  absl::Status (*check)(absl::string_view text);
  bool may_be_none = false;
};
inline constexpr bool kMayBeNone = true;
constexpr TextRule Text(absl::Status (*check)(absl::string_view), bool may_be_none = false) {
  return {check, may_be_none};
}

// A path: any bytes but controls.
absl::Status CheckPath(absl::string_view text);
// A name on the wire: printable ASCII.
absl::Status CheckName(absl::string_view text);
// A secret: long enough that nobody guesses it. Its error does not tell it.
absl::Status CheckSecret(absl::string_view text);
// A scaling of rotary positions: engine/position/rope_override.h.
absl::Status CheckRopeScaling(absl::string_view text);
// HOST:PORT.
absl::Status CheckAddress(absl::string_view text);

// In quotes, on one line, and no longer than a line: for messages.
std::string Quoted(absl::string_view text);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_CONFIG_SETTING_VALUE_H_
