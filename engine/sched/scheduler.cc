#include "engine/sched/scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/retry_hint.h"
#include "engine/base/status_macros.h"

namespace ropeway {

// Every running sequence must be able to decode in every step and still leave half of it to prompts.
int32_t MostRunning(const SchedulerOptions& options, const ExecutorLimits& limits) {
  return std::min(
      {options.max_running, limits.max_rows_per_step, std::max(1, limits.max_tokens_per_step / 2)});
}

Scheduler::Scheduler(const SchedulerOptions& options, const ExecutorLimits& limits)
    : options_(options),
      limits_(limits),
      max_running_(MostRunning(options, limits)),
      pool_(limits.num_pages) {
  ROPEWAY_CHECK(max_running_ > 0 && options_.max_requests > 0 && options_.max_prefilling > 0);
  ROPEWAY_CHECK(limits_.max_steps_in_flight >= 1 && limits_.max_steps_in_flight <= kMaxStepsInFlight);
}

Scheduler::~Scheduler() = default;

RequestState* Scheduler::Find(RequestId id) {
  const auto found = requests_.find(id);
  return found == requests_.end() ? nullptr : found->second.get();
}

absl::Status Scheduler::Validate(const ValidRequest& request) const {
  if (request.prompt.empty()) return absl::InvalidArgumentError("prompt is empty");
  if (request.max_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat("max_tokens must be at least 1, is ", request.max_tokens));
  }
  if (request.num_samples < 1 || request.num_samples > max_running_) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_samples must be in [1, ", max_running_, "], is ", request.num_samples));
  }
  const int64_t capacity = std::min<int64_t>(limits_.max_model_len, int64_t{limits_.num_pages} * kPageTokens);
  const int64_t tokens = int64_t{request.max_tokens} + static_cast<int64_t>(request.prompt.size());
  if (tokens > capacity) {
    return absl::InvalidArgumentError(absl::StrCat("prompt and max_tokens must be at most ", capacity,
                                                   " tokens together, are ", request.prompt.size(), " and ",
                                                   request.max_tokens));
  }
  return absl::OkStatus();
}

absl::Status Scheduler::CheckRoom() const {
  if (requests_.size() < static_cast<size_t>(options_.max_requests)) return absl::OkStatus();
  return ExhaustedError(absl::StrCat("the scheduler is full (", options_.max_requests, " requests)"));
}

absl::Status Scheduler::Add(ValidRequest request, absl::Time now) {
  RETURN_IF_ERROR(Validate(request));
  if (requests_.contains(request.id)) {
    return absl::AlreadyExistsError(absl::StrCat("request ", request.id, " lives already"));
  }
  RETURN_IF_ERROR(CheckRoom());
  auto live = std::make_unique<RequestState>(std::move(request), next_order_++, pool_);
  const ValidRequest& spec = live->spec;
  const Forecast forecast = ForecastFor(live->samples.front(), now);
  if (!forecast.refusal.ok()) {
    ++num_deadline_refusals_;
    return forecast.refusal;
  }
  if (forecast.times.has_value())
    live->receipt.expected_first_token = now - spec.arrival + forecast.times->first_token;
  if (spec.deadline < absl::InfiniteFuture()) deadlines_.insert({spec.deadline, spec.id});
  waiting_.Join(spec.tenant);
  waiting_.Push(*live);
  requests_[spec.id] = std::move(live);
  return absl::OkStatus();
}

void Scheduler::Cancel(RequestId id, absl::Time now, FinishReason reason, absl::Status error) {
  if (RequestState* request = Find(id)) EndRequest(*request, reason, error, now);
}

void Scheduler::Finish(RequestId id, int32_t sample, absl::Time now) {
  RequestState* request = Find(id);
  if (request == nullptr) return;
  Sequence& sequence = request->samples[sample];
  if (sequence.generated.empty() || sequence.state == Sequence::State::kEnded) return;
  EndSample(sequence, FinishReason::kStop, now, {.request_id = id, .sample = sample});
}

void Scheduler::SetPaused(RequestId id, bool paused) {
  if (RequestState* request = Find(id)) request->paused = paused;
}

