// Plan(): who computes what in the next step, and who has to make room for it.
#include <algorithm>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/sched/scheduler.h"
#include "engine/sched/step_budget.h"

namespace ropeway {
namespace {

// Whether all tokens of the sequence that no step has yet can be written without another page.
bool HasPages(const Sequence& sequence) {
  return sequence.pages.size() >= PagesFor(sequence.num_tokens() + sequence.awaited) &&
         !sequence.pages.IsShared(sequence.planned() / kPageTokens);
}

// Whether the sequence has a next row: an awaited token may be its last by length, and those of parallel samples have
// no places before the fork.
bool GoesOn(const Sequence& sequence) {
  const RequestState& request = sequence.request;
  if (request.paused) return false;
  if (sequence.awaited == 0) return true;
  return request.places() == 1 &&
         static_cast<int32_t>(sequence.generated.size()) + sequence.awaited < request.spec.max_tokens;
}

bool IsDecoding(const Sequence& sequence) { return sequence.unplanned() == 1 && GoesOn(sequence); }

// A sample of the request whose pages begin with the first `num_tokens` tokens of the prompt.
Sequence* FindDonor(RequestState& request, int32_t num_tokens) {
  for (Sequence& sample : request.samples) {
    if (sample.state == Sequence::State::kRunning && sample.computed >= num_tokens) return &sample;
  }
  return nullptr;
}

// Tokens of the prompt that samples of a request share: whole pages, and never the last token that is known,
// since its logits are needed.
int32_t ShareableTokens(const Sequence& sequence) {
  if (!sequence.request.forked) return 0;
  const int32_t most = std::min(sequence.request.prompt_size(), sequence.num_tokens() - 1);
  return most / kPageTokens * kPageTokens;
}

}  // namespace

StepPlan Scheduler::Plan(absl::Time now) {
  ROPEWAY_CHECK(num_steps_in_flight() < limits_.max_steps_in_flight);
  Expire(now);
  StepPlan plan;
  planning_ = {.planned_at = now};
  ++num_plans_;
  PlanDecodes(plan);
  const int32_t most = limits_.max_tokens_per_step - plan.num_tokens();
  Admit(PromptTokensInTime(planning_.work, {{.count = most}}, most), now);
  PlanPrefills(plan);
  if (!plan.empty()) in_flight_.push_back(std::exchange(planning_, {}));
  return plan;
}

void Scheduler::Expire(absl::Time now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    EndRequest(*Find(deadlines_.begin()->second), FinishReason::kDeadline, absl::OkStatus(), now);
  }
}

// From the oldest to the youngest, so that whoever is preempted has no row in the plan yet.
void Scheduler::PlanDecodes(StepPlan& plan) {
  const std::vector<Sequence*> candidates(running_.begin(), running_.end());
  for (Sequence* sequence : candidates) {
    if (sequence->state != Sequence::State::kRunning || !IsDecoding(*sequence)) continue;
    if (MakeWritable(*sequence, plan)) AppendRow(*sequence, 1, plan);
  }
}

void Scheduler::Admit(int32_t token_budget, absl::Time now) {
  while (!HasPrefillsFor(token_budget)) {
    Sequence* next = NextToAdmit();
    if (next == nullptr || !MakeRoom(*next)) return;
    Start(*next, now);
  }
}

void Scheduler::PlanPrefills(StepPlan& plan) {
  std::vector<Sequence*> sequences;
  std::vector<int32_t> remaining;
  std::vector<PromptRest> rests;
  absl::flat_hash_set<PrefixKey> under_way = PrefixesInFlight();
  for (Sequence* sequence : running_) {
    if (!IsPrefilling(*sequence)) continue;
    if (sequence->rows_in_flight == 0 && sequence->computed % kPageTokens == 0) ReuseKnownPages(*sequence);
    if (IsComputedByAnother(*sequence, under_way)) continue;
    const int32_t begin = sequence->planned();
    sequences.push_back(sequence);
    remaining.push_back(sequence->unplanned());
    rests.push_back({.begin = begin,
                     .count = sequence->unplanned(),
                     .scored = sequence->request.needs_scores(begin, sequence->num_tokens())});
  }
  const int32_t most = limits_.max_tokens_per_step - plan.num_tokens();
  const std::vector<int32_t> chunks =
      SharePrefillBudget(remaining, PromptTokensInTime(planning_.work, rests, most));
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (chunks[i] > 0) AppendRow(*sequences[i], chunks[i], plan);
  }
}

