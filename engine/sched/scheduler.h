// Decides what the engine computes next: continuous batching over a paged KV cache.
//
//   Add / Cancel / Finish / SetPaused ──►  waiting ──► running ──► ended
//                                                       │   ▲
//                                           out of pages ▼   │
//                                                      preempted
//
//   plan = Plan(now);  result = executor.Step(plan);  Commit(std::move(result), now);  TakeEvents()
//
// Pure and deterministic: no I/O, threads, clock, logging or metrics. Not thread-safe.
//
// What holds:
//  1. Every request that Add() took ends with exactly one event that has request_done, and holds no page
//     after.
//  2. Progress is recorded by Commit() alone, after the step succeeded. When it failed, the requests of that
//     plan end with kError; all others live on.
//  3. Decodes come first in every step and take at most half of its tokens; prompts fill up the rest in
//     chunks. One prompt takes at most half of what is left while others wait for their share.
//  4. Requests are admitted tenant by tenant, to whom the fewest tokens were given so far; within a tenant by
//     priority, then by arrival.
//  5. Requests with equal prefix salts share the pages of what they begin with, computed once. Pages that
//     nobody holds stay found until others need them.
//  6. When pages run out, paused sequences give up theirs first, then the youngest ones; they are computed
//     again when there is room, before new requests are admitted. The oldest sequence always goes on.
#ifndef ROPEWAY_ENGINE_SCHED_SCHEDULER_H_
#define ROPEWAY_ENGINE_SCHED_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/api/event.h"
#include "engine/api/request.h"
#include "engine/api/step.h"
#include "engine/kv/page_pool.h"
#include "engine/sched/fair_queue.h"
#include "engine/sched/sequence.h"

namespace ropeway {

struct SchedulerOptions {
  int32_t max_running = 64;  // sequences in the batch; lowered to half of a step's tokens and to its rows
  // Requests that live, whether they run or wait: a burst that comes before the next step waits as a whole.
  int32_t max_requests = 320;
  // Prompts that are computed side by side, unless they are so short that one step takes them all.
  int32_t max_prefilling = 4;
};

class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, const ExecutorLimits& limits);
  ~Scheduler();

  // None of these five may be called between Plan() and Commit().

  // INVALID_ARGUMENT where the request can never run, ALREADY_EXISTS where its id lives, RESOURCE_EXHAUSTED
  // where too many live; no event follows then.
  absl::Status Add(ValidRequest request);
  // Ends a request with `reason` and, for kError, `error`. Of no effect where the id does not live.
  void Cancel(RequestId id, absl::Time now, FinishReason reason = FinishReason::kCancelled,
              absl::Status error = absl::OkStatus());
  // Ends one sample with kStop, since its text matched a stop string. Of no effect where it has no text or
  // ended.
  void Finish(RequestId id, int32_t sample, absl::Time now);
  // A paused request is not computed, but keeps its pages while there are others.
  void SetPaused(RequestId id, bool paused);

  // Ends what expired and chooses the next step. An empty plan is not to be run nor committed: nothing can be
  // computed before one of the calls above, or before next_deadline().
  StepPlan Plan(absl::Time now);
  // REQUIRES: `result` is that of the last plan.
  void Commit(absl::StatusOr<StepResult> result, absl::Time now);

  // What happened since the last call, in order.
  std::vector<TokenEvent> TakeEvents() { return std::exchange(events_, {}); }

  absl::Time next_deadline() const;
  bool empty() const { return requests_.empty(); }
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

  // CHECKs what holds between two steps; takes time linear in all that lives.
  void CheckInvariants() const;

 private:
  RequestState* Find(RequestId id);
  absl::Status Validate(const ValidRequest& request) const;

  // The parts of Plan(), in its order.
  void Expire(absl::Time now);
  void PlanDecodes(StepPlan& plan);
  void Admit(int32_t token_budget, absl::Time now);
  void PlanPrefills(StepPlan& plan);
  void AppendRow(Sequence& sequence, int32_t num_tokens, StepPlan& plan);

  // Places and pages.
  Sequence* NextToAdmit() const;
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
  bool IsComputedByAnother(Sequence& sequence, absl::flat_hash_set<PrefixKey>& under_way);
  void PublishPages(Sequence& sequence, int32_t first_token);
  void PreemptHolders(const std::vector<bool>& lost);

  // The parts of Commit().
  void EndFailed(const std::vector<Sequence*>& rows, const absl::Status& error, absl::Time now);
  void RecordScores(const Sequence& sequence, std::vector<TokenLogprobs> scores);
  void RecordProgress(Sequence& sequence);
  void Fork(RequestState& request);
  void Accept(Sequence& sequence, SampledToken sampled, absl::Time now);

  // Ends. Both destroy the request with its last sample.
  void EndSample(Sequence& sequence, FinishReason reason, absl::Time now, TokenEvent event);
  void EndRequest(RequestState& request, FinishReason reason, const absl::Status& error, absl::Time now);

  void CheckSequence(const Sequence& sequence) const;

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
  std::vector<Sequence*> planned_;  // the rows of the step between Plan() and Commit()
  std::vector<TokenEvent> events_;
  uint64_t next_order_ = 0;
  int64_t num_preemptions_ = 0;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SCHED_SCHEDULER_H_
