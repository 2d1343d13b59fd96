#include "engine/text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

constexpr size_t kNone = std::string_view::npos;

std::string NormaliseNewlines(std::string_view source) {
  std::string result;
  result.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      result += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      result += source[i];
    }
  }
  if (!result.empty() && result.back() == '\n') result.pop_back();
  return result;
}

size_t SkipSpace(std::string_view text, size_t offset) {
  while (offset < text.size()) {
    const CodePoint next = DecodeAt(text, offset);
    if (!IsSpace(next.value)) break;
    offset += next.bytes;
  }
  return offset;
}

size_t TrimmedEnd(std::string_view text, size_t begin, size_t end) {
  while (end > begin) {
    const CodePoint last = DecodeBefore(text, end);
    if (!IsSpace(last.value)) break;
    end -= last.bytes;
  }
  return end;
}

bool IsNameByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}
  absl::StatusOr<std::vector<Token>> Run();

 private:
  // A tag that was found in the text: {%, {{ or {#, with the sign after it.
  struct Tag {
    size_t begin;
    char type;  // '%', '{' or '#'
    char sign;  // '-', '+' or 0
  };

  bool At(std::string_view text) const { return source_.substr(position_, text.size()) == text; }
  void Add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void Advance(size_t to);
  void AddData(size_t end, const Tag& tag);
  size_t FindTag(size_t from) const;
  absl::Status LexComment();
  // Whether a raw block stood here.
  absl::StatusOr<bool> LexRaw(const Tag& tag);
  bool LexTagEnd(char type);
  absl::Status LexTag(char type);
  absl::Status LexToken();
  absl::Status LexNumber();
  absl::Status LexString(char quote);
  absl::Status LexOperator();
  // Offset after `%}` or `#}` at `offset` (after its sign) with what the sign or trim_blocks takes along.
  size_t EndOfTag(size_t offset, char sign) const;

  const std::string_view source_;
  size_t position_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // the last tag took the newline along
  std::vector<Token> tokens_;
  std::vector<char> brackets_;  // closing brackets that are awaited
};

void Lexer::Advance(size_t to) {
  line_ += static_cast<int>(std::count(source_.begin() + position_, source_.begin() + to, '\n'));
  position_ = to;
}

size_t Lexer::FindTag(size_t from) const {
  for (size_t i = source_.find('{', from); i != kNone && i + 1 < source_.size();
       i = source_.find('{', i + 1)) {
    if (source_[i + 1] == '%' || source_[i + 1] == '{' || source_[i + 1] == '#') return i;
  }
  return kNone;
}

// The text up to `end`, where `tag` takes off what its sign or lstrip_blocks says.
void Lexer::AddData(size_t end, const Tag& tag) {
  size_t text_end = end;
  if (tag.sign == '-') {
    text_end = TrimmedEnd(source_, position_, end);
  } else if (tag.sign != '+' && tag.type != '{') {
    const size_t newline = source_.substr(position_, end - position_).rfind('\n');
    const size_t line_begin = newline == kNone ? position_ : position_ + newline + 1;
    const bool starts_line = newline != kNone || line_starting_;
    if (starts_line && SkipSpace(source_.substr(0, end), line_begin) == end) text_end = line_begin;
  }
  if (text_end > position_)
    Add(TokenKind::kData, std::string(source_.substr(position_, text_end - position_)));
  Advance(end);
}

size_t Lexer::EndOfTag(size_t offset, char sign) const {
  offset += 2;
  if (sign == '-') return SkipSpace(source_, offset);
  if (sign != '+' && offset < source_.size() && source_[offset] == '\n') return offset + 1;
  return offset;
}

absl::StatusOr<std::vector<Token>> Lexer::Run() {
  while (position_ < source_.size()) {
    const size_t begin = FindTag(position_);
    if (begin == kNone) {
      Add(TokenKind::kData, std::string(source_.substr(position_)));
      break;
    }
    Tag tag = {.begin = begin, .type = source_[begin + 1], .sign = 0};
    if (begin + 2 < source_.size() && (source_[begin + 2] == '-' || source_[begin + 2] == '+')) {
      tag.sign = source_[begin + 2];
    }
    AddData(begin, tag);
    Advance(begin + (tag.sign == 0 ? 2 : 3));
    if (tag.type == '#') {
      RETURN_IF_ERROR(LexComment());
    } else {
      bool raw = false;
      if (tag.type == '%') {
        ASSIGN_OR_RETURN(raw, LexRaw(tag));
      }
      if (!raw) RETURN_IF_ERROR(LexTag(tag.type));
    }
    line_starting_ = source_[position_ - 1] == '\n';
  }
  Add(TokenKind::kEnd, "");
  return std::move(tokens_);
}

absl::Status Lexer::LexComment() {
  const size_t end = source_.find("#}", position_);
  if (end == kNone) return SyntaxError(line_, "Missing end of comment tag");
  const char last = end > position_ ? source_[end - 1] : 0;
  Advance(EndOfTag(end, last));
  return absl::OkStatus();
}

