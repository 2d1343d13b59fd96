// An executor without a model, for whatever drives steps.
//
// It remembers which token was written to which slot of which page, and a token that it samples is a hash of
// the history that the row's pages hold, of the seed, the sample and the step. So a page that two sequences
// mixed up, was copied too late or not computed again changes tokens, as it would with a model. Plans that
// break the contract of StepPlan fail a CHECK.
//
// Two steps are in flight where the limits say so. Each is computed when it is submitted, as it would be on a device
// whose work is done in order, and told when it is collected.
#ifndef ROPEWAY_TESTS_TESTING_FAKE_EXECUTOR_H_
#define ROPEWAY_TESTS_TESTING_FAKE_EXECUTOR_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/api/step.h"

namespace ropeway::testing {

class FakeExecutor final : public Executor {
 public:
  explicit FakeExecutor(const ExecutorLimits& limits);

  const ExecutorLimits& limits() const override { return limits_; }
  void Submit(const StepPlan& plan) override;
  absl::StatusOr<StepResult> Collect() override;
  bool lost() const override { return !lost_error_.ok(); }

  // The next step that is submitted fails and spoils the contents of all pages of its rows.
  void FailNextStep(absl::Status error) { next_error_ = std::move(error); }
  // The next step fails, those in flight, and every further one.
  void Lose(const absl::Status& error) { lost_error_ = error; }
  // The next step succeeds with a warning.
  void WarnNextStep(std::string warning) { next_warning_ = std::move(warning); }
  // From now on `choose` decides instead of the hash.
  void SetChooser(std::function<TokenId(const SampleRow&)> choose) { choose_ = std::move(choose); }
  // Called with each plan, before it runs.
  void SetOnStep(std::function<void(const StepPlan&)> on_step) { on_step_ = std::move(on_step); }
  // Called with the number of tokens of each step that is collected, before it is told.
  void SetOnCollect(std::function<void(int32_t)> on_collect) { on_collect_ = std::move(on_collect); }

 private:
  struct Slot {
    TokenId token = kNoToken;
    int32_t position = -1;
  };

  absl::StatusOr<StepResult> Compute(const StepPlan& plan);
  StepPlan WithAwaitedTokens(StepPlan plan) const;
  bool IsBehindFailure() const;
  void CheckPlan(const StepPlan& plan) const;
  void CheckWrites(const StepPlan& plan) const;
  Slot& SlotOf(const StepPlan& plan, int32_t row, int32_t position);
  void Write(const StepPlan& plan);
  void Spoil(const StepPlan& plan);
  void CheckHistory(const StepPlan& plan, const SampleRow& sample_row, int32_t num_tokens);
  uint64_t HashHistory(const StepPlan& plan, int32_t row, int32_t num_tokens);
  SampledToken Sample(const StepPlan& plan, const SampleRow& sample_row);
  std::vector<TokenLogprobs> Score(const StepPlan& plan, const ScoreRow& score_row);

  const ExecutorLimits limits_;
  std::vector<Slot> slots_;                         // [num_pages, kPageTokens]
  std::deque<absl::StatusOr<StepResult>> results_;  // not collected yet
  std::deque<int32_t> num_tokens_;                  // of these steps
  std::vector<TokenId> last_tokens_;                // that the last step chose
  absl::Status next_error_;
  absl::Status lost_error_;
  std::string next_warning_;
  std::function<TokenId(const SampleRow&)> choose_;
  std::function<void(const StepPlan&)> on_step_;
  std::function<void(int32_t)> on_collect_;
};

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_FAKE_EXECUTOR_H_
