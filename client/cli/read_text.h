// Reads the text that a flag names: of a file, of a pipe, or of standard input.
#ifndef ROPEWAY_CLIENT_CLI_READ_TEXT_H_
#define ROPEWAY_CLIENT_CLI_READ_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/cli/terminal.h"

namespace ropeway::client {

inline constexpr size_t kMaxTextBytes = 64 << 20;

// How long a named pipe may be open with nobody at its other end.
inline constexpr absl::Duration kWriterPatience = absl::Seconds(1);

// The whole text under `path`, or on standard input where that is "-". INVALID_ARGUMENT, naming `flag` and
// the path, where it cannot be read (a directory, a missing file, one without permission, a pipe without a
// writer), is empty, has more than kMaxTextBytes bytes or is not UTF-8, which no message may carry.
absl::StatusOr<std::string> ReadText(absl::string_view flag, const std::string& path, Terminal& terminal);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CLI_READ_TEXT_H_
