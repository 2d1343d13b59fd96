// Refusals that waiting may lift, and when to come again.
//
// The hint travels inside the status, so that whoever talks to the client can tell it in the client's way.
#ifndef ROPEWAY_ENGINE_BASE_RETRY_HINT_H_
#define ROPEWAY_ENGINE_BASE_RETRY_HINT_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace ropeway {

void SetRetryHint(absl::Status& status, absl::Duration after);
std::optional<absl::Duration> RetryHint(const absl::Status& status);

// A cap frees when some request ends, which nobody can foretell; about the length of a short answer.
inline constexpr absl::Duration kRetryAfter = absl::Seconds(1);

// `status`, with a hint where it says that all is full or that nobody serves, and brings none.
absl::Status WithRetryHint(absl::Status status);

// RESOURCE_EXHAUSTED with a retry hint, which the message tells, too. Every refusal that waiting may lift is
// made here.
absl::Status ExhaustedError(absl::string_view message, absl::Duration retry_after = kRetryAfter);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_RETRY_HINT_H_
