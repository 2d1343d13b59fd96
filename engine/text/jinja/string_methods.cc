// Methods of str. A method of markup gives markup and escapes its arguments, as MarkupSafe's do.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/arguments.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/format.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/print.h"
#include "engine/text/jinja/text_operations.h"
#include "engine/text/jinja/text_search.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

using Result = absl::StatusOr<Value>;
constexpr size_t kNone = std::string_view::npos;

// `argument` as a method of `self` sees it.
Str Fit(const Str& self, const Str& argument, Budget& budget) {
  return self.markup() ? Escape(argument, budget) : argument;
}

// Most methods of str take no keywords.
template <Native method>
Result Positional(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  if (!arguments.keyword.empty()) return TypeError("the method takes no keyword arguments");
  return method(interpreter, self, arguments);
}

template <CaseMapping mapping>
Result Case(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  return Value(MapCase(*self.AsStr(), mapping, interpreter.budget()));
}

template <Side side>
Result Strip(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"chars"}));
  const Str& text = *self.AsStr();
  interpreter.budget().Work(static_cast<int64_t>(text.size()));
  if (bound[0] == nullptr || bound[0]->IsNone()) return Value(StripSpace(text, side));
  ASSIGN_OR_RETURN(const Str characters, bound.TextOr(0, Str()));
  interpreter.budget().Work(static_cast<int64_t>(characters.size()));
  return Value(StripCharacters(text, characters.view(), side));
}

template <bool from_right>
Result Split(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"sep", "maxsplit"}));
  ASSIGN_OR_RETURN(const Integer max_splits, bound.IntegerOr(1, -1));
  const int64_t limit = max_splits < 0 ? -1 : Clamp64(max_splits);
  const Str& text = *self.AsStr();
  Budget& budget = interpreter.budget();
  std::vector<Str> parts;
  if (bound[0] == nullptr || bound[0]->IsNone()) {
    parts = SplitAtSpace(text, limit, from_right, budget);
  } else {
    ASSIGN_OR_RETURN(const Str separator, bound.TextOr(0, Str()));
    if (separator.empty()) return ValueError("empty separator");
    parts = SplitAt(text, separator, limit, from_right, budget);
  }
  return MakeList(AsValues(parts, text.markup()), budget);
}

template <bool from_right>
Result Partition(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"sep"}, 1));
  ASSIGN_OR_RETURN(const Str separator, bound.TextOr(0, Str()));
  if (separator.empty()) return ValueError("empty separator");
  const Str& text = *self.AsStr();
  Budget& budget = interpreter.budget();
  budget.Work(static_cast<int64_t>(text.size()));
  const size_t found =
      from_right ? FindLastText(text.view(), separator.view()) : FindText(text.view(), separator.view());
  if (found == kNone) {
    const Str empty = Str().WithMarkup(text.markup());
    if (from_right) return MakeTuple({empty, empty, text}, budget);
    return MakeTuple({text, empty, empty}, budget);
  }
  const size_t end = found + separator.size();
  return MakeTuple({text.Slice(0, found), text.Slice(found, end), text.From(end)}, budget);
}

Result SplitLinesMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"keepends"}));
  const Str& text = *self.AsStr();
  return MakeList(AsValues(SplitLines(text, bound.TruthyOr(0, false), interpreter.budget()), text.markup()),
                  interpreter.budget());
}

Result ReplaceMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const Str old, bound.TextOr(0, Str()));
  ASSIGN_OR_RETURN(const Str replacement, bound.TextOr(1, Str()));
  ASSIGN_OR_RETURN(const Integer count, bound.IntegerOr(2, -1));
  const Str& text = *self.AsStr();
  Budget& budget = interpreter.budget();
  const Str result =
      Replace(text, Fit(text, old, budget), Fit(text, replacement, budget), Clamp64(count), budget);
  return Value(result.WithMarkup(text.markup()));
}

Result JoinMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"iterable"}, 1));
  Budget& budget = interpreter.budget();
  ASSIGN_OR_RETURN(const std::vector<Value> items, Items(*bound[0], budget));
  const Str& separator = *self.AsStr();
  StrBuilder out(budget);
  for (size_t i = 0; i < items.size(); ++i) {
    const Str* item = items[i].AsStr();
    if (item == nullptr) {
      return TypeError(absl::StrCat("sequence item ", i, ": expected str instance, ",
                                    std::string(TypeName(items[i])), " found"));
    }
    if (i > 0) out.Append(separator);
    out.Append(Fit(separator, *item, budget));
  }
  return Value(out.Build().WithMarkup(separator.markup()));
}

