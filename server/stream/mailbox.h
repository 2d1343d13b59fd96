// The way of commands from any thread to the engine's thread.
//
// Thread-safe. Bounded: at most `capacity` requests and as many inquiries wait in here to be taken, and each living
// request is cancelled at most once.
#ifndef ROPEWAY_SERVER_STREAM_MAILBOX_H_
#define ROPEWAY_SERVER_STREAM_MAILBOX_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/api/forecast.h"
#include "engine/api/request.h"
#include "server/stream/token_stream.h"

namespace ropeway::server {

class Mailbox {
 public:
  // A request and where its results go.
  struct Submission {
    ValidRequest request;
    std::shared_ptr<TokenStream> stream;
  };

  // What is expected of a request that is not made.
  struct Inquiry {
    ValidRequest request;
    // Called once by the engine's thread, between steps; returns at once.
    std::function<void(absl::StatusOr<Forecast>)> answer;
  };

  // A request to be ended, and with which status: CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED.
  struct Cancellation {
    RequestId id = 0;
    absl::Status status;
  };

  // What the engine's thread has to do, in this order.
  struct Commands {
    std::vector<Submission> submissions;
    std::vector<Inquiry> inquiries;
    std::vector<Cancellation> cancellations;
    bool draining = false;  // nothing more will be submitted
    bool stopping = false;  // end now
  };

  explicit Mailbox(int32_t capacity) : capacity_(capacity) {}

  // ---- Any thread ----

  // From here on `submission.stream` will end, whatever happens, unless an error is returned:
  // RESOURCE_EXHAUSTED when full, UNAVAILABLE while draining or stopped.
  absl::Status TrySubmit(Submission submission) ABSL_LOCKS_EXCLUDED(mutex_);

  // The inquiry is answered between two steps, some at a time in their order, whatever happens, unless an error is
  // returned, as for TrySubmit().
  absl::Status TryAsk(Inquiry inquiry) ABSL_LOCKS_EXCLUDED(mutex_);

  // The stream of the request ends within one step, with `status`, an error. Of no effect where it has ended
  // already.
  void Cancel(RequestId id, absl::Status status) ABSL_LOCKS_EXCLUDED(mutex_);

  // From now on nothing is accepted; what was accepted goes on.
  void Drain() ABSL_LOCKS_EXCLUDED(mutex_);

  // As Drain(), and what lives is ended.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  // Lets a waiting Take() return.
  void Wake() ABSL_LOCKS_EXCLUDED(mutex_);

  // ---- The engine's thread ----

  // All commands since the last time, of many inquiries some. Waits until there is something new, or Wake() was called, or `patience`
  // is over; zero does not wait.
  Commands Take(absl::Duration patience) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Status CheckRoom(size_t waiting) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int32_t capacity_;

  absl::Mutex mutex_;
  Commands pending_ ABSL_GUARDED_BY(mutex_);
  bool news_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_STREAM_MAILBOX_H_
