#include "server/stream/mailbox.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace ropeway::server {

absl::Status Mailbox::TrySubmit(Submission submission) {
  absl::MutexLock lock(&mutex_);
  if (pending_.draining) return absl::UnavailableError("the server is shutting down");
  if (static_cast<int32_t>(pending_.submissions.size()) >= capacity_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the engine's mailbox is full (", capacity_, " requests)"));
  }
  pending_.submissions.push_back(std::move(submission));
  news_ = true;
  return absl::OkStatus();
}

void Mailbox::Cancel(RequestId id, absl::Status status) {
  absl::MutexLock lock(&mutex_);
  pending_.cancellations.push_back({.id = id, .status = std::move(status)});
  news_ = true;
}

void Mailbox::Drain() {
  absl::MutexLock lock(&mutex_);
  pending_.draining = true;
  news_ = true;
}

void Mailbox::Stop() {
  absl::MutexLock lock(&mutex_);
  pending_.draining = pending_.stopping = true;
  news_ = true;
}

void Mailbox::Wake() {
  absl::MutexLock lock(&mutex_);
  news_ = true;
}

Mailbox::Commands Mailbox::Take(absl::Duration patience) {
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(&news_), patience);
  news_ = false;
  Commands taken = {.draining = pending_.draining, .stopping = pending_.stopping};
  taken.submissions.swap(pending_.submissions);
  taken.cancellations.swap(pending_.cancellations);
  return taken;
}

}  // namespace ropeway::server
