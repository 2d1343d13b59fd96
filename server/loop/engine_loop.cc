#include "server/loop/engine_loop.h"

#include <algorithm>
#include <array>
#include <deque>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/loop/publisher.h"

namespace ropeway::server {

class EngineLoop::Impl {
 public:
  Impl(const LoopOptions& options, const Dependencies& deps)
      : deps_(deps),
        scheduler_(options.scheduler, deps.executor.limits()),
        publisher_(deps.tokenizer, scheduler_, deps.observer, options.slow_reader_timeout) {
    Report();
    thread_ = std::thread([this] { Run(); });
  }

  void Stop() ABSL_LOCKS_EXCLUDED(stop_mutex_) {
    deps_.mailbox.Stop();
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
  void HandleCommands(Mailbox::Commands commands);
  void Submit(Mailbox::Submission submission, absl::Time now);
  void EndAll(Mailbox::Commands commands);
  bool Step();
  bool IsFull() const {
    return in_flight_.size() == static_cast<size_t>(deps_.executor.limits().max_steps_in_flight);
  }
  bool SubmitStep();
  void CollectStep();
  void NotifyIfLost();
  void Publish(absl::Time now);
  void Report() ABSL_LOCKS_EXCLUDED(mutex_);
  void ReportCosts();
  void ReportDrained() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Duration Patience() const;

  const Dependencies deps_;
  Scheduler scheduler_;
  Publisher publisher_;
  int64_t reported_preemptions_ = 0;
  int64_t reported_evictions_ = 0;
  int64_t reported_deadline_refusals_ = 0;
  bool lost_notified_ = false;

  // Steps in flight, oldest first, and when the last one was collected.
  struct StepInFlight {
    absl::Time submitted;
    int32_t tokens = 0, rows = 0;
  };
  std::deque<StepInFlight> in_flight_;
  absl::Time collected_ = absl::InfinitePast();

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
    Mailbox::Commands commands = deps_.mailbox.Take(busy ? absl::ZeroDuration() : Patience());
    if (commands.stopping) {
      EndAll(std::move(commands));
      ReportDrained();
      return;
    }
    const bool draining = commands.draining;
    HandleCommands(std::move(commands));
    busy = Step();
    if (draining && scheduler_.empty()) ReportDrained();
  }
}

// How long the thread may sleep when there is nothing to compute.
absl::Duration EngineLoop::Impl::Patience() const {
  return std::min(scheduler_.next_deadline(), publisher_.next_reader_timeout()) - deps_.clock.Now();
}

void EngineLoop::Impl::HandleCommands(Mailbox::Commands commands) {
  const absl::Time now = deps_.clock.Now();
  for (Mailbox::Submission& submission : commands.submissions) Submit(std::move(submission), now);
  for (Mailbox::Inquiry& inquiry : commands.inquiries)
    inquiry.answer(scheduler_.Predict(std::move(inquiry.request), now));
  for (const auto& [id, status] : commands.cancellations) {
    const bool late = absl::IsDeadlineExceeded(status);
    scheduler_.Cancel(id, now, late ? FinishReason::kDeadline : FinishReason::kCancelled, status);
  }
  publisher_.CheckSlowReaders(now);
  Publish(now);
}

void EngineLoop::Impl::Submit(Mailbox::Submission submission, absl::Time now) {
  submission.stream->SetRelieved([mailbox = &deps_.mailbox] { mailbox->Wake(); });
  publisher_.Submit(std::move(submission.request), std::move(submission.stream), now);
}

void EngineLoop::Impl::EndAll(Mailbox::Commands commands) {
  const absl::Time now = deps_.clock.Now();
  for (Mailbox::Submission& submission : commands.submissions) Submit(std::move(submission), now);
  for (Mailbox::Inquiry& inquiry : commands.inquiries)
    inquiry.answer(absl::UnavailableError("the server is shutting down"));
  for (const RequestId id : publisher_.active_ids()) {
    scheduler_.Cancel(id, now, FinishReason::kCancelled,
                      absl::UnavailableError("the server is shutting down"));
  }
  Publish(now);
  while (!in_flight_.empty()) CollectStep();
}

// The requests that live on end with their next steps, which fail too.
void EngineLoop::Impl::NotifyIfLost() {
  if (!deps_.executor.lost() || std::exchange(lost_notified_, true)) return;
  if (deps_.on_lost) deps_.on_lost();
}

// False where there was nothing to compute.
bool EngineLoop::Impl::Step() {
  const bool submitted = !IsFull() && SubmitStep();
  if (in_flight_.empty()) {
    Publish(deps_.clock.Now());
    return false;
  }
  if (!submitted || IsFull()) CollectStep();
  return true;
}

// False where nothing can be computed before the steps in flight are done, if at all.
bool EngineLoop::Impl::SubmitStep() {
  const absl::Time now = deps_.clock.Now();
  const StepPlan plan = scheduler_.Plan(now);
  if (plan.empty()) return false;
  in_flight_.push_back({.submitted = now, .tokens = plan.num_tokens(), .rows = plan.num_rows()});
  deps_.executor.Submit(plan);
  return true;
}

// Where memory was missing for a step, its requests end, and the next step is tried.
void EngineLoop::Impl::CollectStep() {
  absl::StatusOr<StepResult> result = deps_.executor.Collect();
  const absl::Time end = deps_.clock.Now();
  const StepInFlight step = in_flight_.front();
  in_flight_.pop_front();
  // It began when it was submitted, or when the one before it was done.
  const absl::Time begin = std::max(step.submitted, std::exchange(collected_, end));
  if (result.ok()) {
    deps_.observer.OnStep(end - begin, step.tokens, step.rows);
    if (!result->warning.empty() && deps_.on_warning) deps_.on_warning(result->warning);
  } else {
    deps_.observer.OnStepFailed(result.status());
    NotifyIfLost();
  }
  scheduler_.Commit(std::move(result), end);
  ReportCosts();
  Publish(end);
}

// The report comes before the chunks, so that whoever reads the end of a request finds its pages free.
void EngineLoop::Impl::Publish(absl::Time now) {
  do {
    publisher_.ProcessEvents(now);
    Report();
  } while (publisher_.Deliver(now));
}

void EngineLoop::Impl::Report() {
  const EngineGauges gauges = {.running = scheduler_.num_running(),
                               .waiting = scheduler_.num_waiting(),
                               .used_pages = scheduler_.num_pages() - scheduler_.num_free_pages(),
                               .cached_pages = scheduler_.num_cached_pages(),
                               .prefix_pages = scheduler_.num_prefix_pages(),
                               .total_pages = scheduler_.num_pages()};
  deps_.observer.SetEngine(gauges);
  if (const int64_t preemptions = scheduler_.num_preemptions(); preemptions > reported_preemptions_) {
    deps_.observer.OnPreemptions(static_cast<int32_t>(preemptions - reported_preemptions_));
    reported_preemptions_ = preemptions;
  }
  if (const int64_t evictions = scheduler_.num_evictions(); evictions > reported_evictions_) {
    deps_.observer.OnEvictions(static_cast<int32_t>(evictions - reported_evictions_));
    reported_evictions_ = evictions;
  }
  if (const int64_t refusals = scheduler_.num_deadline_refusals(); refusals > reported_deadline_refusals_) {
    deps_.observer.OnDeadlineRefusals(static_cast<int32_t>(refusals - reported_deadline_refusals_));
    reported_deadline_refusals_ = refusals;
  }
  absl::MutexLock lock(&mutex_);
  stats_ = gauges;
}

void EngineLoop::Impl::ReportCosts() {
  const StepCostModel& model = scheduler_.costs();
  std::array<StepCost, kCostTerms> costs;
  for (int i = 0; i < kCostTerms; ++i)
    costs[i] = {.term = kCostTermNames[i], .cost = model.cost(static_cast<CostTerm>(i))};
  deps_.observer.SetStepCosts(costs, model.error());
}

void EngineLoop::Impl::ReportDrained() {
  absl::MutexLock lock(&mutex_);
  drained_ = true;
}

EngineLoop::EngineLoop(const LoopOptions& options, const Dependencies& deps)
    : impl_(std::make_unique<Impl>(options, deps)) {}

EngineLoop::~EngineLoop() { Stop(); }

void EngineLoop::Stop() { impl_->Stop(); }

bool EngineLoop::WaitUntilDrained(absl::Duration patience) { return impl_->WaitUntilDrained(patience); }

EngineGauges EngineLoop::stats() const { return impl_->stats(); }

}  // namespace ropeway::server
