#include "engine/base/retry_hint.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace ropeway {
namespace {

constexpr char kRetryHintUrl[] = "ropeway/retry-after-ms";

}  // namespace

void SetRetryHint(absl::Status& status, absl::Duration after) {
  status.SetPayload(kRetryHintUrl, absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(after))));
}

std::optional<absl::Duration> RetryHint(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryHintUrl);
  int64_t milliseconds = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &milliseconds)) return std::nullopt;
  return absl::Milliseconds(milliseconds);
}

absl::Status WithRetryHint(absl::Status status) {
  const bool may_pass = absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
  if (may_pass && !RetryHint(status)) SetRetryHint(status, kRetryAfter);
  return status;
}

absl::Status ExhaustedError(absl::string_view message, absl::Duration retry_after) {
  absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat(message, "; try again in ", absl::FormatDuration(retry_after)));
  SetRetryHint(status, retry_after);
  return status;
}

}  // namespace ropeway