void Scheduler::AppendRow(Sequence& sequence, int32_t num_tokens, StepPlan& plan) {
  const RequestState& request = sequence.request;
  const ValidRequest& spec = request.spec;
  const int32_t row = plan.num_rows();
  const int32_t begin = sequence.planned();
  const int32_t end = begin + num_tokens;
  const bool completes = num_tokens == sequence.unplanned();
  const bool scored = request.needs_scores(begin, end);
  for (int32_t position = begin; position < end; ++position) {
    const bool known = position < sequence.num_tokens();
    plan.token_ids.push_back(known ? sequence.token(position) : AwaitedToken(sequence.sample_row));
    plan.positions.push_back(position);
  }
  plan.row_starts.push_back(plan.num_tokens());
  plan.page_tables.push_back(sequence.pages.pages());
  plan.lengths.push_back(LengthsOf(spec));
  if (num_tokens == 1) {
    planning_.work.AddDecode(begin);
  } else {
    planning_.work.AddPrompt(begin, num_tokens, scored ? num_tokens : completes ? 1 : 0);
  }
  if (scored) {
    const int32_t scored_end = std::min(end + 1, request.prompt_size());
    plan.score_rows.push_back(
        {.row = row,
         .top = spec.prompt_logprobs,
         .next_tokens = absl::MakeConstSpan(spec.prompt).subspan(begin + 1, scored_end - begin - 1)});
  }
  planning_.rows.push_back({.sequence = &sequence,
                            .begin = begin,
                            .num_tokens = num_tokens,
                            .num_samples = completes ? request.places() : 0,
                            .scored = scored});
  if (completes) AppendSamples(sequence, row, plan);
  ++sequence.rows_in_flight;
  sequence.tokens_in_flight += num_tokens;
  sequence.last_plan = num_plans_;
}

void Scheduler::AppendSamples(Sequence& sequence, int32_t row, StepPlan& plan) {
  const RequestState& request = sequence.request;
  const ValidRequest& spec = request.spec;
  const int32_t step = static_cast<int32_t>(sequence.generated.size()) + sequence.awaited;
  ++sequence.awaited;
  sequence.sample_row = static_cast<int32_t>(plan.sample_rows.size());
  SampleRow sample_row = {.row = row,
                          .sample = sequence.sample,
                          .step = step,
                          .params = &spec.sampling,
                          .prompt = spec.prompt,
                          .generated = sequence.generated};
  if (step < spec.min_tokens) sample_row.masked = spec.stop_token_ids;
  const int32_t num_samples = request.places();  // all of them draw from the prompt's last logits
  for (int32_t i = 0; i < num_samples; ++i, ++sample_row.sample) plan.sample_rows.push_back(sample_row);
}

// Who was preempted with a row in flight waits for what comes of it, and others wait behind.
Sequence* Scheduler::NextToAdmit() const {
  for (Sequence* sequence : preempted_) {
    if (!sequence->request.paused) return sequence->rows_in_flight > 0 ? nullptr : sequence;
  }
  RequestState* request = waiting_.Front();
  return request == nullptr ? nullptr : &request->samples.front();
}

bool Scheduler::IsPrefilling(const Sequence& sequence) const {
  return GoesOn(sequence) && sequence.last_plan != num_plans_ && HasPages(sequence);
}

