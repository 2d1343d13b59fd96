// The escapes of Python's string literals.
#include <array>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/lexer.h"
#include "engine/text/jinja/number.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

struct NamedCharacter {
  std::string_view name;
  char32_t value;
};

// \N{...} with the names that turn up in prose; the whole list of Unicode has 33,000.
constexpr NamedCharacter kNamedCharacters[] = {
    {"BULLET", 0x2022},
    {"COPYRIGHT SIGN", 0xA9},
    {"DEGREE SIGN", 0xB0},
    {"EM DASH", 0x2014},
    {"EN DASH", 0x2013},
    {"FULLWIDTH VERTICAL LINE", 0xFF5C},
    {"HORIZONTAL ELLIPSIS", 0x2026},
    {"LEFT DOUBLE QUOTATION MARK", 0x201C},
    {"LEFT SINGLE QUOTATION MARK", 0x2018},
    {"LOWER ONE EIGHTH BLOCK", 0x2581},
    {"NO-BREAK SPACE", 0xA0},
    {"RIGHT DOUBLE QUOTATION MARK", 0x201D},
    {"RIGHT SINGLE QUOTATION MARK", 0x2019},
    {"RIGHTWARDS ARROW", 0x2192},
    {"ZERO WIDTH SPACE", 0x200B},
};

std::optional<char> SimpleEscape(char c) {
  switch (c) {
    case '\\':
    case '\'':
    case '"':
      return c;
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'v':
      return '\v';
    default:
      return std::nullopt;
  }
}

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

// Appends the code point of `digits` hexadecimal digits at `i`, which moves behind them.
absl::Status AppendHexadecimal(std::string_view literal, size_t digits, size_t& i, std::string& out) {
  const std::string_view text = literal.substr(i, digits);
  for (const char c : text) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) {
      return absl::InvalidArgumentError("truncated escape in a string");
    }
  }
  if (text.size() < digits) return absl::InvalidArgumentError("truncated escape in a string");
  const Integer value = *ParseInteger(text, 16);
  if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
    return absl::InvalidArgumentError(
        absl::StrCat("escape of U+", std::string(text), ", which is not a character"));
  }
  AppendUtf8(static_cast<char32_t>(static_cast<uint32_t>(value)), out);
  i += digits;
  return absl::OkStatus();
}

absl::Status AppendNamed(std::string_view literal, size_t& i, std::string& out) {
  const size_t end = literal.find('}', i);
  if (literal.substr(i, 1) != "{" || end == std::string_view::npos) {
    return absl::InvalidArgumentError("malformed \\N character escape");
  }
  const std::string name = absl::AsciiStrToUpper(std::string(literal.substr(i + 1, end - i - 1)));
  for (const NamedCharacter& known : kNamedCharacters) {
    if (known.name != name) continue;
    AppendUtf8(known.value, out);
    i = end + 1;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown Unicode character name ", name));
}

}  // namespace

absl::StatusOr<std::string> Unescape(std::string_view literal) {
  std::string out;
  for (size_t i = 0; i < literal.size();) {
    if (literal[i] != '\\' || i + 1 == literal.size()) {
      out += literal[i++];
      continue;
    }
    const char c = literal[i + 1];
    i += 2;
    if (const auto simple = SimpleEscape(c)) {
      out += *simple;
    } else if (c == '\n') {
      continue;  // an escaped newline joins the lines
    } else if (c == 'x' || c == 'u' || c == 'U') {
      RETURN_IF_ERROR(AppendHexadecimal(literal, c == 'x' ? 2 : c == 'u' ? 4 : 8, i, out));
    } else if (c == 'N') {
      RETURN_IF_ERROR(AppendNamed(literal, i, out));
    } else if (IsOctal(c)) {
      char32_t value = static_cast<char32_t>(c - '0');
      for (int digits = 1; digits < 3 && i < literal.size() && IsOctal(literal[i]); ++digits, ++i) {
        value = value * 8 + static_cast<char32_t>(literal[i] - '0');
      }
      AppendUtf8(value, out);
    } else {
      out += '\\';
      out += c;
    }
  }
  return out;
}

}  // namespace ropeway::jinja
