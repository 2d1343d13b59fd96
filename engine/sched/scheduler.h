// Decides what the engine computes next: continuous batching over a paged KV cache.
//
//   Add / Cancel / Finish / SetPaused ──►  waiting ──► running ──► ended
//                                                       │   ▲
//                                           out of pages ▼   │
//                                                      preempted
//
//   plan = Plan(now);  executor.Submit(plan);  Commit(executor.Collect(), now);  TakeEvents()
//
// Where the executor takes two steps at a time, the next step is planned while one is in flight, that is between its
// Plan() and its Commit(): as if that one ended no sequence but by its length. A token that it is yet to choose stands in
// the next plan as AwaitedToken(). What a sequence's end leaves in flight is dropped when it comes.
//
// Pure and deterministic: no I/O, threads, clock, logging or metrics. Not thread-safe.
//
// What holds:
//  1. Every request that Add() took ends with exactly one event that has request_done, and holds no page
//     after.
//  2. Progress is recorded by Commit() alone, after the step succeeded. When it failed, the requests of that
//     plan end with kError; all others live on. A token of a sequence that ended before its Commit() is of no effect:
//     it is not told, charged, counted or found as a prefix.
//  3. Decodes come first in every step and take at most half of its tokens; prompts fill up the rest in
//     chunks. One prompt takes at most half of what is left while others wait for their share.
//  4. Requests are admitted tenant by tenant, to whom the fewest tokens were given so far; within a tenant by
//     priority, then by deadline, then by arrival.
//  5. Requests with equal prefix salts share the pages of what they begin with, computed once. Pages that
//     nobody holds stay found until others need them.
//  6. When pages run out, paused sequences give up theirs first, then the youngest ones; they are computed
//     again when there is room, before new requests are admitted. The oldest sequence always goes on.
//  7. Beside decodes, prompts get as many tokens as are expected to end within target_itl, and never none. What steps
//     take is learnt from the times that Plan() and Commit() are given. The tokens of a request do not depend on it.
#ifndef ROPEWAY_ENGINE_SCHED_SCHEDULER_H_
#define ROPEWAY_ENGINE_SCHED_SCHEDULER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/api/event.h"
#include "engine/api/forecast.h"
#include "engine/api/request.h"
#include "engine/api/step.h"
#include "engine/kv/page_pool.h"
#include "engine/sched/fair_queue.h"
#include "engine/sched/sequence.h"
#include "engine/sched/step_cost_model.h"

