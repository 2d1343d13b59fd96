// A channel to one server, and how calls are made on it: with the key, again where that helps, and with errors in
// words that say what to do.
//
// Thread-safe.
#ifndef ROPEWAY_CLIENT_CONNECTION_H_
#define ROPEWAY_CLIENT_CONNECTION_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/address.h"
#include "client/cancellation.h"
#include "client/retry.h"
#include "client/ropeway_client.h"

namespace ropeway::client {

// What one attempt came to.
struct Attempt {
  grpc::Status status;
  // A part of the answer was handed out: trying again would deliver it twice.
  bool delivered = false;
  size_t request_bytes = 0;
};

class Connection {
 public:
  // Errors of the options come with each call.
  explicit Connection(const ClientOptions& options);

  const std::string& server() const { return options_.server; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  // Runs `attempt(context)` until it succeeds or should not be tried again. Explains its status to people.
  template <typename Function>
  absl::Status Call(const CallOptions& options, Cancellation* cancellation, int32_t& attempts,
                    Function attempt) {
    if (!options_status_.ok()) return options_status_;
    if (options.timeout < absl::ZeroDuration()) {
      return absl::InvalidArgumentError(
          absl::StrCat("timeout must be in [0, inf], is ", absl::FormatDuration(options.timeout)));
    }
    const absl::Time deadline = absl::Now() + options.timeout;
    for (;;) {
      ++attempts;
      grpc::ClientContext context;
      Authorize(context);
      if (deadline != absl::InfiniteFuture()) context.set_deadline(absl::ToChronoTime(deadline));
      if (cancellation != nullptr) cancellation->Attach([&context] { context.TryCancel(); });
      const Attempt made = attempt(context);
      if (cancellation != nullptr) cancellation->Detach();
      if (made.status.ok()) return absl::OkStatus();
      const RetryHint hint = HintOf(context);
      const absl::Status status = Explain(made, hint);
      if (made.delivered) return status;
      const std::optional<absl::Duration> wait =
          WaitBeforeRetry(options_.retry, status.code(), hint, attempts, deadline - absl::Now(), Jitter());
      if (!wait) return status;
      if (cancellation == nullptr) {
        absl::SleepFor(*wait);
      } else if (cancellation->WaitFor(*wait)) {
        return absl::CancelledError("cancelled while waiting to try again");
      }
    }
  }

  // A unary method of a service.
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Unary(Stub& stub,
                                 grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                              Response*),
                                 const Request& request, const CallOptions& options) {
    Response response;
    int32_t attempts = 0;
    const absl::Status status =
        Call(options, nullptr, attempts, [&](grpc::ClientContext& context) -> Attempt {
          response.Clear();
          return {.status = (stub.*method)(&context, request, &response),
                  .request_bytes = request.ByteSizeLong()};
        });
    if (!status.ok()) return status;
    return response;
  }

 private:
  static RetryHint HintOf(const grpc::ClientContext& context);
  static double Jitter();
  void Authorize(grpc::ClientContext& context) const;
  absl::Status Explain(const Attempt& made, const RetryHint& hint) const;
  absl::Status ExplainUnavailable(const Attempt& made, const RetryHint& hint) const;
  absl::Status CannotConnect(absl::string_view why) const;

  const ClientOptions options_;
  const absl::Status options_status_;
  const std::optional<Proxy> proxy_;
  const std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CONNECTION_H_
