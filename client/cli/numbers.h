// Numbers of the command line: decimal and nothing else, so that "010" is ten, and within their bounds.
#ifndef ROPEWAY_CLIENT_CLI_NUMBERS_H_
#define ROPEWAY_CLIENT_CLI_NUMBERS_H_

#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace ropeway::client {

// The closed interval that a number must lie in.
template <typename T>
struct Bounds {
  T least = std::numeric_limits<T>::lowest();
  T most = std::numeric_limits<T>::max();
};

// Of counts of requests, tokens and attempts.
inline constexpr int32_t kMaxCount = 1 << 24;

// `text` as an error quotes it: at most a line, in quotes where blanks or unprintable bytes could mislead.
std::string Quoted(absl::string_view text);

// The shortest decimals that read back as the same number.
template <typename T>
std::string Decimals(T number) {
  char digits[64];
  return std::string(digits, std::to_chars(digits, digits + sizeof(digits), number).ptr);
}

// What a number of these bounds must be: "a whole number in [1, 8]".
template <typename T>
std::string BoundsText(const Bounds<T>& bounds) {
  const bool has_least = bounds.least != std::numeric_limits<T>::lowest();
  const bool has_most = bounds.most != std::numeric_limits<T>::max();
  if (std::is_floating_point_v<T> && !has_most)
    return has_least ? absl::StrCat("at least ", Decimals(bounds.least))
                     : absl::StrCat("a decimal number that ", 8 * sizeof(T), " bits hold");
  return absl::StrCat(std::is_integral_v<T> ? "a whole number in [" : "in [", Decimals(bounds.least), ", ",
                      Decimals(bounds.most), "]");
}

// Reads digits, a "-" before them where T has a sign, and for a floating-point T a fraction and an exponent.
// INVALID_ARGUMENT with "must be BOUNDS, is TEXT" for everything else: blanks, "+", hexadecimal, "nan" and
// "inf", what T cannot hold, and what is out of bounds.
template <typename T>
absl::StatusOr<T> ParseNumber(absl::string_view text, const Bounds<T>& bounds = {}) {
  T number{};
  const char* const end = text.data() + text.size();
  const std::from_chars_result read = std::from_chars(text.data(), end, number);
  // std::from_chars reads words for floating-point numbers, too.
  const bool has_words = text.find_first_not_of("0123456789.-+eE") != absl::string_view::npos;
  if (read.ec == std::errc() && read.ptr == end && !has_words && number >= bounds.least &&
      number <= bounds.most)
    return number;
  return absl::InvalidArgumentError(absl::StrCat("must be ", BoundsText(bounds), ", is ", Quoted(text)));
}

// Reads numbers with commas between them: "1,2,3".
absl::StatusOr<std::vector<int32_t>> ParseIds(absl::string_view text);

template <typename Value>
struct NumberIn {
  using Type = Value;
};
template <typename Value>
struct NumberIn<std::optional<Value>> {
  using Type = Value;
};

// An option of one number. (CLI11 alone reads octal and hexadecimal numbers, "nan", and "" as 0.)
template <typename Value>
CLI::Option* AddNumber(CLI::App& command, const std::string& name, Value& value, const std::string& help,
                       const Bounds<typename NumberIn<Value>::Type>& bounds = {}) {
  const auto canonical = [bounds](std::string& text) {
    const auto number = ParseNumber(text, bounds);
    if (!number.ok()) return std::string(number.status().message());
    text = Decimals(*number);
    return std::string();
  };
  return command.add_option(name, value, help)->transform(CLI::Validator(canonical, ""));
}

// An option of one or more lists of token ids, one after the other.
CLI::Option* AddIds(CLI::App& command, const std::string& name, std::vector<int32_t>& ids,
                    const std::string& help);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CLI_NUMBERS_H_