namespace ropeway {

struct SchedulerOptions {
  int32_t max_running = 64;  // sequences in the batch; lowered to half of a step's tokens and to its rows
  // Requests that live, whether they run or wait: a burst that comes before the next step waits as a whole.
  int32_t max_requests = 320;
  // Prompts that are computed side by side, unless they are so short that one step takes them all.
  int32_t max_prefilling = 4;
  // From one token of a stream to the next, while prompts are computed beside it. Zero: as long as it takes.
  absl::Duration target_itl = absl::ZeroDuration();
};

// Sequences that run at a time at most, and so the samples that a request may have.
int32_t MostRunning(const SchedulerOptions& options, const ExecutorLimits& limits);

class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, const ExecutorLimits& limits);
  ~Scheduler();

  // INVALID_ARGUMENT where the request can never run, ALREADY_EXISTS where its id lives, RESOURCE_EXHAUSTED with a
  // retry hint where too many live or where its deadline cannot be met; no event follows then.
  absl::Status Add(ValidRequest request, absl::Time now);
  // What is expected of a request that were added now; INVALID_ARGUMENT as Add().
  absl::StatusOr<Forecast> Predict(ValidRequest request, absl::Time now);
  // Ends a request with `reason` and, for kError, `error`. Of no effect where the id does not live.
  void Cancel(RequestId id, absl::Time now, FinishReason reason = FinishReason::kCancelled,
              absl::Status error = absl::OkStatus());
  // Ends one sample with kStop, since its text matched a stop string. Of no effect where it has no text or
  // ended.
  void Finish(RequestId id, int32_t sample, absl::Time now);
  // A paused request is not computed, but keeps its pages while there are others.
  void SetPaused(RequestId id, bool paused);

  // Ends what expired and chooses the next step. An empty plan is not to be run nor committed: nothing can be
  // computed before one of the calls above, before next_deadline(), or before the Commit() of a step in flight.
  // What the plan points to lives until the next call.
  // REQUIRES: fewer steps are in flight than the limits allow.
  StepPlan Plan(absl::Time now);
  // REQUIRES: `result` is that of the oldest step in flight.
  void Commit(absl::StatusOr<StepResult> result, absl::Time now);

  // What happened since the last call, in order.
  std::vector<TokenEvent> TakeEvents() { return std::exchange(events_, {}); }

  absl::Time next_deadline() const;
  bool empty() const { return requests_.empty(); }  // what is in flight then is of no effect
  int32_t num_steps_in_flight() const { return static_cast<int32_t>(in_flight_.size()); }
  int32_t num_running() const;  // requests that hold a place in the batch
  int32_t num_waiting() const;  // requests that wait for one, those that were preempted included
  int32_t num_free_pages() const { return pool_.num_free(); }
  int32_t num_pages() const { return pool_.num_pages(); }
  int32_t num_cached_pages() const { return pool_.num_idle(); }  // of the free ones, those that hold a prefix
  int32_t num_prefix_pages() const {
    return pool_.num_published();
  }                                                                // that a prefix is found in, held or not
  int64_t num_evictions() const { return pool_.num_evictions(); }  // of such pages, so far
  int64_t num_preemptions() const { return num_preemptions_; }     // so far
  int64_t num_deadline_refusals() const { return num_deadline_refusals_; }  // so far
  const StepCostModel& costs() const { return cost_; }

  // CHECKs what holds between two calls; takes time linear in all that lives.
  void CheckInvariants() const;

 private:
  struct PlannedRow {
    Sequence* sequence = nullptr;  // null: it ended, or what it was computed from is lost
    int32_t begin = 0;             // position
    int32_t num_tokens = 0;
    int32_t num_samples = 0;  // tokens that are chosen after it
    bool scored = false;
    bool has_pages = true;  // false: preempted since; its results are still good
  };
  struct LeftPage {
    PageId page = 0;
    int64_t allocations = 0;  // PagePool::num_allocations of it then
  };
  struct PlannedStep {
    std::vector<PlannedRow> rows;
    StepWork work;
    absl::Time planned_at;
    std::vector<LeftPage> left_pages;  // of rows whose sequences gave up their pages since
  };

  RequestState* Find(RequestId id);
  absl::Status Validate(const ValidRequest& request) const;
  absl::Status CheckRoom() const;

  // The parts of Plan(), in its order.
  void Expire(absl::Time now);
  void PlanDecodes(StepPlan& plan);
  void Admit(int32_t token_budget, absl::Time now);
  void PlanPrefills(StepPlan& plan);
  void AppendRow(Sequence& sequence, int32_t num_tokens, StepPlan& plan);
  void AppendSamples(Sequence& sequence, int32_t row, StepPlan& plan);

  // Time.
  struct PromptRest {
    int32_t begin = 0;  // position
    int32_t count = 0;  // tokens from there on
    bool scored = false;
  };
  struct Crowd {
    StepWork decodes;
    std::vector<int32_t> answers_left;  // tokens, of those that run
    int64_t places = 0;
    int64_t prompts = 0;  // that are not computed yet, and what they lack
    int64_t prompt_tokens = 0;
  };
  int32_t PromptTokensInTime(const StepWork& decodes, absl::Span<const PromptRest> prompts,
                             int32_t most) const;
  absl::Duration PrefillTime(const StepWork& decodes, int32_t begin, int64_t count) const;
  int32_t ExpectedTokens(const ValidRequest& spec) const;
  void LearnAnswer(const Sequence& sequence);
  Crowd LookAtCrowd() const;
  absl::Duration TimeUntilEnds(Crowd& crowd, int64_t missing, absl::Duration token,
                               int32_t expected_tokens) const;
  absl::Duration TimeInFlight(absl::Time now) const;
  ExpectedTimes ExpectTimes(const Sequence& sequence, const Forecast& forecast, absl::Time now) const;
  Forecast ForecastFor(Sequence& sequence, absl::Time now);
  absl::Status CheckDeadline(const ValidRequest& spec, const ExpectedTimes& times, absl::Time now) const;

  // Places and pages.
  Sequence* NextToAdmit() const;
  bool IsPrefilling(const Sequence& sequence) const;
  bool HasPrefillsFor(int32_t token_budget) const;
  bool MakeRoom(Sequence& sequence);
  bool Fits(Sequence& sequence);
  void Start(Sequence& sequence, absl::Time now);
  bool MakeWritable(Sequence& sequence, StepPlan& plan);
  bool PreemptPaused();
  bool PreemptYoungerThan(const Sequence& sequence);
  void Preempt(Sequence& sequence);

  // Prefixes.
  struct KnownPages {
    int32_t all = 0;
    int32_t held = 0;  // of these, by others now
  };
  const PrefixKey& KeyOf(Sequence& sequence, int32_t page);
  static int32_t NumReusablePages(const Sequence& sequence);
  KnownPages CountKnownPages(Sequence& sequence);
  void ReuseKnownPages(Sequence& sequence);
  absl::flat_hash_set<PrefixKey> PrefixesInFlight();
  bool IsComputedByAnother(Sequence& sequence, absl::flat_hash_set<PrefixKey>& under_way);
  void PublishPages(Sequence& sequence, int32_t first_token);
  void PreemptHolders(const std::vector<bool>& lost);

  // The parts of Commit().
  PlannedStep TakeOldestStep();
  void EndFailed(const PlannedStep& step, const absl::Status& error, absl::Time now);
  void RecordRows(const PlannedStep& step, StepResult& result, absl::Time now);
  static void RecordScores(const PlannedRow& row, std::vector<TokenLogprobs> scores);
  void RecordProgress(const PlannedRow& row);
  void Fork(RequestState& request);
  void Accept(Sequence& sequence, SampledToken sampled, absl::Time now);

  // What is in flight of a sequence that ends, or whose results are worthless; of one that gives up its pages.
  void DropRows(Sequence& sequence);
  void LeavePages(Sequence& sequence);

  // Ends. Both destroy the request with its last sample.
  void EndSample(Sequence& sequence, FinishReason reason, absl::Time now, TokenEvent event);
  int64_t SettleCharge(const RequestState& request);
  void EndRequest(RequestState& request, FinishReason reason, const absl::Status& error, absl::Time now);

  void CheckSequence(const Sequence& sequence) const;
  void CheckRowsInFlight(const Sequence& sequence) const;

  // Constant after construction.
  const SchedulerOptions options_;
  const ExecutorLimits limits_;
  const int32_t max_running_;

  PagePool pool_;  // outlives the requests
  absl::flat_hash_map<RequestId, std::unique_ptr<RequestState>> requests_;
  std::set<std::pair<absl::Time, RequestId>> deadlines_;  // the finite ones
  FairQueue waiting_;
  std::set<Sequence*, OlderFirst> running_;
  std::set<Sequence*, OlderFirst> preempted_;
  PlannedStep planning_;               // while Plan() runs
  int64_t num_plans_ = 0;              // so far, that one included
  std::deque<PlannedStep> in_flight_;  // oldest first
  absl::Time committed_at_ = absl::InfinitePast();
  std::vector<TokenEvent> events_;
  uint64_t next_order_ = 0;
  int64_t num_preemptions_ = 0;

  StepCostModel cost_;
  absl::Time learnt_at_ = absl::InfinitePast();
  std::optional<double> mean_answer_tokens_;  // of samples that ended by themselves, lately
  int64_t num_deadline_refusals_ = 0;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SCHED_SCHEDULER_H_