// The part [start, end) of the text that find() and the like look at.
absl::StatusOr<Str> Window(const Str& text, const BoundArguments& bound, Budget& budget) {
  if (bound[1] == nullptr && bound[2] == nullptr) return text;
  const auto length = static_cast<Integer>(CountCodePoints(text));
  budget.Work(static_cast<int64_t>(text.size()));
  ASSIGN_OR_RETURN(Integer start, bound.IntegerOr(1, 0));
  ASSIGN_OR_RETURN(Integer end, bound.IntegerOr(2, length));
  const auto resolve = [&](Integer index) {
    const Integer from_start = index < 0 ? std::max<Integer>(index, -length) + length : index;
    return static_cast<size_t>(std::min(from_start, length));
  };
  const size_t begin = OffsetOf(text, resolve(start));
  return text.Slice(begin, std::max(begin, OffsetOf(text, resolve(end))));
}

// The index of the code point where a part is found; -1 when it is not.
template <bool from_right>
absl::StatusOr<Integer> FindIndex(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"sub", "start", "end"}, 1));
  ASSIGN_OR_RETURN(const Str part, bound.TextOr(0, Str()));
  const Str& text = *self.AsStr();
  interpreter.budget().Work(static_cast<int64_t>(text.size()));
  ASSIGN_OR_RETURN(const Str window, Window(text, bound, interpreter.budget()));
  const size_t found =
      from_right ? FindLastText(window.view(), part.view()) : FindText(window.view(), part.view());
  if (found == kNone) return Integer(-1);
  const size_t skipped = static_cast<size_t>(window.view().data() - text.view().data());
  return static_cast<Integer>(CountCodePoints(text.Slice(0, skipped + found)));
}

template <bool from_right>
Result FindMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Integer index, FindIndex<from_right>(interpreter, self, arguments));
  return Value(index);
}

template <bool from_right>
Result IndexMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Integer index, FindIndex<from_right>(interpreter, self, arguments));
  if (index < 0) return ValueError("substring not found");
  return Value(index);
}

Result CountMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"sub", "start", "end"}, 1));
  ASSIGN_OR_RETURN(const Str part, bound.TextOr(0, Str()));
  interpreter.budget().Work(static_cast<int64_t>(self.AsStr()->size()));
  ASSIGN_OR_RETURN(const Str window, Window(*self.AsStr(), bound, interpreter.budget()));
  if (part.empty()) return Value(Integer(CountCodePoints(window) + 1));
  int64_t count = 0;
  for (size_t i = FindText(window.view(), part.view()); i != kNone; ++count) {
    i = FindText(window.view(), part.view(), i + part.size());
  }
  return Value(count);
}

// Whether the text begins (or ends) with a text or one of a tuple of texts.
template <bool at_end>
Result Affixed(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"affix", "start", "end"}, 1));
  ASSIGN_OR_RETURN(const Str window, Window(*self.AsStr(), bound, interpreter.budget()));
  const std::string_view text = window.view();
  const auto matches = [&](const Value& affix) {
    const Str* part = affix.AsStr();
    if (part == nullptr || part->size() > text.size()) return false;
    return text.substr(at_end ? text.size() - part->size() : 0, part->size()) == part->view();
  };
  if (bound[0]->AsStr()) return Value(matches(*bound[0]));
  if (!bound[0]->AsTuple()) {
    return TypeError(absl::StrCat(at_end ? "endswith" : "startswith",
                                  " first arg must be str or a tuple of str, not ",
                                  std::string(TypeName(*bound[0]))));
  }
  const auto& affixes = bound[0]->AsSequence()->items;
  interpreter.budget().Work(static_cast<int64_t>(affixes.size() * sizeof(Value)));
  return Value(std::any_of(affixes.begin(), affixes.end(), matches));
}

template <bool at_end>
Result RemoveAffix(Interpreter&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"affix"}, 1));
  ASSIGN_OR_RETURN(const Str affix, bound.TextOr(0, Str()));
  const Str& text = *self.AsStr();
  if (affix.size() > text.size()) return self;
  const size_t rest = text.size() - affix.size();
  if (text.view().substr(at_end ? rest : 0, affix.size()) != affix.view()) return self;
  return Value(at_end ? text.Slice(0, rest) : text.From(affix.size()));
}

// ljust, rjust and center.
template <Side text_side>
Result Justify(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"width", "fillchar"}, 1));
  ASSIGN_OR_RETURN(const Integer width, bound.IntegerOr(0, 0));
  ASSIGN_OR_RETURN(const Str fill, bound.TextOr(1, Str::Literal(" ")));
  if (CountCodePoints(fill) != 1) return TypeError("the fill character must be exactly one character long");
  const Str& text = *self.AsStr();
  const auto length = static_cast<int64_t>(CountCodePoints(text));
  const int64_t padding = std::max<int64_t>(0, Clamp64(width) - length);
  int64_t left = text_side == Side::kRight ? padding : 0;
  // The odd one stands left when the width is odd, too.
  if (text_side == Side::kBoth) left = padding / 2 + (padding & Clamp64(width) & 1);
  return Value(Pad(text, fill, left, padding - left, interpreter.budget()));
}

