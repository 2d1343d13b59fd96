#include "engine/text/jinja/text_operations.h"

#include <algorithm>

#include "engine/text/jinja/text_search.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

constexpr size_t kNone = std::string_view::npos;

bool IsLineEnd(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

// Adds a part unless the budget is used up.
bool AddPart(const Str& part, std::vector<Str>& parts, Budget& budget) {
  if (!budget.Allocate(sizeof(Value))) return false;
  parts.push_back(part);
  return true;
}

Str Interleave(const Str& text, const Str& filling, int64_t count, Budget& budget) {
  StrBuilder out(budget);
  size_t offset = 0;
  for (int64_t i = 0; i < count && !budget.exhausted(); ++i) {
    out.Append(filling);
    if (offset == text.size()) return out.Build();
    const size_t end = offset + DecodeAt(text.view(), offset).bytes;
    out.Append(text.Slice(offset, end));
    offset = end;
  }
  out.Append(text.From(offset));
  return out.Build();
}

std::vector<Str> SplitAtFromRight(const Str& text, const Str& separator, int64_t max_splits, Budget& budget) {
  // Searching the reversed text for the reversed separator stays linear.
  const std::string reversed(text.view().rbegin(), text.view().rend());
  const std::string mark(separator.view().rbegin(), separator.view().rend());
  std::vector<Str> parts;
  size_t begin = 0;  // of the reversed text
  for (int64_t splits = 0; splits != max_splits; ++splits) {
    const size_t found = FindText(reversed, mark, begin);
    if (found == kNone) break;
    if (!AddPart(text.Slice(text.size() - found, text.size() - begin), parts, budget)) break;
    begin = found + mark.size();
  }
  AddPart(text.Slice(0, text.size() - begin), parts, budget);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

Str Replace(const Str& text, const Str& old, const Str& replacement, int64_t count, Budget& budget) {
  if (count < 0) count = static_cast<int64_t>(text.size()) + 1;
  if (old.empty()) return Interleave(text, replacement, count, budget);
  StrBuilder out(budget);
  size_t begin = 0;
  for (; count > 0 && !budget.exhausted(); --count) {
    const size_t found = FindText(text.view(), old.view(), begin);
    if (found == kNone) break;
    out.Append(text.Slice(begin, found));
    out.Append(replacement);
    begin = found + old.size();
  }
  out.Append(text.From(begin));
  return out.Build();
}

std::vector<Str> SplitAt(const Str& text, const Str& separator, int64_t max_splits, bool from_right,
                         Budget& budget) {
  budget.Work(static_cast<int64_t>(text.size()));
  if (from_right) return SplitAtFromRight(text, separator, max_splits, budget);
  std::vector<Str> parts;
  size_t begin = 0;
  for (int64_t splits = 0; splits != max_splits; ++splits) {
    const size_t found = FindText(text.view(), separator.view(), begin);
    if (found == kNone || !AddPart(text.Slice(begin, found), parts, budget)) break;
    begin = found + separator.size();
  }
  AddPart(text.From(begin), parts, budget);
  return parts;
}

std::vector<Str> SplitAtSpace(const Str& text, int64_t max_splits, bool from_right, Budget& budget) {
  budget.Work(static_cast<int64_t>(text.size()));
  const Side outer = from_right ? Side::kRight : Side::kLeft;
  std::vector<Str> parts;
  Str rest = StripSpace(text, outer);
  for (int64_t splits = 0; !rest.empty(); ++splits) {
    const std::string_view view = rest.view();
    if (splits == max_splits) {
      AddPart(rest, parts, budget);
      break;
    }
    size_t cut = from_right ? view.size() : 0;
    if (from_right) {
      while (cut > 0 && !IsSpace(DecodeBefore(view, cut).value)) cut -= DecodeBefore(view, cut).bytes;
    } else {
      while (cut < view.size() && !IsSpace(DecodeAt(view, cut).value)) cut += DecodeAt(view, cut).bytes;
    }
    if (!AddPart(from_right ? rest.From(cut) : rest.Slice(0, cut), parts, budget)) break;
    rest = StripSpace(from_right ? rest.Slice(0, cut) : rest.From(cut), outer);
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<Str> SplitLines(const Str& text, bool keep_ends, Budget& budget) {
  budget.Work(static_cast<int64_t>(text.size()));
  const std::string_view view = text.view();
  std::vector<Str> lines;
  size_t begin = 0;
  for (size_t i = 0; i < view.size();) {
    const CodePoint next = DecodeAt(view, i);
    const size_t line_end = i;
    i += next.bytes;
    if (!IsLineEnd(next.value)) continue;
    if (next.value == '\r' && i < view.size() && view[i] == '\n') ++i;
    if (!AddPart(text.Slice(begin, keep_ends ? i : line_end), lines, budget)) return lines;
    begin = i;
  }
  if (begin < view.size()) AddPart(text.From(begin), lines, budget);
  return lines;
}

Str Pad(const Str& text, const Str& fill, int64_t left, int64_t right, Budget& budget) {
  if (left <= 0 && right <= 0) return text;
  StrBuilder out(budget);
  out.Repeat(fill, left);
  out.Append(text);
  out.Repeat(fill, right);
  return out.Build().WithMarkup(text.markup());
}

std::vector<Value> AsValues(const std::vector<Str>& texts, bool markup) {
  std::vector<Value> values;
  values.reserve(texts.size());
  for (const Str& text : texts) values.emplace_back(text.WithMarkup(markup));
  return values;
}

}  // namespace ropeway::jinja
