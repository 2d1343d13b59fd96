// Commit(): what a step changed.
#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/sched/scheduler.h"

namespace ropeway {

// Time is measured from one Commit() to the next where the device had the step by then.
void Scheduler::Commit(absl::StatusOr<StepResult> result, absl::Time now) {
  const PlannedStep step = TakeOldestStep();
  const absl::Time began_at = std::max(step.planned_at, std::exchange(committed_at_, now));
  if (!result.ok()) {
    EndFailed(step, result.status(), now);
    return;
  }
  cost_.Learn(step.work, now - began_at);
  learnt_at_ = now;
  RecordRows(step, *result, now);
}

Scheduler::PlannedStep Scheduler::TakeOldestStep() {
  ROPEWAY_CHECK(!in_flight_.empty());
  PlannedStep step = std::move(in_flight_.front());
  in_flight_.pop_front();
  for (const PlannedRow& row : step.rows) {
    if (row.sequence == nullptr) continue;
    --row.sequence->rows_in_flight;
    row.sequence->awaited -= row.num_samples > 0;
    if (row.has_pages) row.sequence->tokens_in_flight -= row.num_tokens;
  }
  return step;
}

void Scheduler::RecordRows(const PlannedStep& step, StepResult& result, absl::Time now) {
  size_t num_samples = 0;
  size_t num_scores = 0;
  std::vector<RequestId> without_token;
  for (const PlannedRow& row : step.rows) {
    const size_t first_sample = std::exchange(num_samples, num_samples + row.num_samples);
    const size_t score = std::exchange(num_scores, num_scores + row.scored);
    ROPEWAY_CHECK(num_samples <= result.samples.size() && num_scores <= result.scores.size());
    if (row.sequence == nullptr) continue;
    if (row.scored) RecordScores(row, std::move(result.scores[score]));
    RecordProgress(row);
    if (row.num_samples == 0) continue;
    RequestState& request = row.sequence->request;
    const int32_t sample = row.sequence->sample;
    if (!request.forked) Fork(request);
    for (int32_t i = 0; i < row.num_samples; ++i) {  // the last one may destroy the request
      SampledToken sampled = std::move(result.samples[first_sample + i]);
      if (sampled.token == kNoToken) {
        without_token.push_back(request.spec.id);
      } else {
        Accept(request.samples[sample + i], std::move(sampled), now);
      }
    }
  }
  ROPEWAY_CHECK(num_samples == result.samples.size() && num_scores == result.scores.size());
  for (const RequestId id : without_token) {
    Cancel(id, now, FinishReason::kError, absl::InternalError("the model's logits are not numbers"));
  }
}

// Whatever the pages of these rows held is lost.
void Scheduler::EndFailed(const PlannedStep& step, const absl::Status& error, absl::Time now) {
  std::vector<RequestId> ids;
  std::vector<bool> lost(pool_.num_pages());
  const auto lose = [&](PageId page) {
    lost[page] = true;
    pool_.Withdraw(page);
  };
  for (const PlannedRow& row : step.rows) {
    if (row.sequence == nullptr) continue;
    ids.push_back(row.sequence->request.spec.id);
    if (!row.has_pages) continue;
    for (const PageId page : row.sequence->pages.pages()) lose(page);
  }
  for (const auto& [page, allocations] : step.left_pages) {
    if (pool_.num_allocations(page) == allocations) lose(page);
  }
  for (const RequestId id : ids) Cancel(id, now, FinishReason::kError, error);
  PreemptHolders(lost);
}

// After a preemption the first of them may be known already.
void Scheduler::RecordScores(const PlannedRow& row, std::vector<TokenLogprobs> scores) {
  std::vector<TokenLogprobs>& known = row.sequence->request.prompt_logprobs;
  const size_t repeated = known.size() - row.begin;
  ROPEWAY_CHECK(repeated < scores.size());
  known.insert(known.end(), std::make_move_iterator(scores.begin() + repeated),
               std::make_move_iterator(scores.end()));
}

void Scheduler::RecordProgress(const PlannedRow& row) {
  Sequence& sequence = *row.sequence;
  const int32_t end = row.begin + row.num_tokens;
  sequence.request.receipt.recomputed_tokens +=
      std::max(0, std::min(end, sequence.most_computed) - row.begin);
  sequence.most_computed = std::max(sequence.most_computed, end);
  if (!row.has_pages) return;
  sequence.computed = end;
  PublishPages(sequence, row.begin);
}

// Every sample gets the pages of the prompt. The full ones are shared from now on, the last one until it is
// written. Where they were given up meanwhile, each one is computed again.
void Scheduler::Fork(RequestState& request) {
  request.forked = true;
  if (request.samples.size() == 1) return;
  Sequence& first = request.samples.front();
  const bool runs = first.state == Sequence::State::kRunning;
  if (runs) first.cached = request.prompt_size() / kPageTokens * kPageTokens;
  for (Sequence& sample : request.samples) {
    if (&sample == &first) continue;
    sample.pages.ShareFrom(first.pages, first.pages.size());
    sample.cached = first.cached;
    sample.prefix_keys = first.prefix_keys;
    sample.computed = first.computed;
    sample.most_computed = first.most_computed;
    sample.state = first.state;
    (runs ? running_ : preempted_).insert(&sample);
  }
}

void Scheduler::Accept(Sequence& sequence, SampledToken sampled, absl::Time now) {
  RequestState& request = sequence.request;
  const ValidRequest& spec = request.spec;
  sequence.generated.push_back(sampled.token);
  waiting_.Charge(spec.tenant, 1);
  if (!request.first_token.has_value()) request.first_token = now;
  TokenEvent event = {.request_id = spec.id,
                      .sample = sequence.sample,
                      .token = sampled.token,
                      .logprobs = std::move(sampled.logprobs)};
  if (sequence.sample == 0) event.prompt_logprobs = std::exchange(request.prompt_logprobs, {});
  const auto& stops = spec.stop_token_ids;
  if (std::find(stops.begin(), stops.end(), sampled.token) != stops.end()) {
    EndSample(sequence, FinishReason::kStop, now, std::move(event));
  } else if (static_cast<int32_t>(sequence.generated.size()) >= spec.max_tokens) {
    EndSample(sequence, FinishReason::kLength, now, std::move(event));
  } else {
    events_.push_back(std::move(event));
  }
}

}  // namespace ropeway
