#include "engine/text/byte_spelling.h"

#include "absl/container/flat_hash_map.h"
#include "engine/base/utf8.h"

namespace ropeway {
namespace {

std::string SpellCodePoint(int code_point) {  // below U+0800
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3F))};
}

std::array<std::string, 256> MakeSpellings() {
  std::array<std::string, 256> spellings;
  int spare = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    spellings[byte] = SpellCodePoint(printable ? byte : spare++);
  }
  return spellings;
}

}  // namespace

const std::array<std::string, 256>& ByteSpellings() {
  static const auto& spellings = *new std::array<std::string, 256>(MakeSpellings());
  return spellings;
}

std::string SpellBytes(std::string_view text) {
  const auto& spellings = ByteSpellings();
  std::string spelt;
  spelt.reserve(text.size());
  for (const char byte : text) spelt += spellings[static_cast<uint8_t>(byte)];
  return spelt;
}

std::string BytesSpelt(std::string_view text) {
  static const auto& bytes = *new absl::flat_hash_map<std::string_view, char>([] {
    absl::flat_hash_map<std::string_view, char> made;
    const auto& spellings = ByteSpellings();
    for (int byte = 0; byte < 256; ++byte) made.emplace(spellings[byte], static_cast<char>(byte));
    return made;
  }());
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8Length(text[i]);
    const auto found = bytes.find(text.substr(i, length));
    if (found == bytes.end()) return std::string(text);
    result += found->second;
    i += length;
  }
  return result;
}

}  // namespace ropeway
