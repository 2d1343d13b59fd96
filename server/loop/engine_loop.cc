#include "server/loop/engine_loop.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/loop/publisher.h"

namespace ropeway {

class EngineLoop::Impl {
 public:
  Impl(const LoopOptions& options, const Parts& parts)
      : parts_(parts),
        scheduler_(options.scheduler, parts.executor.limits()),
        publisher_(parts.tokenizer, scheduler_, parts.observer, options.slow_reader_patience) {
    Report();
    thread_ = std::thread([this] { Run(); });
  }

  void Stop() ABSL_LOCKS_EXCLUDED(stop_mutex_) {
    parts_.mailbox.Stop();
    absl::MutexLock lock(&stop_mutex_);
    if (thread_.joinable()) thread_.join();
  }

  bool WaitUntilDrained(absl::Duration patience) const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&drained_), patience);
  }

  EngineGauges stats() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return stats_;
  }

 private:
  // ---- The engine's thread ----

  void Run();
  void Obey(Mailbox::Commands commands);
  void Submit(Mailbox::Submission submission);
  void EndAll(Mailbox::Commands commands);
  bool Step();
  void TellIfLost();
  void Publish(absl::Time now);
  void Report() ABSL_LOCKS_EXCLUDED(mutex_);
  void ReportDrained() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Duration Patience() const;

  const Parts parts_;
  Scheduler scheduler_;
  Publisher publisher_;
  int64_t reported_preemptions_ = 0;
  bool told_lost_ = false;

  // ---- Any thread ----

  mutable absl::Mutex mutex_;
  EngineGauges stats_ ABSL_GUARDED_BY(mutex_);
  bool drained_ ABSL_GUARDED_BY(mutex_) = false;

  absl::Mutex stop_mutex_;
  std::thread thread_ ABSL_GUARDED_BY(stop_mutex_);
};

void EngineLoop::Impl::Run() {
  bool busy = false;
  while (true) {
    Mailbox::Commands commands = parts_.mailbox.Take(busy ? absl::ZeroDuration() : Patience());
    if (commands.stopping) {
      EndAll(std::move(commands));
      ReportDrained();
      return;
    }
    const bool draining = commands.draining;
    Obey(std::move(commands));
    busy = Step();
    if (draining && scheduler_.empty()) ReportDrained();
  }
}

// How long the thread may sleep when there is nothing to compute.
absl::Duration EngineLoop::Impl::Patience() const {
  return std::min(scheduler_.next_deadline(), publisher_.next_loss()) - parts_.clock.Now();
}

void EngineLoop::Impl::Obey(Mailbox::Commands commands) {
  for (Mailbox::Submission& submission : commands.submissions) Submit(std::move(submission));
  const absl::Time now = parts_.clock.Now();
  for (const RequestId id : commands.cancellations) scheduler_.Cancel(id, now);
  publisher_.TendSlowReaders(now);
  Publish(now);
}

void EngineLoop::Impl::Submit(Mailbox::Submission submission) {
  submission.stream->SetRelieved([mailbox = &parts_.mailbox] { mailbox->Wake(); });
  publisher_.Submit(std::move(submission.request), std::move(submission.stream));
}

void EngineLoop::Impl::EndAll(Mailbox::Commands commands) {
  for (Mailbox::Submission& submission : commands.submissions) Submit(std::move(submission));
  const absl::Time now = parts_.clock.Now();
  for (const RequestId id : publisher_.live()) {
    scheduler_.Cancel(id, now, FinishReason::kCancelled,
                      absl::UnavailableError("the server is shutting down"));
  }
  Publish(now);
}

// The requests that live on end with their next steps, which fail too.
void EngineLoop::Impl::TellIfLost() {
  if (!parts_.executor.lost() || std::exchange(told_lost_, true)) return;
  if (parts_.on_lost) parts_.on_lost();
}

// False where there was nothing to compute.
bool EngineLoop::Impl::Step() {
  const absl::Time begin = parts_.clock.Now();
  const StepPlan plan = scheduler_.Plan(begin);
  if (plan.empty()) {
    Publish(begin);
    return false;
  }
  absl::StatusOr<StepResult> result = parts_.executor.Step(plan);
  const absl::Time end = parts_.clock.Now();
  if (result.ok()) {
    parts_.observer.OnStep(end - begin, plan.num_tokens(), plan.num_rows());
  } else {
    parts_.observer.OnStepFailed(result.status());
    TellIfLost();
  }
  scheduler_.Commit(std::move(result), end);
  Publish(end);
  return true;
}

// The report comes before the chunks, so that whoever reads the end of a request finds its pages free.
void EngineLoop::Impl::Publish(absl::Time now) {
  do {
    publisher_.Digest(now);
    Report();
  } while (publisher_.Deliver(now));
}

void EngineLoop::Impl::Report() {
  const EngineGauges gauges = {.running = scheduler_.num_running(),
                               .waiting = scheduler_.num_waiting(),
                               .used_pages = scheduler_.num_pages() - scheduler_.num_free_pages(),
                               .total_pages = scheduler_.num_pages()};
  parts_.observer.SetEngine(gauges);
  if (const int64_t preemptions = scheduler_.num_preemptions(); preemptions > reported_preemptions_) {
    parts_.observer.OnPreemptions(static_cast<int32_t>(preemptions - reported_preemptions_));
    reported_preemptions_ = preemptions;
  }
  absl::MutexLock lock(&mutex_);
  stats_ = gauges;
}

void EngineLoop::Impl::ReportDrained() {
  absl::MutexLock lock(&mutex_);
  drained_ = true;
}

EngineLoop::EngineLoop(const LoopOptions& options, const Parts& parts)
    : impl_(std::make_unique<Impl>(options, parts)) {}

EngineLoop::~EngineLoop() { Stop(); }

void EngineLoop::Stop() { impl_->Stop(); }

bool EngineLoop::WaitUntilDrained(absl::Duration patience) { return impl_->WaitUntilDrained(patience); }

EngineGauges EngineLoop::stats() const { return impl_->stats(); }

}  // namespace ropeway
