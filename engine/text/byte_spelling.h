// How byte-level vocabularies spell bytes: each by one printable character.
//
// Pure functions; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_BYTE_SPELLING_H_
#define ROPEWAY_ENGINE_TEXT_BYTE_SPELLING_H_

#include <array>
#include <string>
#include <string_view>

namespace ropeway {

// The character of each byte: printable ones stand for themselves, the others follow in order from U+0100 on.
const std::array<std::string, 256>& ByteSpellings();

// The bytes of `text`, each by its character.
std::string SpellBytes(std::string_view text);

// The bytes that the characters of `text` stand for; its own UTF-8 where one is outside of the table.
// REQUIRES: valid UTF-8.
std::string BytesSpelt(std::string_view text);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_BYTE_SPELLING_H_
