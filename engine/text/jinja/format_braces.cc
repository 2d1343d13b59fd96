// '{} {name!r:>10}'.format(...)
#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/format.h"
#include "engine/text/jinja/lookup.h"
#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/print.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

constexpr size_t kNone = std::string_view::npos;

bool IsNumberText(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
}

// [[fill]align][sign][#][0][width][grouping][.precision][type]
class SpecReader {
 public:
  explicit SpecReader(const Str& spec) : spec_(spec), text_(spec.view()) {}
  absl::StatusOr<FieldFormat> Read();

 private:
  char Current() const { return position_ < text_.size() ? text_[position_] : '\0'; }
  bool Skip(char c) {
    if (Current() != c) return false;
    ++position_;
    return true;
  }
  static bool IsAlign(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }
  absl::StatusOr<int64_t> Number(int64_t otherwise);

  const Str& spec_;
  const std::string_view text_;
  size_t position_ = 0;
};

absl::StatusOr<int64_t> SpecReader::Number(int64_t otherwise) {
  const size_t begin = position_;
  while (absl::ascii_isdigit(static_cast<unsigned char>(Current()))) ++position_;
  if (begin == position_) return otherwise;
  const std::optional<Integer> number = ParseInteger(text_.substr(begin, position_ - begin));
  if (!number.has_value()) return ValueError("Too many decimal digits in format string");
  return Clamp64(*number);
}

absl::StatusOr<FieldFormat> SpecReader::Read() {
  FieldFormat field;
  const size_t first = text_.empty() ? 0 : DecodeAt(text_, 0).bytes;
  if (first < text_.size() && IsAlign(text_[first])) {
    field.fill = spec_.Slice(0, first);
    field.align = text_[first];
    position_ = first + 1;
  } else if (IsAlign(Current())) {
    field.align = text_[position_++];
  }
  for (const char sign : {'+', '-', ' '}) {
    if (Skip(sign)) field.sign = sign;
  }
  field.alternate = Skip('#');
  if (Skip('0') && field.align == 0) {
    field.align = '=';
    field.fill = Str::Literal("0");
  }
  ASSIGN_OR_RETURN(field.width, Number(0));
  for (const char grouping : {',', '_'}) {
    if (Skip(grouping)) field.grouping = grouping;
  }
  if (Skip('.')) {
    ASSIGN_OR_RETURN(field.precision, Number(-1));
    if (field.precision < 0) return ValueError("Format specifier missing precision");
  }
  if (position_ < text_.size()) field.type = text_[position_++];
  if (position_ < text_.size()) return ValueError("Invalid format specifier");
  return field;
}

class BraceFormatter {
 public:
  BraceFormatter(const Str& format, const Arguments& arguments, Budget& budget)
      : arguments_(arguments), budget_(budget), markup_(format.markup()) {}
  // Specifications may themselves hold fields, one level deep.
  absl::StatusOr<Str> Format(const Str& format, int depth);

 private:
  absl::StatusOr<Str> Field(const Str& field, int depth);
  absl::StatusOr<Value> Resolve(const Str& path);
  absl::StatusOr<Value> Argument(const Str& name);

  const Arguments& arguments_;
  Budget& budget_;
  const bool markup_;
  size_t next_ = 0;
  bool numbered_by_hand_ = false;
};

// The closing brace of the field that begins at `begin`; npos when it is missing.
size_t FieldEnd(std::string_view text, size_t begin) {
  int depth = 1;
  for (size_t i = begin; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) return i;
  }
  return kNone;
}

absl::StatusOr<Str> BraceFormatter::Format(const Str& format, int depth) {
  if (depth > 2) return ValueError("Max string recursion exceeded");
  const std::string_view text = format.view();
  StrBuilder out(budget_);
  for (size_t i = 0; i < text.size();) {
    const size_t brace = std::min(text.find_first_of("{}", i), text.size());
    out.Append(format.Slice(i, brace));
    if (brace == text.size()) break;
    if (brace + 1 < text.size() && text[brace + 1] == text[brace]) {
      out.Append(format.Slice(brace, brace + 1));
      i = brace + 2;
      continue;
    }
    if (text[brace] == '}') return ValueError("Single '}' encountered in format string");
    const size_t end = FieldEnd(text, brace + 1);
    if (end == kNone) return ValueError("expected '}' before end of string");
    ASSIGN_OR_RETURN(const Str value, Field(format.Slice(brace + 1, end), depth));
    out.Append(value);
    i = end + 1;
    if (!budget_.Step()) return budget_.status();
  }
  return out.Build();
}

