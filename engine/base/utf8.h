// UTF-8: what is valid, and how long a code point is.
//
// Pure functions; thread-safe.
#ifndef ROPEWAY_ENGINE_BASE_UTF8_H_
#define ROPEWAY_ENGINE_BASE_UTF8_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace ropeway {

// How the bytes at the beginning of `text` read.
struct Utf8Step {
  enum Kind {
    kCodePoint,   // `bytes` of a valid code point
    kIncomplete,  // all of the text is a proper prefix of one
    kInvalid,     // the first `bytes` can never become valid: one U+FFFD stands for them
  } kind;
  size_t bytes;
};

// REQUIRES: text is not empty.
Utf8Step NextUtf8(std::string_view text);

// Offset of the first byte that is not part of a valid code point; npos when all is valid.
size_t FindInvalidUtf8(std::string_view text);

// `text` with U+FFFD for each maximal part that can never become valid.
std::string ReplaceInvalidUtf8(std::string_view text);

// Bytes of the code point that begins with `lead`. REQUIRES: it begins a valid one.
inline size_t Utf8Length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_UTF8_H_