void Scheduler::EndRequest(RequestState& request, FinishReason reason, const absl::Status& error,
                           absl::Time now) {
  const RequestId id = request.spec.id;
  const int32_t num_samples = request.spec.num_samples;
  for (int32_t s = 0; s < num_samples; ++s) {
    Sequence& sequence = request.samples[s];
    if (sequence.state == Sequence::State::kEnded) continue;
    const bool last = request.unfinished == 1;
    EndSample(sequence, reason, now, {.request_id = id, .sample = s, .error = error});
    if (last) return;  // the request is gone
  }
}

void Scheduler::EndSample(Sequence& sequence, FinishReason reason, absl::Time now, TokenEvent event) {
  RequestState& request = sequence.request;
  if (sequence.state == Sequence::State::kWaiting) waiting_.Remove(request);
  if (sequence.state == Sequence::State::kRunning) running_.erase(&sequence);
  if (sequence.state == Sequence::State::kPreempted) preempted_.erase(&sequence);
  sequence.state = Sequence::State::kEnded;
  DropRows(sequence);
  sequence.pages.Clear();
  event.sample_finish = reason;
  if (reason == FinishReason::kStop || reason == FinishReason::kLength) LearnAnswer(sequence);
  if (--request.unfinished > 0) {
    events_.push_back(std::move(event));
    return;
  }
  const absl::Time admitted = request.admitted.value_or(now);
  const absl::Time first_token = request.first_token.value_or(now);
  event.request_done = true;
  event.receipt = request.receipt;
  event.receipt.queue = admitted - request.spec.arrival;
  event.receipt.prefill = first_token - admitted;
  event.receipt.decode = now - first_token;
  event.receipt.computed_tokens = SettleCharge(request);
  events_.push_back(std::move(event));
  waiting_.Leave(request.spec.tenant);
  deadlines_.erase({request.spec.deadline, request.spec.id});
  requests_.erase(RequestId{request.spec.id});
}

void Scheduler::DropRows(Sequence& sequence) {
  LeavePages(sequence);
  sequence.awaited = 0;
  if (std::exchange(sequence.rows_in_flight, 0) == 0) return;
  for (PlannedStep& step : in_flight_) {
    for (PlannedRow& row : step.rows) {
      if (row.sequence == &sequence) row.sequence = nullptr;
    }
  }
}

// The pages may be written by the next plan already: its step is computed after those in flight.
void Scheduler::LeavePages(Sequence& sequence) {
  sequence.tokens_in_flight = 0;
  if (sequence.rows_in_flight == 0) return;
  const absl::Span<const PageId> pages = sequence.pages.pages();
  for (PlannedStep& step : in_flight_) {
    for (PlannedRow& row : step.rows) {
      if (row.sequence != &sequence || !std::exchange(row.has_pages, false)) continue;
      for (const PageId page : pages) step.left_pages.push_back({page, pool_.num_allocations(page)});
    }
  }
}

// The prompt was charged as a whole when the request was admitted. What was not computed of it is given back.
int64_t Scheduler::SettleCharge(const RequestState& request) {
  int64_t computed = 0;
  for (const Sequence& sample : request.samples) computed += static_cast<int64_t>(sample.generated.size());
  if (!request.admitted.has_value()) return computed;
  const int32_t known = std::min(request.prompt_size(), request.samples.front().most_computed);
  waiting_.Charge(request.spec.tenant, known - request.prompt_size());
  return computed + known - request.receipt.cached_tokens;
}

absl::Time Scheduler::next_deadline() const {
  return deadlines_.empty() ? absl::InfiniteFuture() : deadlines_.begin()->first;
}

int32_t Scheduler::num_running() const {
  int32_t count = 0;
  const RequestState* last = nullptr;
  for (const Sequence* sequence : running_) {
    if (&sequence->request != last) ++count;
    last = &sequence->request;
  }
  return count;
}

int32_t Scheduler::num_waiting() const { return static_cast<int32_t>(requests_.size()) - num_running(); }

}  // namespace ropeway
