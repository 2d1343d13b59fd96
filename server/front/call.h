// A call, whichever transport it came by, and how its end is told to metrics and log.
#ifndef ROPEWAY_SERVER_FRONT_CALL_H_
#define ROPEWAY_SERVER_FRONT_CALL_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/auth/identity.h"

namespace ropeway::server {

struct FrontContext;

// What a transport knows of it.
struct Call {
  std::string method;
  std::string connection;  // tells the connections of clients apart
  IdentityPtr identity;    // null until it was let in
  absl::Time arrival;
  absl::Time deadline = absl::InfiniteFuture();
  // Ends the call with an error, whatever it is doing, for clients that take nothing. For any thread, with no
  // lock held, and at any time: of no effect when the call is over.
  std::function<void(const absl::Status&)> cut;
};

// Why a call ended at `now` that its client gave up: DEADLINE_EXCEEDED or CANCELLED.
//
// A client gives up when its own clock says so, which is a little before the deadline that is known here: the
// time that was left travels rounded up, by up to 1 % as gRPC does it, and the request took a while to come.
absl::Status GivenUpStatus(const Call& call, absl::Time now);

// Counts and logs the end of a call that generated nothing: answered, or refused. To be called once for each,
// before its client is told.
void RecordEnd(const FrontContext& context, const Call& call, const absl::Status& status);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_CALL_H_
