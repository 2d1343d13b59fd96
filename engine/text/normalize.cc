#include "engine/text/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace ropeway {

absl::StatusOr<std::string> NormalizeUnicode(std::string_view text, UnicodeForm form) {
  const bool ascii =
      std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (ascii) return std::string(text);
  const bool composes = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const int options = UTF8PROC_STABLE | (composes ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                      (compatible ? UTF8PROC_COMPAT : 0);
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                               static_cast<utf8proc_ssize_t>(text.size()), &result,
                                               static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, &std::free);
  if (length < 0) return absl::InternalError(absl::StrCat("normalisation failed: ", utf8proc_errmsg(length)));
  return std::string(reinterpret_cast<const char*>(result), static_cast<size_t>(length));
}

absl::Status CheckGrowth(size_t bytes_before, size_t bytes_after) {
  constexpr size_t kMaxFactor = 32, kMaxExtra = 4096;
  if (bytes_after <= bytes_before * kMaxFactor + kMaxExtra) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("the tokenizer's normalizer makes ", bytes_after,
                                                   " bytes of ", bytes_before, ", more than ", kMaxFactor,
                                                   " times as many"));
}

std::string SpellSpaces(std::string_view text) {
  return absl::StrReplaceAll(absl::string_view(text.data(), text.size()), {{" ", "\u2581"}});
}

}  // namespace ropeway
