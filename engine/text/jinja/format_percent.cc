// '%s' % value
#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/format.h"
#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/print.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

constexpr size_t kNone = std::string_view::npos;

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

class PercentFormatter {
 public:
  PercentFormatter(const Str& format, const Value& values, Budget& budget)
      : format_(format), text_(format.view()), values_(values), budget_(budget), out_(budget) {}
  absl::StatusOr<Value> Run();

 private:
  absl::Status Conversion();
  absl::StatusOr<Value> NextValue();
  absl::StatusOr<int64_t> ReadNumber();
  absl::Status ReadFlags(FieldFormat& field);
  absl::Status Write(const Value& value, FieldFormat field, char type);
  char Current() const { return position_ < text_.size() ? text_[position_] : '\0'; }

  const Str& format_;
  const std::string_view text_;
  const Value& values_;
  Budget& budget_;
  StrBuilder out_;
  size_t position_ = 0;
  size_t num_used_ = 0;
  bool uses_keys_ = false;
};

absl::StatusOr<Value> PercentFormatter::Run() {
  while (position_ < text_.size()) {
    const size_t percent = std::min(text_.find('%', position_), text_.size());
    out_.Append(format_.Slice(position_, percent));
    position_ = percent + 1;
    if (percent < text_.size()) RETURN_IF_ERROR(Conversion());
    if (budget_.exhausted()) return budget_.status();
  }
  const Sequence* tuple = values_.AsTuple();
  const bool unused = tuple != nullptr ? num_used_ < tuple->items.size() : num_used_ == 0 && !uses_keys_;
  // A mapping or list may go unused, as in Python.
  if (unused && !values_.AsDict() && !values_.AsList()) {
    return TypeError("not all arguments converted during string formatting");
  }
  return Value(out_.Build().WithMarkup(format_.markup()));
}

absl::StatusOr<Value> PercentFormatter::NextValue() {
  const Sequence* tuple = values_.AsTuple();
  const size_t available = tuple != nullptr ? tuple->items.size() : 1;
  if (num_used_ == available) return TypeError("not enough arguments for format string");
  const size_t i = num_used_++;
  return tuple != nullptr ? tuple->items[i] : values_;
}

// A number of the format, or `*` for the next value.
absl::StatusOr<int64_t> PercentFormatter::ReadNumber() {
  if (Current() == '*') {
    ++position_;
    ASSIGN_OR_RETURN(const Value value, NextValue());
    if (!value.AsIndex().has_value()) return TypeError("* wants int");
    return Clamp64(*value.AsIndex());
  }
  const size_t begin = position_;
  while (IsDigit(Current())) ++position_;
  if (begin == position_) return 0;
  const std::optional<Integer> number = ParseInteger(text_.substr(begin, position_ - begin));
  if (!number.has_value()) return ValueError("width too big");
  return Clamp64(*number);
}

absl::Status PercentFormatter::ReadFlags(FieldFormat& field) {
  bool zero = false;
  bool left = false;
  for (; position_ < text_.size(); ++position_) {
    const char flag = Current();
    if (flag == '-') {
      left = true;
    } else if (flag == '0') {
      zero = true;
    } else if (flag == '+' || (flag == ' ' && field.sign != '+')) {
      field.sign = flag;
    } else if (flag == '#') {
      field.alternate = true;
    } else if (flag != ' ') {
      break;
    }
  }
  ASSIGN_OR_RETURN(field.width, ReadNumber());
  if (field.width < 0) {
    left = true;
    field.width = field.width == INT64_MIN ? INT64_MAX : -field.width;
  }
  if (Current() == '.') {
    ++position_;
    ASSIGN_OR_RETURN(field.precision, ReadNumber());
    field.precision = std::max<int64_t>(field.precision, 0);
  }
  field.align = left ? '<' : zero ? '=' : '>';
  if (zero && !left) field.fill = Str::Literal("0");
  return absl::OkStatus();
}

absl::Status PercentFormatter::Conversion() {
  std::optional<Value> keyed;
  if (Current() == '(') {
    const size_t end = text_.find(')', position_);
    if (end == kNone) return ValueError("incomplete format key");
    const Dict* dict = values_.AsDict();
    if (dict == nullptr) return TypeError("format requires a mapping");
    const Str key = format_.Slice(position_ + 1, end);
    const Value* found = dict->Find(key.view());
    if (found == nullptr)
      return ValueError(absl::StrCat("no value for format key '", std::string(key.view()), "'"));
    keyed = *found;
    uses_keys_ = true;
    position_ = end + 1;
  }
  FieldFormat field;
  RETURN_IF_ERROR(ReadFlags(field));
  while (Current() == 'h' || Current() == 'l' || Current() == 'L') ++position_;
  if (position_ == text_.size()) return ValueError("incomplete format");
  const char type = text_[position_++];
  if (type == '%') {
    out_.AppendTrusted("%");
    return absl::OkStatus();
  }
  if (!keyed.has_value()) {
    ASSIGN_OR_RETURN(keyed, NextValue());
  }
  return Write(*keyed, field, type);
}

absl::Status PercentFormatter::Write(const Value& value, FieldFormat field, char type) {
  if (type == 's' || type == 'r' || type == 'a') {
    field.fill = Str();
    if (field.align == '=') field.align = '>';
    Str text = type == 's' ? ToText(value, budget_) : Repr(value, budget_);
    if (format_.markup()) text = Escape(text, budget_);
    out_.Append(FormatText(text, field, budget_));
    return absl::OkStatus();
  }
  if (type == 'c') {
    const Str* text = value.AsStr();
    if (text == nullptr || CountCodePoints(*text) != 1) return TypeError("%c requires char");
    out_.Append(FormatText(*text, field, budget_));
    return absl::OkStatus();
  }
  if (std::string_view("diuxXoeEfFgG").find(type) == kNone) {
    return ValueError(absl::StrCat("unsupported format character '", std::string(1, type), "'"));
  }
  const bool is_number = value.AsFloat() || value.AsIndex().has_value();
  if (!is_number) {
    return TypeError(absl::StrCat("%", std::string(1, type), " format: a number is required, not ",
                                  std::string(TypeName(value))));
  }
  Value number = value;
  const bool wants_integer = std::string_view("diuxXo").find(type) != kNone;
  if (wants_integer && value.AsFloat()) {
    const std::optional<Integer> whole = Truncate(*value.AsFloat());
    if (type == 'x' || type == 'X' || type == 'o')
      return TypeError("format: an integer is required, not float");
    if (!whole.has_value()) return ValueError("cannot convert the number to an integer of at most 127 bits");
    number = Value(*whole);
  }
  field.type = type;
  ASSIGN_OR_RETURN(const Str text, FormatNumber(number, field, budget_));
  out_.Append(text);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Value> FormatPercent(const Str& format, const Value& values, Budget& budget) {
  return PercentFormatter(format, values, budget).Run();
}

}  // namespace ropeway::jinja
