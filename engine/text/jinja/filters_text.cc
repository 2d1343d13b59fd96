// Filters of texts; other values are printed first.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/arguments.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/filters.h"
#include "engine/text/jinja/format.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/print.h"
#include "engine/text/jinja/text_operations.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

using Result = absl::StatusOr<Value>;

template <CaseMapping mapping>
Result Case(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  return Value(MapCase(ToText(self, interpreter.budget()), mapping, interpreter.budget()));
}

// Unlike str.title(), only white space and - ( { [ < begin a word.
Result Title(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  Budget& budget = interpreter.budget();
  const Str text = ToText(self, budget);
  const auto separates = [](char32_t c) {
    return IsSpace(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  };
  StrBuilder out(budget);
  for (size_t i = 0; i < text.size() && !budget.exhausted();) {
    size_t end = i;
    const bool separator = separates(DecodeAt(text.view(), i).value);
    while (end < text.size() && separates(DecodeAt(text.view(), end).value) == separator) {
      end += DecodeAt(text.view(), end).bytes;
    }
    const size_t first = i + DecodeAt(text.view(), i).bytes;
    out.Append(MapCase(text.Slice(i, first), CaseMapping::kUpper, budget));
    out.Append(MapCase(text.Slice(first, end), CaseMapping::kLower, budget));
    i = end;
  }
  return Value(out.Build().WithMarkup(text.markup()));
}

Result Trim(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"chars"}));
  Budget& budget = interpreter.budget();
  const Str text = ToText(self, budget);
  budget.Work(static_cast<int64_t>(text.size()));
  if (bound[0] == nullptr || bound[0]->IsNone()) return Value(StripSpace(text, Side::kBoth));
  ASSIGN_OR_RETURN(const Str characters, bound.TextOr(0, Str()));
  return Value(StripCharacters(text, characters.view(), Side::kBoth));
}

Result ReplaceFilter(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"old", "new", "count"}, 2));
  const bool unlimited = bound[2] == nullptr || bound[2]->IsNone();
  Integer count = -1;
  if (!unlimited) {
    ASSIGN_OR_RETURN(count, bound.IntegerOr(2, -1));
  }
  Budget& budget = interpreter.budget();
  return Value(Replace(ToText(self, budget), ToText(*bound[0], budget), ToText(*bound[1], budget),
                       Clamp64(count), budget));
}

Result Indent(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"width", "first", "blank"}));
  Budget& budget = interpreter.budget();
  if (const Undefined* undefined = self.AsUndefined()) return UndefinedError(*undefined);
  if (!self.AsStr())
    return TypeError(absl::StrCat("indent takes a string, not ", std::string(TypeName(self))));
  Str indentation;
  if (bound[0] != nullptr && bound[0]->AsStr()) {
    indentation = *bound[0]->AsStr();
  } else {
    ASSIGN_OR_RETURN(const Integer width, bound.IntegerOr(0, 4));
    StrBuilder spaces(budget);
    spaces.Repeat(Str::Literal(" "), Clamp64(width));
    indentation = spaces.Build();
  }
  const bool indent_first = bound.TruthyOr(1, false);
  const bool indent_blank = bound.TruthyOr(2, false);
  const Str newline = Str::Literal("\n");
  const std::vector<Str> lines = SplitLines(Concat(*self.AsStr(), newline, budget), false, budget);
  StrBuilder out(budget);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.Append(newline);
    const bool indents = i == 0 ? indent_first : indent_blank || !lines[i].empty();
    if (indents) out.Append(indentation);
    out.Append(lines[i]);
  }
  return Value(out.Build().WithMarkup(self.AsStr()->markup()));
}

Result Center(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"width"}));
  ASSIGN_OR_RETURN(const Integer width, bound.IntegerOr(0, 80));
  const Arguments centered = {.positional = {Value(width)}, .keyword = {}};
  return FindStringMethod("center")(interpreter, Value(ToText(self, interpreter.budget())), centered);
}

Result Format(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  Budget& budget = interpreter.budget();
  if (!arguments.positional.empty() && !arguments.keyword.empty()) {
    return TypeError("can't handle positional and keyword arguments at the same time");
  }
  Value values = MakeTuple(arguments.positional, budget);
  if (!arguments.keyword.empty()) {
    DictBuilder builder(budget);
    for (const auto& [name, value] : arguments.keyword) RETURN_IF_ERROR(builder.Set(Value(name), value));
    values = builder.Build();
  }
  return FormatPercent(ToText(self, budget), values, budget);
}

Result WordCount(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  const Str text = ToText(self, interpreter.budget());
  interpreter.budget().Work(static_cast<int64_t>(text.size()));
  int64_t count = 0;
  bool inside = false;
  for (size_t i = 0; i < text.size();) {
    const CodePoint next = DecodeAt(text.view(), i);
    const bool is_word = IsAlphabetic(next.value) || IsNumeric(next.value) || next.value == '_';
    count += is_word && !inside ? 1 : 0;
    inside = is_word;
    i += next.bytes;
  }
  return Value(count);
}

Result Truncate(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound,
                   BoundArguments::Bind(arguments, {"length", "killwords", "end", "leeway"}));
  ASSIGN_OR_RETURN(const Integer length, bound.IntegerOr(0, 255));
  ASSIGN_OR_RETURN(const Str end, bound.TextOr(2, Str::Literal("...")));
  ASSIGN_OR_RETURN(const Integer leeway, bound.IntegerOr(3, 5));
  Budget& budget = interpreter.budget();
  const Str text = ToText(self, budget);
  budget.Work(static_cast<int64_t>(text.size()));
  const auto end_length = static_cast<Integer>(CountCodePoints(end));
  if (length < end_length || leeway < 0) return ValueError("truncate: length or leeway is too small");
  if (static_cast<Integer>(CountCodePoints(text)) - leeway <= length) return Value(text);
  Str kept = text.Slice(0, OffsetOf(text, static_cast<size_t>(length - end_length)));
  if (!bound.TruthyOr(1, false)) {
    const size_t space = kept.view().rfind(' ');
    if (space != std::string_view::npos) kept = kept.Slice(0, space);
  }
  return Value(Concat(kept, end, budget));
}

constexpr NamedNative kFilters[] = {
    {"trim", Trim},
    {"upper", Case<CaseMapping::kUpper>},
    {"lower", Case<CaseMapping::kLower>},
    {"capitalize", Case<CaseMapping::kCapitalize>},
    {"title", Title},
    {"replace", ReplaceFilter},
    {"indent", Indent},
    {"center", Center},
    {"format", Format},
    {"wordcount", WordCount},
    {"truncate", Truncate},
};

}  // namespace

Native FindTextFilter(std::string_view name) { return FindNative(kFilters, name); }

}  // namespace ropeway::jinja
