#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/print.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

void AppendUnit(uint32_t unit, std::string& out) { absl::StrAppendFormat(&out, "\\u%04x", unit); }

void AppendEscaped(char32_t c, bool ensure_ascii, std::string& out) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    default:
      break;
  }
  // With ensure_ascii Python's encoder also escapes U+007F.
  if (c >= 0x20 && (!ensure_ascii || c < 0x7F)) {
    AppendUtf8(c, out);
  } else if (c < 0x10000) {
    AppendUnit(c, out);
  } else {
    AppendUnit(0xD800 + ((c - 0x10000) >> 10), out);
    AppendUnit(0xDC00 + ((c - 0x10000) & 0x3FF), out);
  }
}

class JsonWriter {
 public:
  JsonWriter(const JsonFormat& format, Budget& budget) : format_(format), budget_(budget), out_(budget) {}
  absl::Status Write(const Value& value);
  Str Build() { return out_.Build(); }

 private:
  void WriteText(const Str& text);
  void WriteFloat(double value);
  void StartItem(bool first);
  void EndItems();
  absl::Status WriteList(const std::vector<Value>& items);
  absl::Status WriteDict(const Dict& dict);
  absl::Status WriteKey(const Value& key);

  const JsonFormat& format_;
  Budget& budget_;
  StrBuilder out_;
  int depth_ = 0;
};

void JsonWriter::WriteText(const Str& text) {
  out_.AppendTrusted("\"");
  std::string escaped;
  text.ForEachRun([&](std::string_view piece, bool trusted) {
    escaped.clear();
    for (size_t i = 0; i < piece.size();) {
      const CodePoint next = DecodeAt(piece, i);
      AppendEscaped(next.value, format_.ensure_ascii, escaped);
      i += next.bytes;
    }
    out_.Append(escaped, trusted);
  });
  out_.AppendTrusted("\"");
}

void JsonWriter::WriteFloat(double value) {
  if (std::isnan(value)) {
    out_.AppendTrusted("NaN");
  } else if (std::isinf(value)) {
    out_.AppendTrusted(value < 0 ? "-Infinity" : "Infinity");
  } else {
    out_.AppendTrusted(ToString(value));
  }
}

void JsonWriter::StartItem(bool first) {
  if (!first) out_.Append(format_.item_separator);
  if (!format_.indent.has_value()) return;
  out_.AppendTrusted("\n");
  out_.Repeat(*format_.indent, depth_);
}

void JsonWriter::EndItems() {
  if (!format_.indent.has_value()) return;
  out_.AppendTrusted("\n");
  out_.Repeat(*format_.indent, depth_);
}

absl::Status JsonWriter::Write(const Value& value) {
  if (!budget_.Step()) return budget_.status();
  if (const Str* text = value.AsStr()) {
    WriteText(*text);
  } else if (const bool* boolean = value.AsBool()) {
    out_.AppendTrusted(*boolean ? "true" : "false");
  } else if (const Integer* integer = value.AsInteger()) {
    out_.AppendTrusted(ToString(*integer));
  } else if (const double* number = value.AsFloat()) {
    WriteFloat(*number);
  } else if (value.IsNone()) {
    out_.AppendTrusted("null");
  } else if (const Dict* dict = value.AsDict()) {
    return WriteDict(*dict);
  } else if (value.AsList() || value.AsTuple()) {
    return WriteList(value.AsSequence()->items);
  } else {
    return TypeError(
        absl::StrCat("Object of type ", std::string(TypeName(value)), " is not JSON serializable"));
  }
  return absl::OkStatus();
}

absl::Status JsonWriter::WriteList(const std::vector<Value>& items) {
  out_.AppendTrusted("[");
  ++depth_;
  for (size_t i = 0; i < items.size(); ++i) {
    StartItem(i == 0);
    RETURN_IF_ERROR(Write(items[i]));
  }
  --depth_;
  if (!items.empty()) EndItems();
  out_.AppendTrusted("]");
  return absl::OkStatus();
}

absl::Status JsonWriter::WriteKey(const Value& key) {
  if (key.AsStr()) return Write(key);
  const bool scalar = key.AsBool() || key.AsInteger() || key.AsFloat() || key.IsNone();
  if (!scalar) {
    return TypeError(
        absl::StrCat("keys must be str, int, float, bool or None, not ", std::string(TypeName(key))));
  }
  out_.AppendTrusted("\"");
  RETURN_IF_ERROR(Write(key));
  out_.AppendTrusted("\"");
  return absl::OkStatus();
}

absl::Status JsonWriter::WriteDict(const Dict& dict) {
  std::vector<const Dict::Entry*> entries;
  for (const Dict::Entry& entry : dict.entries) entries.push_back(&entry);
  if (format_.sort_keys) {
    absl::Status failure;
    std::stable_sort(entries.begin(), entries.end(), [&](const Dict::Entry* a, const Dict::Entry* b) {
      const absl::StatusOr<bool> less = Less(a->first, b->first, budget_);
      if (!less.ok()) failure = less.status();
      return less.ok() && *less;
    });
    RETURN_IF_ERROR(failure);
  }
  out_.AppendTrusted("{");
  ++depth_;
  for (size_t i = 0; i < entries.size(); ++i) {
    StartItem(i == 0);
    RETURN_IF_ERROR(WriteKey(entries[i]->first));
    out_.Append(format_.key_separator);
    RETURN_IF_ERROR(Write(entries[i]->second));
  }
  --depth_;
  if (!entries.empty()) EndItems();
  out_.AppendTrusted("}");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Str> ToJson(const Value& value, const JsonFormat& format, Budget& budget) {
  JsonWriter writer(format, budget);
  RETURN_IF_ERROR(writer.Write(value));
  return writer.Build();
}

}  // namespace ropeway::jinja