absl::StatusOr<bool> Lexer::LexRaw(const Tag& tag) {
  size_t i = SkipSpace(source_, tag.begin + (tag.sign == 0 ? 2 : 3));
  if (source_.substr(i, 3) != "raw") return false;
  i = SkipSpace(source_, i + 3);
  if (source_.substr(i, 3) == "-%}") {
    i = SkipSpace(source_, i + 3);
  } else if (source_.substr(i, 2) == "%}") {
    i += 2;
  } else {
    return false;
  }
  line_starting_ = source_[i - 1] == '\n';
  Advance(i);
  for (size_t begin = source_.find("{%", i); begin != kNone; begin = source_.find("{%", begin + 1)) {
    Tag end_tag = {.begin = begin, .type = '%', .sign = 0};
    size_t end = begin + 2;
    if (end < source_.size() && (source_[end] == '-' || source_[end] == '+')) end_tag.sign = source_[end++];
    end = SkipSpace(source_, end);
    if (source_.substr(end, 6) != "endraw") continue;
    end = SkipSpace(source_, end + 6);
    char sign = 0;
    if (end < source_.size() && (source_[end] == '-' || source_[end] == '+')) sign = source_[end++];
    if (source_.substr(end, 2) != "%}") continue;
    AddData(begin, end_tag);
    Advance(EndOfTag(end, sign));
    return true;
  }
  return SyntaxError(line_, "Missing end of raw directive");
}

bool Lexer::LexTagEnd(char type) {
  if (!brackets_.empty()) return false;
  const bool block = type == '%';
  const std::string_view closing = block ? "%}" : "}}";
  const char sign = source_[position_];
  size_t offset = position_;
  if (sign == '-' || (sign == '+' && block)) ++offset;
  if (source_.substr(offset, 2) != closing) return false;
  Add(block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
  const bool trims = block || sign == '-';
  Advance(trims ? EndOfTag(offset, offset == position_ ? 0 : sign) : offset + 2);
  return true;
}

absl::Status Lexer::LexTag(char type) {
  Add(type == '%' ? TokenKind::kBlockBegin : TokenKind::kVariableBegin, "");
  while (true) {
    Advance(SkipSpace(source_, position_));
    if (position_ == source_.size()) return SyntaxError(line_, "unexpected end of template inside of a tag");
    if (LexTagEnd(type)) return absl::OkStatus();
    RETURN_IF_ERROR(LexToken());
  }
}

absl::Status Lexer::LexToken() {
  const char c = source_[position_];
  if (c == '\'' || c == '"') return LexString(c);
  if (IsDigit(c)) return LexNumber();
  if (!IsNameByte(c)) return LexOperator();
  size_t end = position_;
  while (end < source_.size() && IsNameByte(source_[end])) ++end;
  Add(TokenKind::kName, std::string(source_.substr(position_, end - position_)));
  Advance(end);
  return absl::OkStatus();
}

absl::Status Lexer::LexString(char quote) {
  size_t end = position_ + 1;
  while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
  if (end >= source_.size())
    return SyntaxError(line_, absl::StrCat("unexpected char '", std::string(1, quote), "'"));
  absl::StatusOr<std::string> text = Unescape(source_.substr(position_ + 1, end - position_ - 1));
  if (!text.ok()) return SyntaxError(line_, std::string(text.status().message()));
  Add(TokenKind::kString, *std::move(text));
  Advance(end + 1);
  return absl::OkStatus();
}

absl::Status Lexer::LexNumber() {
  size_t end = position_;
  bool is_float = false;
  const auto byte = [&](size_t i) { return i < source_.size() ? source_[i] : '\0'; };
  const auto skip_digits = [&](auto&& is_digit) {
    while (is_digit(byte(end)) || (byte(end) == '_' && is_digit(byte(end + 1)))) ++end;
  };
  const char base = byte(end) == '0' ? absl::ascii_tolower(static_cast<unsigned char>(byte(end + 1))) : '\0';
  if (base == 'x' || base == 'o' || base == 'b') {
    end += 2;
    skip_digits([](char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)) != 0; });
  } else {
    skip_digits(IsDigit);
    // After a dot the number is an index (items.0.1), never a float.
    const bool after_dot = position_ > 0 && source_[position_ - 1] == '.';
    if (!after_dot && byte(end) == '.' && IsDigit(byte(end + 1))) {
      is_float = true;
      ++end;
      skip_digits(IsDigit);
    }
    const size_t sign = byte(end + 1) == '+' || byte(end + 1) == '-' ? 1 : 0;
    if (!after_dot && (byte(end) == 'e' || byte(end) == 'E') && IsDigit(byte(end + 1 + sign))) {
      is_float = true;
      end += 1 + sign;
      skip_digits(IsDigit);
    }
  }
  std::string text(source_.substr(position_, end - position_));
  text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
  const bool octal_of_old =
      !is_float && text[0] == '0' && IsDigit(text.back()) && text.size() > 1 && IsDigit(text[1]);
  if (octal_of_old && text.find_first_not_of('0') != kNone) {
    return SyntaxError(line_, absl::StrCat("a number begins with 0: ", text));
  }
  Add(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
  Advance(end);
  return absl::OkStatus();
}

absl::Status Lexer::LexOperator() {
  // Longer ones first.
  constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                           "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                           ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
  for (const std::string_view symbol : kOperators) {
    if (!At(symbol)) continue;
    const char c = symbol[0];
    if (c == '{') brackets_.push_back('}');
    if (c == '(') brackets_.push_back(')');
    if (c == '[') brackets_.push_back(']');
    if (c == '}' || c == ')' || c == ']') {
      if (brackets_.empty() || brackets_.back() != c)
        return SyntaxError(line_, absl::StrCat("unexpected '", std::string(symbol), "'"));
      brackets_.pop_back();
    }
    Add(TokenKind::kOperator, std::string(symbol));
    Advance(position_ + symbol.size());
    return absl::OkStatus();
  }
  const size_t length = DecodeAt(source_, position_).bytes;
  return SyntaxError(line_,
                     absl::StrCat("unexpected char '", std::string(source_.substr(position_, length)), "'"));
}

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) {
  const std::string normalised = NormaliseNewlines(source);
  return Lexer(normalised).Run();
}

}  // namespace ropeway::jinja