Result ZeroFill(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"width"}, 1));
  ASSIGN_OR_RETURN(const Integer width, bound.IntegerOr(0, 0));
  const Str& text = *self.AsStr();
  const bool is_signed = !text.empty() && (text.view()[0] == '-' || text.view()[0] == '+');
  const auto length = static_cast<int64_t>(CountCodePoints(text));
  StrBuilder out(interpreter.budget());
  out.Append(text.Slice(0, is_signed ? 1 : 0));
  out.Repeat(Str::Literal("0"), Clamp64(width) - length);
  out.Append(text.From(is_signed ? 1 : 0));
  return Value(out.Build().WithMarkup(text.markup()));
}

Result ExpandTabs(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"tabsize"}));
  ASSIGN_OR_RETURN(const Integer size, bound.IntegerOr(0, 8));
  const int64_t tab = Clamp64(size);
  const Str& text = *self.AsStr();
  StrBuilder out(interpreter.budget());
  int64_t column = 0;
  for (size_t i = 0; i < text.size() && !interpreter.budget().exhausted();) {
    const CodePoint next = DecodeAt(text.view(), i);
    if (next.value == '\t') {
      const int64_t spaces = tab > 0 ? tab - column % tab : 0;
      out.Repeat(Str::Literal(" "), spaces);
      column += spaces;
    } else {
      out.Append(text.Slice(i, i + next.bytes));
      column = next.value == '\n' || next.value == '\r' ? 0 : column + 1;
    }
    i += next.bytes;
  }
  return Value(out.Build().WithMarkup(text.markup()));
}

Result FormatMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  return FormatBraces(*self.AsStr(), arguments, interpreter.budget());
}

bool IsAlphanumeric(char32_t c) { return IsAlphabetic(c) || IsNumeric(c); }
bool IsAscii(char32_t c) { return c < 0x80; }

// Whether the text has code points (or may be empty) and `predicate` holds for all.
template <bool (*predicate)(char32_t), bool of_empty = false>
Result AllOf(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  const std::string_view text = self.AsStr()->view();
  interpreter.budget().Work(static_cast<int64_t>(text.size()));
  for (size_t i = 0; i < text.size();) {
    const CodePoint next = DecodeAt(text, i);
    if (!predicate(next.value)) return Value(false);
    i += next.bytes;
  }
  return Value(of_empty || !text.empty());
}

template <const char* test>
Result TestOf(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  return FindTest(test)(interpreter, self, arguments);
}
constexpr char kLower[] = "lower";
constexpr char kUpper[] = "upper";

constexpr NamedNative kMethods[] = {
    {"strip", Positional<Strip<Side::kBoth>>},
    {"lstrip", Positional<Strip<Side::kLeft>>},
    {"rstrip", Positional<Strip<Side::kRight>>},
    {"split", Split<false>},
    {"rsplit", Split<true>},
    {"splitlines", SplitLinesMethod},
    {"partition", Positional<Partition<false>>},
    {"rpartition", Positional<Partition<true>>},
    {"startswith", Positional<Affixed<false>>},
    {"endswith", Positional<Affixed<true>>},
    {"removeprefix", Positional<RemoveAffix<false>>},
    {"removesuffix", Positional<RemoveAffix<true>>},
    {"replace", Positional<ReplaceMethod>},
    {"join", Positional<JoinMethod>},
    {"format", FormatMethod},
    {"find", Positional<FindMethod<false>>},
    {"rfind", Positional<FindMethod<true>>},
    {"index", Positional<IndexMethod<false>>},
    {"rindex", Positional<IndexMethod<true>>},
    {"count", Positional<CountMethod>},
    {"upper", Positional<Case<CaseMapping::kUpper>>},
    {"lower", Positional<Case<CaseMapping::kLower>>},
    {"title", Positional<Case<CaseMapping::kTitle>>},
    {"capitalize", Positional<Case<CaseMapping::kCapitalize>>},
    {"swapcase", Positional<Case<CaseMapping::kSwap>>},
    {"ljust", Positional<Justify<Side::kLeft>>},
    {"rjust", Positional<Justify<Side::kRight>>},
    {"center", Positional<Justify<Side::kBoth>>},
    {"zfill", Positional<ZeroFill>},
    {"expandtabs", ExpandTabs},
    {"isalpha", Positional<AllOf<IsAlphabetic>>},
    {"isalnum", Positional<AllOf<IsAlphanumeric>>},
    {"isdigit", Positional<AllOf<IsDigit>>},
    {"isdecimal", Positional<AllOf<IsDecimalDigit>>},
    {"isnumeric", Positional<AllOf<IsNumeric>>},
    {"isspace", Positional<AllOf<IsSpace>>},
    {"isascii", Positional<AllOf<IsAscii, true>>},
    {"isprintable", Positional<AllOf<IsPrintable, true>>},
    {"islower", Positional<TestOf<kLower>>},
    {"isupper", Positional<TestOf<kUpper>>},
};

}  // namespace

Native FindStringMethod(std::string_view name) { return FindNative(kMethods, name); }

}  // namespace ropeway::jinja
