#include "engine/base/printable.h"

#include "absl/strings/str_format.h"
#include "engine/base/utf8.h"

namespace ropeway {
namespace {

// Whether the code point that `bytes` spell changes how what is around it is shown.
bool IsControl(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (bytes.size() == 1) return byte(0) < 0x20 || byte(0) == 0x7F;
  // U+0080 to U+009F.
  if (bytes.size() == 2) return byte(0) == 0xC2 && byte(1) < 0xA0;
  if (bytes.size() != 3 || byte(0) != 0xE2) return false;
  // U+200E, U+200F, U+2028 to U+202E; U+2066 to U+2069.
  if (byte(1) == 0x80) return byte(2) == 0x8E || byte(2) == 0x8F || (byte(2) >= 0xA8 && byte(2) <= 0xAE);
  return byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9;
}

}  // namespace

std::string Printable(std::string_view text, size_t max_bytes) {
  std::string shown;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = NextUtf8(text.substr(i));
    const std::string_view bytes = text.substr(i, step.bytes);
    std::string next(bytes);
    if (step.kind != Utf8Step::kCodePoint || IsControl(bytes)) {
      next.clear();
      for (const char c : bytes) absl::StrAppendFormat(&next, "\\x%02x", static_cast<unsigned char>(c));
    }
    if (shown.size() + next.size() > max_bytes) return shown + "...";
    shown += next;
    i += step.bytes;
  }
  return shown;
}

}  // namespace ropeway
