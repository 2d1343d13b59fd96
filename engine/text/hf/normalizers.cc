#include "engine/text/hf/normalizers.h"

#include <utf8proc.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/byte_spelling.h"
#include "engine/text/charsmap.h"
#include "engine/text/normalize.h"
#include "engine/text/white_space.h"

namespace ropeway::hf {
namespace {

constexpr char kKinds[] =
    "Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Replace, Precompiled, "
    "ByteLevel";

// Calls `change(code_point, out)` for each code point.
template <typename Change>
void MapCodePoints(std::string& text, const Change& change) {
  std::string out;
  out.reserve(text.size());
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t i = 0; i < text.size();) {
    utf8proc_int32_t code_point = 0;
    i += static_cast<size_t>(
        utf8proc_iterate(bytes + i, static_cast<utf8proc_ssize_t>(text.size() - i), &code_point));
    change(code_point, out);
  }
  text = std::move(out);
}

void AppendUtf8(utf8proc_int32_t code_point, std::string& out) {
  utf8proc_uint8_t bytes[4];
  const auto count = utf8proc_encode_char(code_point, bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(count));
}

absl::Status Lowercase(std::string& text) {
  MapCodePoints(text, [](utf8proc_int32_t code_point, std::string& out) {
    // The one code point whose lower case is two.
    if (code_point == 0x130) {
      out += "i\u0307";
    } else {
      AppendUtf8(utf8proc_tolower(code_point), out);
    }
  });
  return absl::OkStatus();
}

absl::Status StripAccents(std::string& text) {
  MapCodePoints(text, [](utf8proc_int32_t code_point, std::string& out) {
    const utf8proc_category_t category = utf8proc_category(code_point);
    const bool is_mark = category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
                         category == UTF8PROC_CATEGORY_ME;
    if (!is_mark) AppendUtf8(code_point, out);
  });
  return absl::OkStatus();
}

absl::StatusOr<Normalizer> ReadStrip(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const bool left, fields.BoolOr("strip_left", true));
  ASSIGN_OR_RETURN(const bool right, fields.BoolOr("strip_right", true));
  return [left, right](std::string& text) {
    if (right) text.resize(text.size() - TrailingWhiteSpace(text));
    if (left) text.erase(0, LeadingWhiteSpace(text));
    return absl::OkStatus();
  };
}

absl::StatusOr<Normalizer> ReadPrepend(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string prefix, fields.String("prepend"));
  return [prefix](std::string& text) {
    if (!text.empty()) text = absl::StrCat(prefix, text);
    return absl::OkStatus();
  };
}

absl::StatusOr<Normalizer> ReadReplace(const JsonFields& fields) {
  ASSIGN_OR_RETURN(Regex compiled, ReadPattern(fields, "pattern"));
  ASSIGN_OR_RETURN(const std::string content, fields.String("content"));
  const auto pattern = std::make_shared<const Regex>(std::move(compiled));
  return [pattern, content](std::string& text) -> absl::Status {
    std::string out;
    size_t rest = 0;
    absl::Status growth;
    RETURN_IF_ERROR(pattern->ForEachMatch(text, [&](size_t begin, size_t end) {
      if (!growth.ok()) return;
      out.append(text, rest, begin - rest).append(content);
      rest = end;
      growth = CheckGrowth(text.size(), out.size());
    }));
    RETURN_IF_ERROR(growth);
    out.append(text, rest);
    text = std::move(out);
    return absl::OkStatus();
  };
}

absl::StatusOr<Normalizer> ReadPrecompiled(const JsonFields& fields) {
  constexpr char kKey[] = "precompiled_charsmap";
  ASSIGN_OR_RETURN(const std::string encoded, fields.StringOr(kKey, ""));
  // The identity has no table.
  if (encoded.empty()) return Normalizer();
  std::string bytes;
  if (!absl::Base64Unescape(encoded, &bytes)) return fields.Invalid(kKey, "must be base64");
  absl::StatusOr<Charsmap> read = Charsmap::Read(bytes);
  if (!read.ok()) return fields.Invalid(kKey, std::string(read.status().message()));
  const auto charsmap = std::make_shared<const Charsmap>(*std::move(read));
  return [charsmap](std::string& text) -> absl::Status {
    ASSIGN_OR_RETURN(text, charsmap->Apply(text));
    return absl::OkStatus();
  };
}

absl::StatusOr<Normalizer> Read(const JsonFields& fields);

absl::StatusOr<Normalizer> ReadSequence(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::vector<JsonFields> members, fields.Objects("normalizers"));
  std::vector<Normalizer> steps;
  for (const JsonFields& member : members) {
    ASSIGN_OR_RETURN(Normalizer step, Read(member));
    if (step != nullptr) steps.push_back(std::move(step));
  }
  return [steps](std::string& text) -> absl::Status {
    const size_t before = text.size();
    for (const Normalizer& step : steps) {
      RETURN_IF_ERROR(step(text));
      RETURN_IF_ERROR(CheckGrowth(before, text.size()));
    }
    return absl::OkStatus();
  };
}

Normalizer Form(UnicodeForm form) {
  return [form](std::string& text) -> absl::Status {
    ASSIGN_OR_RETURN(text, NormalizeUnicode(text, form));
    return absl::OkStatus();
  };
}

absl::StatusOr<Normalizer> Read(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
  if (type == "Sequence") return ReadSequence(fields);
  if (type == "NFC") return Form(UnicodeForm::kNfc);
  if (type == "NFD") return Form(UnicodeForm::kNfd);
  if (type == "NFKC") return Form(UnicodeForm::kNfkc);
  if (type == "NFKD") return Form(UnicodeForm::kNfkd);
  if (type == "Lowercase") return Normalizer(Lowercase);
  if (type == "StripAccents") return Normalizer(StripAccents);
  if (type == "Strip") return ReadStrip(fields);
  if (type == "Prepend") return ReadPrepend(fields);
  if (type == "Replace") return ReadReplace(fields);
  if (type == "Precompiled") return ReadPrecompiled(fields);
  if (type == "ByteLevel") {
    return Normalizer([](std::string& text) {
      text = SpellBytes(text);
      return absl::OkStatus();
    });
  }
  return fields.UnknownValue("type", type, kKinds);
}

}  // namespace

absl::StatusOr<Normalizer> ReadNormalizer(const JsonFields& document) {
  if (document.Find("normalizer") == nullptr) return Normalizer();
  ASSIGN_OR_RETURN(const JsonFields fields, document.Object("normalizer"));
  return Read(fields);
}

absl::StatusOr<Regex> ReadPattern(const JsonFields& fields, std::string_view key) {
  ASSIGN_OR_RETURN(const JsonFields pattern, fields.Object(key));
  const bool is_literal = pattern.Find("String") != nullptr;
  const std::string_view kind = is_literal ? "String" : "Regex";
  ASSIGN_OR_RETURN(const std::string text, pattern.String(kind));
  absl::StatusOr<Regex> regex = is_literal ? Regex::Literal(text) : Regex::Compile(text);
  if (regex.ok()) return regex;
  return absl::Status(regex.status().code(),
                      absl::StrCat(pattern.PathOf(kind), ": ", regex.status().message()));
}

}  // namespace ropeway::hf
