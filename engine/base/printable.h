// Text from a file or a client, made fit for a log line, an error message, a label or a terminal.
//
// Pure functions; thread-safe.
#ifndef ROPEWAY_ENGINE_BASE_PRINTABLE_H_
#define ROPEWAY_ENGINE_BASE_PRINTABLE_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace ropeway {

inline constexpr size_t kMaxPrintableBytes = 256;
// Of a whole message, in which pieces were cut already.
inline constexpr size_t kMaxMessageBytes = 4096;

// `text` on one line, as valid UTF-8: control characters, line and paragraph separators, characters that turn
// the direction of writing, and bytes that are no UTF-8 are spelt \xNN. What is longer than `max_bytes` is
// cut and ends with "...".
std::string Printable(std::string_view text, size_t max_bytes = kMaxPrintableBytes);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_PRINTABLE_H_