// Whether the prompts in the batch use up the budget, so that one more would only slow the others down.
bool Scheduler::HasPrefillsFor(int32_t token_budget) const {
  int32_t count = 0;
  int64_t tokens = 0;
  for (const Sequence* sequence : running_) {
    if (!IsPrefilling(*sequence)) continue;
    ++count;
    tokens += sequence->unplanned();
  }
  return tokens >= token_budget && (count >= options_.max_prefilling || token_budget == 0);
}

bool Scheduler::MakeRoom(Sequence& sequence) {
  while (!Fits(sequence)) {
    if (!PreemptPaused()) return false;
  }
  return true;
}

// Beside the pages of the newcomer, one for each sequence that is computed stays free: else the next steps
// would preempt it again.
bool Scheduler::Fits(Sequence& sequence) {
  int32_t places = sequence.request.places();
  int32_t headroom = 0;
  for (const Sequence* other : running_) {
    places += other->request.places();
    if (!other->request.paused) ++headroom;
  }
  if (places > max_running_) return false;
  const int32_t shareable = ShareableTokens(sequence);
  int32_t shared = FindDonor(sequence.request, shareable) == nullptr ? 0 : shareable / kPageTokens;
  if (shared == 0) shared = CountKnownPages(sequence).held;  // pages that nobody holds are of the free ones
  return PagesFor(sequence.num_tokens()) - shared + headroom <= pool_.num_free();
}

void Scheduler::Start(Sequence& sequence, absl::Time now) {
  RequestState& request = sequence.request;
  if (sequence.state == Sequence::State::kWaiting) {
    waiting_.Remove(request);
    waiting_.Charge(request.spec.tenant, request.prompt_size());
    request.admitted = now;
    request.order = next_order_++;
  } else {
    preempted_.erase(&sequence);
  }
  const int32_t shared = ShareableTokens(sequence);
  if (Sequence* donor = FindDonor(request, shared); donor != nullptr && shared > 0) {
    sequence.pages.ShareFrom(donor->pages, shared / kPageTokens);
    donor->cached = std::max(donor->cached, shared);
    sequence.cached = sequence.computed = shared;
  }
  ReuseKnownPages(sequence);
  sequence.pages.GrowTo(PagesFor(sequence.num_tokens()));
  sequence.state = Sequence::State::kRunning;
  running_.insert(&sequence);
}

// Gets a page for the next token of a decode, or a copy of its own of a page that it shares since the fork.
bool Scheduler::MakeWritable(Sequence& sequence, StepPlan& plan) {
  const int32_t index = sequence.planned() / kPageTokens;
  while (!HasPages(sequence)) {
    if (pool_.num_free() == 0) {
      if (!PreemptPaused() && !PreemptYoungerThan(sequence)) return false;
    } else if (index == sequence.pages.size()) {
      sequence.pages.GrowTo(index + 1);
    } else {
      plan.page_copies.push_back(sequence.pages.Detach(index));
    }
  }
  return true;
}

bool Scheduler::PreemptPaused() {
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    if (!(*it)->request.paused) continue;
    ROPEWAY_CHECK((*it)->last_plan != num_plans_);
    Preempt(**it);
    return true;
  }
  return false;
}

// Of the youngest request the sample that loses the least.
bool Scheduler::PreemptYoungerThan(const Sequence& sequence) {
  Sequence* victim = nullptr;
  for (auto it = running_.rbegin(); it != running_.rend() && *it != &sequence; ++it) {
    if (victim != nullptr && (*it)->request.order != victim->request.order) break;
    if (victim == nullptr || (*it)->computed < victim->computed) victim = *it;
  }
  if (victim == nullptr) return false;
  ROPEWAY_CHECK(victim->last_plan != num_plans_);
  Preempt(*victim);
  return true;
}

void Scheduler::Preempt(Sequence& sequence) {
  LeavePages(sequence);
  running_.erase(&sequence);
  preempted_.insert(&sequence);
  sequence.state = Sequence::State::kPreempted;
  sequence.pages.Clear();
  sequence.cached = sequence.computed = 0;
  ++sequence.request.receipt.preemptions;
  ++num_preemptions_;
}

}  // namespace ropeway
