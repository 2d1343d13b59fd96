// Splits a template's source into tokens, with the white space control of trim_blocks and lstrip_blocks:
//
//   - `-` inside a delimiter takes off all white space on its side of the tag;
//   - a block or comment tag that stands first on its line loses the blanks before it, unless it begins with
//     `+`;
//   - one newline after a block or comment tag is dropped, unless it ends with `+` or `-`;
//   - CR and CRLF become LF, and one newline at the end of the source is dropped.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_LEXER_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_LEXER_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ropeway::jinja {

enum class TokenKind {
  kData,           // text outside of tags
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kName,
  kString,   // text has the escapes resolved
  kInteger,  // text is without underscores, with its 0x, 0o or 0b
  kFloat,
  kOperator,
  kEnd,  // of the source; always the last token
};

struct Token {
  TokenKind kind;
  std::string text;
  int line;  // from 1

  bool Is(std::string_view symbol) const { return kind == TokenKind::kOperator && text == symbol; }
  bool IsName(std::string_view name) const { return kind == TokenKind::kName && text == name; }
};

// INVALID_ARGUMENT that begins with the line.
absl::Status SyntaxError(int line, std::string_view message);

// REQUIRES: `source` is valid UTF-8.
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

// Resolves the escapes of a string literal as Python does. INVALID_ARGUMENT for one that is cut short or
// names no character.
absl::StatusOr<std::string> Unescape(std::string_view literal);

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_LEXER_H_
