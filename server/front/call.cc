#include "server/front/call.h"

#include "server/front/front_context.h"

namespace ropeway::server {
namespace {

// How long a request may have travelled for its client's deadline to be recognised.
constexpr absl::Duration kMaxTravel = absl::Milliseconds(100);

}  // namespace

absl::Status GivenUpStatus(const Call& call, absl::Time now) {
  const absl::Duration rounding = (call.deadline - call.arrival) / 100;
  if (call.deadline != absl::InfiniteFuture() && now >= call.deadline - rounding - kMaxTravel) {
    return absl::DeadlineExceededError("the deadline of the call expired");
  }
  return absl::CancelledError("the call was cancelled");
}

void RecordEnd(const FrontContext& context, absl::string_view method, const absl::Status& status) {
  context.metrics.OnCall(method, status.code());
  if (status.ok()) return context.log.Debug("call end", {{"method", method}});
  context.log.Info("call refused", {{"method", method},
                                    {"code", absl::StatusCodeToString(status.code())},
                                    {"message", std::string(status.message())}});
}

}  // namespace ropeway::server
