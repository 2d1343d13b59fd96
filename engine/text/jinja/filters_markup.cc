// Filters for web pages and for people: tags, addresses, sizes.
#include <array>
#include <cmath>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/arguments.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/filters.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/print.h"
#include "engine/text/jinja/text_operations.h"
#include "engine/text/jinja/text_search.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

using Result = absl::StatusOr<Value>;
constexpr size_t kNone = std::string_view::npos;

// `text` without comments and tags; what is not closed stays.
Str WithoutTags(const Str& text, Budget& budget) {
  const std::string_view view = text.view();
  StrBuilder kept(budget);
  size_t position = 0;
  for (size_t start = FindText(view, "<"); start != kNone; start = FindText(view, "<", position)) {
    const bool is_comment = view.substr(start, 4) == "<!--";
    const std::string_view close = is_comment ? "-->" : ">";
    const size_t end = FindText(view, close, is_comment ? start + 4 : start);
    if (end == kNone) break;
    kept.Append(text.Slice(position, start));
    position = end + close.size();
  }
  kept.Append(text.From(position));
  return kept.Build();
}

// Entities of HTML by name: those of XML and the blank. Others stay as they are written.
constexpr std::pair<std::string_view, char32_t> kEntities[] = {{"amp", '&'},  {"lt", '<'},    {"gt", '>'},
                                                               {"quot", '"'}, {"apos", '\''}, {"nbsp", 0xA0}};

// The code point that "#65", "#x41" or "amp" stands for; 0 for none.
char32_t EntityOf(std::string_view name) {
  for (const auto& [known, code_point] : kEntities) {
    if (name == known) return code_point;
  }
  if (name.size() < 2 || name[0] != '#') return 0;
  const bool is_hex = name[1] == 'x' || name[1] == 'X';
  const std::string_view digits = name.substr(is_hex ? 2 : 1);
  if (digits.empty() || !absl::ascii_isxdigit(static_cast<unsigned char>(digits[0]))) return 0;
  const std::optional<Integer> value = ParseInteger(digits, is_hex ? 16 : 10);
  if (!value.has_value()) return 0;
  // As browsers do: no such character.
  if (*value == 0 || *value > 0x10FFFF || (*value >= 0xD800 && *value < 0xE000)) return 0xFFFD;
  return static_cast<char32_t>(*value);
}

Str Unescape(const Str& text, Budget& budget) {
  constexpr size_t kLongestEntity = 10;
  const std::string_view view = text.view();
  StrBuilder out(budget);
  size_t position = 0;
  for (size_t start = FindText(view, "&"); start != kNone; start = FindText(view, "&", start + 1)) {
    const std::string_view rest = view.substr(start + 1, kLongestEntity);
    const size_t length = rest.find(';');
    const char32_t code_point = length == kNone ? 0 : EntityOf(rest.substr(0, length));
    if (code_point == 0) continue;
    out.Append(text.Slice(position, start));
    std::string utf8;
    AppendUtf8(code_point, utf8);
    out.Append(utf8, text.TrustedAt(start));
    position = start + length + 2;
    start = position - 1;
  }
  out.Append(text.From(position));
  return out.Build();
}

Result StripTags(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  Budget& budget = interpreter.budget();
  const Str text = ToText(self, budget);
  budget.Work(static_cast<int64_t>(3 * text.size()));
  const std::vector<Str> words =
      SplitAtSpace(WithoutTags(text.WithMarkup(false), budget), -1, /*from_right=*/false, budget);
  StrBuilder joined(budget);
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) joined.AppendTrusted(" ");
    joined.Append(words[i]);
  }
  return Value(Unescape(joined.Build(), budget));
}

// Percent-encoded as in a path, or as in a query: there a slash is encoded, too, and a space is a plus.
void AppendQuoted(const Str& text, bool in_query, StrBuilder& out) {
  text.ForEachRun([&](std::string_view run, bool trusted) {
    for (const char c : run) {
      const auto byte = static_cast<unsigned char>(c);
      const bool plain = absl::ascii_isalnum(byte) || c == '_' || c == '.' || c == '-' || c == '~';
      if (plain || (c == '/' && !in_query)) {
        out.Append(std::string_view(&c, 1), trusted);
      } else if (c == ' ' && in_query) {
        out.Append("+", trusted);
      } else {
        out.Append(absl::StrFormat("%%%02X", byte), trusted);
      }
    }
  });
}

Result UrlEncode(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  Budget& budget = interpreter.budget();
  StrBuilder out(budget);
  const absl::StatusOr<ValueIterator> iterable = ValueIterator::Over(self);
  if (self.AsStr() != nullptr || !iterable.ok()) {
    AppendQuoted(ToText(self, budget), /*in_query=*/false, out);
    return Value(out.Build());
  }
  std::vector<std::pair<Value, Value>> pairs;
  if (const Dict* dict = self.AsDict()) {
    pairs = dict->entries;
  } else {
    ASSIGN_OR_RETURN(const std::vector<Value> items, Items(self, budget));
    for (const Value& item : items) {
      ASSIGN_OR_RETURN(const std::vector<Value> parts, Items(item, budget));
      if (parts.size() != 2) return ValueError("urlencode takes pairs");
      pairs.emplace_back(parts[0], parts[1]);
    }
  }
  for (size_t i = 0; i < pairs.size() && budget.Step(); ++i) {
    if (i > 0) out.AppendTrusted("&");
    AppendQuoted(ToText(pairs[i].first, budget), /*in_query=*/true, out);
    out.AppendTrusted("=");
    AppendQuoted(ToText(pairs[i].second, budget), /*in_query=*/true, out);
  }
  return Value(out.Build());
}

Result FileSizeFormat(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  constexpr std::string_view kPrefixes[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"binary"}));
  if (const Undefined* undefined = self.AsUndefined()) return UndefinedError(*undefined);
  const Native to_float = FindValueFilter("float");
  const bool is_number = self.AsFloat() || self.AsIndex().has_value() || self.AsStr();
  if (!is_number) return TypeError("filesizeformat takes a number");
  ASSIGN_OR_RETURN(const Value number, to_float(interpreter, self, {}));
  const double bytes = *number.AsFloat();
  const bool binary = bound.TruthyOr(0, false);
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return Value(Str::Literal("1 Byte"));
  if (bytes < base) return Value(Str::Literal(absl::StrCat(static_cast<int64_t>(bytes), " Bytes")));
  double unit = base * base;
  size_t i = 0;
  for (; bytes >= unit && i + 1 < std::size(kPrefixes); ++i) unit *= base;
  std::string prefix(kPrefixes[i]);
  if (binary) prefix = absl::StrCat(absl::AsciiStrToUpper(prefix), "i");
  return Value(Str::Literal(absl::StrFormat("%.1f %sB", base * bytes / unit, prefix)));
}

constexpr NamedNative kFilters[] = {
    {"striptags", StripTags},
    {"urlencode", UrlEncode},
    {"filesizeformat", FileSizeFormat},
};

}  // namespace

Native FindMarkupFilter(std::string_view name) { return FindNative(kFilters, name); }

}  // namespace ropeway::jinja