absl::StatusOr<Value> BraceFormatter::Argument(const Str& name) {
  const std::string_view text = name.view();
  if (text.empty() || IsNumberText(text)) {
    if (text.empty() == numbered_by_hand_ && (next_ > 0 || numbered_by_hand_)) {
      return ValueError("cannot switch between manual and automatic field numbering");
    }
    numbered_by_hand_ = !text.empty();
    const std::optional<Integer> index = text.empty() ? Integer(next_++) : ParseInteger(text);
    if (!index.has_value() || *index >= static_cast<Integer>(arguments_.positional.size())) {
      return ValueError("Replacement index out of range for positional args tuple");
    }
    return arguments_.positional[static_cast<size_t>(*index)];
  }
  for (const auto& [key, value] : arguments_.keyword) {
    if (key.view() == text) return value;
  }
  return ValueError(absl::StrCat("no argument named '", std::string(text), "'"));
}

// name(.attribute | [index])*
absl::StatusOr<Value> BraceFormatter::Resolve(const Str& path) {
  const std::string_view text = path.view();
  size_t end = std::min(text.find_first_of(".["), text.size());
  ASSIGN_OR_RETURN(Value value, Argument(path.Slice(0, end)));
  while (end < text.size()) {
    const size_t begin = end + 1;
    if (text[end] == '.') {
      end = std::min(text.find_first_of(".[", begin), text.size());
      ASSIGN_OR_RETURN(value, GetAttribute(value, path.Slice(begin, end), budget_));
    } else {
      const size_t close = text.find(']', begin);
      if (text[end] != '[' || close == kNone) return ValueError("Missing ']' in format string");
      const Str key = path.Slice(begin, close);
      const std::optional<Integer> number =
          IsNumberText(key.view()) ? ParseInteger(key.view()) : std::nullopt;
      ASSIGN_OR_RETURN(value, GetItem(value, number.has_value() ? Value(*number) : Value(key), budget_));
      end = close + 1;
    }
    if (!budget_.Step()) return budget_.status();
  }
  return value;
}

absl::StatusOr<Str> BraceFormatter::Field(const Str& field, int depth) {
  const std::string_view text = field.view();
  const size_t path_end = std::min(text.find_first_of("!:"), text.size());
  ASSIGN_OR_RETURN(Value value, Resolve(field.Slice(0, path_end)));
  size_t spec_begin = path_end;
  if (path_end < text.size() && text[path_end] == '!') {
    const char conversion = path_end + 1 < text.size() ? text[path_end + 1] : '\0';
    if (conversion != 'r' && conversion != 's' && conversion != 'a')
      return ValueError("unknown conversion specifier");
    value = Value(conversion == 's' ? ToText(value, budget_) : Repr(value, budget_));
    spec_begin = path_end + 2;
    if (spec_begin < text.size() && text[spec_begin] != ':') {
      return ValueError("expected ':' after conversion specifier");
    }
  }
  Str spec;
  if (spec_begin < text.size()) {
    ASSIGN_OR_RETURN(spec, Format(field.From(spec_begin + 1), depth + 1));
  }
  const bool is_number = (value.AsFloat() || value.AsInteger() || (value.AsBool() && !spec.empty()));
  if (!value.AsStr() && !is_number && !spec.empty() && !value.IsUndefined()) {
    return TypeError("unsupported format string");
  }
  ASSIGN_OR_RETURN(const FieldFormat format, SpecReader(spec).Read());
  if (is_number) return FormatNumber(value, format, budget_);
  if (format.type != 0 && format.type != 's') {
    return ValueError(
        absl::StrCat("Unknown format code '", std::string(1, format.type), "' for object of type 'str'"));
  }
  const Str shown = ToText(value, budget_);
  return FormatText(markup_ ? Escape(shown, budget_) : shown, format, budget_);
}

}  // namespace

absl::StatusOr<Value> FormatBraces(const Str& format, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Str text, BraceFormatter(format, arguments, budget).Format(format, 1));
  return Value(text.WithMarkup(format.markup()));
}

}  // namespace ropeway::jinja
