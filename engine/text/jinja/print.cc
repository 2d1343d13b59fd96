#include "engine/text/jinja/print.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/loop.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

// The text of a number, a bool or None; nullopt for other values.
std::optional<std::string> ScalarText(const Value& value) {
  if (value.IsNone()) return "None";
  if (const bool* boolean = value.AsBool()) return *boolean ? "True" : "False";
  if (const Integer* integer = value.AsInteger()) return ToString(*integer);
  if (const double* number = value.AsFloat()) return ToString(*number);
  return std::nullopt;
}

void AppendEscaped(char32_t c, char quote, std::string& out) {
  if (c == '\\' || c == static_cast<unsigned char>(quote)) {
    out += '\\';
    out += static_cast<char>(c);
  } else if (c == '\n') {
    out += "\\n";
  } else if (c == '\r') {
    out += "\\r";
  } else if (c == '\t') {
    out += "\\t";
  } else if (IsPrintable(c)) {
    AppendUtf8(c, out);
  } else if (c < 0x100) {
    absl::StrAppendFormat(&out, "\\x%02x", static_cast<uint32_t>(c));
  } else if (c < 0x10000) {
    absl::StrAppendFormat(&out, "\\u%04x", static_cast<uint32_t>(c));
  } else {
    absl::StrAppendFormat(&out, "\\U%08x", static_cast<uint32_t>(c));
  }
}

void AppendTextRepr(const Str& text, StrBuilder& out) {
  const std::string_view view = text.view();
  const bool has_single = view.find('\'') != std::string_view::npos;
  const char quote = has_single && view.find('"') == std::string_view::npos ? '"' : '\'';
  if (text.markup()) out.AppendTrusted("Markup(");
  out.AppendTrusted(std::string_view(&quote, 1));
  std::string escaped;
  text.ForEachRun([&](std::string_view piece, bool trusted) {
    escaped.clear();
    for (size_t i = 0; i < piece.size();) {
      const CodePoint next = DecodeAt(piece, i);
      AppendEscaped(next.value, quote, escaped);
      i += next.bytes;
    }
    out.Append(escaped, trusted);
  });
  out.AppendTrusted(std::string_view(&quote, 1));
  if (text.markup()) out.AppendTrusted(")");
}

void AppendItems(const std::vector<Value>& items, StrBuilder& out) {
  for (size_t i = 0; i < items.size() && out.budget().Step(); ++i) {
    if (i > 0) out.AppendTrusted(", ");
    AppendRepr(items[i], out);
  }
}

void AppendSequence(const Sequence& sequence, StrBuilder& out) {
  switch (sequence.kind) {
    case SequenceKind::kTuple:
    case SequenceKind::kGroup:
      out.AppendTrusted("(");
      AppendItems(sequence.items, out);
      out.AppendTrusted(sequence.items.size() == 1 ? ",)" : ")");
      return;
    case SequenceKind::kRange: {
      const auto& range = sequence.range;
      std::string text = absl::StrCat("range(", ToString(range.start), ", ", ToString(range.stop));
      if (range.step != 1) absl::StrAppend(&text, ", ", ToString(range.step));
      out.AppendTrusted(text + ")");
      return;
    }
    default: {
      const bool is_list = sequence.kind == SequenceKind::kList;
      if (!is_list)
        out.AppendTrusted(absl::StrCat(
            std::string(TypeName(Value(std::make_shared<Sequence>(Sequence{.kind = sequence.kind})))), "("));
      out.AppendTrusted("[");
      AppendItems(sequence.items, out);
      out.AppendTrusted(is_list ? "]" : "])");
    }
  }
}

void AppendDict(const Dict& dict, StrBuilder& out) {
  out.AppendTrusted("{");
  bool first = true;
  for (const auto& [key, value] : dict.entries) {
    if (!out.budget().Step()) return;
    if (!std::exchange(first, false)) out.AppendTrusted(", ");
    AppendRepr(key, out);
    out.AppendTrusted(": ");
    AppendRepr(value, out);
  }
  out.AppendTrusted("}");
}

}  // namespace

Str ToText(const Value& value, Budget& budget) {
  if (const Str* text = value.AsStr()) return *text;
  if (value.IsUndefined()) return Str();
  StrBuilder out(budget);
  AppendRepr(value, out);
  return out.Build();
}

Str Repr(const Value& value, Budget& budget) {
  StrBuilder out(budget);
  AppendRepr(value, out);
  return out.Build();
}

void AppendRepr(const Value& value, StrBuilder& out) {
  if (const auto scalar = ScalarText(value)) return out.AppendTrusted(*scalar);
  if (const Str* text = value.AsStr()) return AppendTextRepr(*text, out);
  if (const Sequence* sequence = value.AsSequence()) return AppendSequence(*sequence, out);
  if (const Dict* dict = value.AsDict()) return AppendDict(*dict, out);
  if (value.IsUndefined()) return out.AppendTrusted("Undefined");
  if (value.AsNamespace()) return out.AppendTrusted("<Namespace>");
  if (value.AsLoop()) return out.AppendTrusted("<LoopContext>");
  const Callable* callable = value.AsCallable();
  if (callable == nullptr) return out.AppendTrusted("<generator object>");
  out.AppendTrusted(
      absl::StrCat("<", callable->macro != nullptr ? "Macro" : "function", " '", callable->name, "'>"));
}

}  // namespace ropeway::jinja
