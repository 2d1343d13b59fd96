// An engine port in the hands of a test: it keeps what is submitted and says only what it is told to say.
#ifndef ROPEWAY_TESTS_SERVER_RPC_MANUAL_ENGINE_H_
#define ROPEWAY_TESTS_SERVER_RPC_MANUAL_ENGINE_H_

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/engine_port.h"

namespace ropeway::testing {

class ManualEngine final : public EnginePort {
 public:
  absl::StatusOr<std::shared_ptr<EventSource>> Submit(const ValidRequest& request,
                                                      std::function<void()> on_event) override {
    absl::MutexLock lock(&mutex_);
    if (!refusal_.ok()) return refusal_;
    requests_.push_back(request);
    sources_.push_back(std::make_shared<Source>());
    notices_.push_back(std::move(on_event));
    return sources_.back();
  }

  void Cancel(RequestId id) override {
    absl::MutexLock lock(&mutex_);
    cancelled_.insert(id);
  }

  void Refuse(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    refusal_ = std::move(status);
  }

  // Waits until request number `index`, in order of submission, is there.
  ValidRequest WaitForRequest(size_t index = 0) {
    absl::MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return requests_.size() > index; };
    mutex_.Await(absl::Condition(&there));
    return requests_[index];
  }

  void WaitForCancel(RequestId id) {
    absl::MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return cancelled_.contains(id); };
    mutex_.Await(absl::Condition(&there));
  }

  size_t num_requests() {
    absl::MutexLock lock(&mutex_);
    return requests_.size();
  }

  void Say(TokenEvent event, size_t index = 0) {
    std::function<void()> notice;
    {
      absl::MutexLock lock(&mutex_);
      event.request_id = requests_[index].id;
      sources_[index]->Push(event);
      // A generation keeps itself alive through its notice until the engine forgets it with the last event.
      notice = event.request_done ? std::exchange(notices_[index], nullptr) : notices_[index];
    }
    notice();
  }

  // Says `text`, a token for each byte.
  void SayText(const std::string& text, size_t index = 0, int32_t sample = 0) {
    for (const char c : text) Say({.sample = sample, .token = static_cast<unsigned char>(c)}, index);
  }

 private:
  class Source final : public EventSource {
   public:
    void Push(TokenEvent event) {
      absl::MutexLock lock(&mutex_);
      events_.push_back(std::move(event));
    }
    std::optional<TokenEvent> Pop() override {
      absl::MutexLock lock(&mutex_);
      if (events_.empty()) return std::nullopt;
      TokenEvent event = std::move(events_.front());
      events_.pop_front();
      return event;
    }

   private:
    absl::Mutex mutex_;
    std::deque<TokenEvent> events_ ABSL_GUARDED_BY(mutex_);
  };

  absl::Mutex mutex_;
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
  std::vector<ValidRequest> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<Source>> sources_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::function<void()>> notices_ ABSL_GUARDED_BY(mutex_);
  std::set<RequestId> cancelled_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_SERVER_RPC_MANUAL_ENGINE_H_
