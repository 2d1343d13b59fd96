#include "server/stream/mailbox.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ropeway::server {
namespace {

// That are taken at a time, so that many of them do not hold up a step.
constexpr size_t kMostInquiries = 16;

}  // namespace

absl::Status Mailbox::CheckRoom(size_t waiting) const {
  if (pending_.draining) return absl::UnavailableError("the server is shutting down");
  if (static_cast<int64_t>(waiting) < capacity_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the engine's mailbox is full (", capacity_, " requests)"));
}

absl::Status Mailbox::TryAsk(Inquiry inquiry) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(CheckRoom(pending_.inquiries.size()));
  pending_.inquiries.push_back(std::move(inquiry));
  news_ = true;
  return absl::OkStatus();
}

absl::Status Mailbox::TrySubmit(Submission submission) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(CheckRoom(pending_.submissions.size()));
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
  // When all ends, all are answered.
  const size_t most = pending_.stopping ? pending_.inquiries.size() : kMostInquiries;
  const auto end = pending_.inquiries.begin() + std::min(most, pending_.inquiries.size());
  taken.inquiries.assign(std::make_move_iterator(pending_.inquiries.begin()), std::make_move_iterator(end));
  pending_.inquiries.erase(pending_.inquiries.begin(), end);
  news_ = !pending_.inquiries.empty();
  taken.cancellations.swap(pending_.cancellations);
  return taken;
}

}  // namespace ropeway::server
