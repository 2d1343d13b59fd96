// Exit codes of `ropeway`: a script can tell what to do next. `ropeway --help` prints them.
#ifndef ROPEWAY_CLIENT_CLI_EXIT_CODE_H_
#define ROPEWAY_CLIENT_CLI_EXIT_CODE_H_

#include "absl/status/status.h"

namespace ropeway::client {

inline constexpr int kExitOk = 0;
inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitUnavailable = 3;
inline constexpr int kExitExhausted = 4;
inline constexpr int kExitDeadline = 5;
inline constexpr int kExitInterrupted = 130;  // as shells say 128 + SIGINT

inline constexpr char kExitCodesHelp[] =
    "Exit codes: 0 success; 1 any other error; 2 the command line or the request is wrong: fix it;\n"
    "3 no server, or it loads or drains: try another; 4 the server is full: try later; 5 the --timeout "
    "passed;\n"
    "130 cancelled.";

inline int ExitCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
      return kExitUsage;
    case absl::StatusCode::kUnavailable:
      return kExitUnavailable;
    case absl::StatusCode::kResourceExhausted:
      return kExitExhausted;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitDeadline;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitError;
  }
}

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CLI_EXIT_CODE_H_
