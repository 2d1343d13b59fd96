// Commit(): what a step changed.
#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/sched/scheduler.h"

namespace ropeway {

void Scheduler::Commit(absl::StatusOr<StepResult> result, absl::Time now) {
  ROPEWAY_CHECK(!planned_.empty());
  const std::vector<Sequence*> rows = std::exchange(planned_, {});
  if (!result.ok()) {
    EndFailed(rows, result.status(), now);
    return;
  }
  cost_.Learn(planned_work_, now - planned_at_);
  learnt_at_ = now;
  size_t num_samples = 0;
  size_t num_scores = 0;
  std::vector<RequestId> without_token;
  for (Sequence* sequence : rows) {
    RequestState& request = sequence->request;
    if (request.needs_scores(sequence->computed + sequence->step_tokens)) {
      ROPEWAY_CHECK(num_scores < result->scores.size());
      RecordScores(*sequence, std::move(result->scores[num_scores++]));
    }
    const bool completes = sequence->completes();
    RecordProgress(*sequence);
    if (!completes) continue;
    const int32_t first = sequence->sample;
    const int32_t end = first + request.places();
    if (!request.forked) Fork(request);
    for (int32_t sample = first; sample < end; ++sample) {  // the last one may destroy the request
      ROPEWAY_CHECK(num_samples < result->samples.size());
      SampledToken sampled = std::move(result->samples[num_samples++]);
      if (sampled.token == kNoToken) {
        without_token.push_back(request.spec.id);
      } else {
        Accept(request.samples[sample], std::move(sampled), now);
      }
    }
  }
  ROPEWAY_CHECK(num_samples == result->samples.size() && num_scores == result->scores.size());
  for (const RequestId id : without_token) {
    Cancel(id, now, FinishReason::kError, absl::InternalError("the model's logits are not numbers"));
  }
}

// Whatever the pages of these rows held is lost.
void Scheduler::EndFailed(const std::vector<Sequence*>& rows, const absl::Status& error, absl::Time now) {
  std::vector<RequestId> ids;
  std::vector<bool> lost(pool_.num_pages());
  for (Sequence* sequence : rows) {
    sequence->step_tokens = 0;
    ids.push_back(sequence->request.spec.id);
    for (const PageId page : sequence->pages.pages()) {
      lost[page] = true;
      pool_.Withdraw(page);
    }
  }
  for (const RequestId id : ids) Cancel(id, now, FinishReason::kError, error);
  PreemptHolders(lost);
}

// After a preemption the first of them may be known already.
void Scheduler::RecordScores(const Sequence& sequence, std::vector<TokenLogprobs> scores) {
  std::vector<TokenLogprobs>& known = sequence.request.prompt_logprobs;
  const size_t repeated = known.size() - sequence.computed;
  ROPEWAY_CHECK(repeated < scores.size());
  known.insert(known.end(), std::make_move_iterator(scores.begin() + repeated),
               std::make_move_iterator(scores.end()));
}

void Scheduler::RecordProgress(Sequence& sequence) {
  const int32_t begin = sequence.computed;
  sequence.computed += std::exchange(sequence.step_tokens, 0);
  sequence.request.receipt.recomputed_tokens +=
      std::max(0, std::min(sequence.computed, sequence.most_computed) - begin);
  sequence.most_computed = std::max(sequence.most_computed, sequence.computed);
  PublishPages(sequence, begin);
}

// Every sample gets the pages of the prompt. The full ones are shared from now on, the last one until it is
// written.
void Scheduler::Fork(RequestState& request) {
  request.forked = true;
  if (request.samples.size() == 1) return;
  Sequence& first = request.samples.front();
  first.cached = request.prompt_size() / kPageTokens * kPageTokens;
  for (Sequence& sample : request.samples) {
    if (&sample == &first) continue;
    sample.pages.ShareFrom(first.pages, first.pages.size());
    sample.cached = first.cached;
    sample.prefix_keys = first.prefix_keys;
    sample.computed = sample.most_computed = first.computed;
    sample.state = Sequence::State::kRunning;
    running_.insert(&sample);
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
