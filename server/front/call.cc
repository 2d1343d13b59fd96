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

void RecordEnd(const FrontContext& context, const Call& call, const absl::Status& status) {
  context.metrics.OnCall(call.method, status.code());
  if (status.ok()) return context.log.Debug("call end", {{"method", call.method}});
  if (Gate::IsRefusal(status)) return context.gate.OnRefused(call.method, call.connection, status);
  context.log.Info("call refused", {{"method", call.method},
                                    {"code", absl::StatusCodeToString(status.code())},
                                    {"message", std::string(status.message())}});
}

}  // namespace ropeway::server
