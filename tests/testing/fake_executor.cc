#include "tests/testing/fake_executor.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/exhaustion.h"
#include "engine/base/splitmix.h"

namespace ropeway::testing {
namespace {

TokenLogprobs LogprobsOf(uint64_t hash, int32_t top, int32_t vocab_size) {
  TokenLogprobs logprobs = {.chosen = -static_cast<float>(hash % 1000) / 100};
  for (int32_t i = 0; i < top; ++i) {
    logprobs.top.push_back({static_cast<TokenId>((hash + i) % vocab_size), -static_cast<float>(i)});
  }
  return logprobs;
}

bool Contains(absl::Span<const TokenId> tokens, TokenId token) {
  return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
}

}  // namespace

FakeExecutor::FakeExecutor(const ExecutorLimits& limits)
    : limits_(limits), slots_(limits.num_pages * kPageTokens) {}

void FakeExecutor::Submit(const StepPlan& plan) {
  ROPEWAY_CHECK(static_cast<int32_t>(results_.size()) < limits_.max_steps_in_flight);
  absl::StatusOr<StepResult> result = CatchExhaustion([&] {
    if (on_step_) on_step_(plan);
    return Compute(WithAwaitedTokens(plan));
  });
  last_tokens_.assign(plan.sample_rows.size(), kNoToken);
  if (result.ok()) {
    for (size_t i = 0; i < last_tokens_.size(); ++i) last_tokens_[i] = result->samples[i].token;
  }
  results_.push_back(std::move(result));
  num_tokens_.push_back(plan.num_tokens());
}

absl::StatusOr<StepResult> FakeExecutor::Collect() {
  ROPEWAY_CHECK(!results_.empty());
  if (on_collect_) on_collect_(num_tokens_.front());
  num_tokens_.pop_front();
  absl::StatusOr<StepResult> result = std::move(results_.front());
  results_.pop_front();
  if (lost()) return lost_error_;
  return result;
}

// Whether a step in flight failed, so that what this one makes of it is not relied upon.
bool FakeExecutor::IsBehindFailure() const {
  return std::any_of(results_.begin(), results_.end(), [](const auto& result) { return !result.ok(); });
}

StepPlan FakeExecutor::WithAwaitedTokens(StepPlan plan) const {
  for (int32_t row = 0; row < plan.num_rows(); ++row) {
    for (int32_t i = plan.row_starts[row]; i < plan.row_starts[row + 1]; ++i) {
      if (!IsAwaited(plan.token_ids[i])) continue;
      ROPEWAY_CHECK(!results_.empty() && plan.row_starts[row] + 1 == plan.row_starts[row + 1]);
      const int32_t sample_row = SampleRowOf(plan.token_ids[i]);
      ROPEWAY_CHECK(sample_row < static_cast<int32_t>(last_tokens_.size()));
      plan.token_ids[i] = std::max(last_tokens_[sample_row], 0);
    }
  }
  return plan;
}

absl::StatusOr<StepResult> FakeExecutor::Compute(const StepPlan& plan) {
  CheckPlan(plan);
  CheckWrites(plan);
  if (lost()) return lost_error_;
  if (!next_error_.ok()) {
    Spoil(plan);
    return std::exchange(next_error_, absl::OkStatus());
  }
  for (const PageCopy& copy : plan.page_copies) {
    std::copy_n(&slots_[copy.from * kPageTokens], kPageTokens, &slots_[copy.to * kPageTokens]);
  }
  Write(plan);
  StepResult result;
  result.warning = std::exchange(next_warning_, "");
  for (const SampleRow& row : plan.sample_rows) result.samples.push_back(Sample(plan, row));
  for (const ScoreRow& row : plan.score_rows) result.scores.push_back(Score(plan, row));
  return result;
}

void FakeExecutor::CheckPlan(const StepPlan& plan) const {
  ROPEWAY_CHECK(!plan.empty() && plan.num_tokens() <= limits_.max_tokens_per_step);
  ROPEWAY_CHECK(plan.num_rows() <= limits_.max_rows_per_step);
  ROPEWAY_CHECK(plan.positions.size() == plan.token_ids.size());
  ROPEWAY_CHECK(plan.row_starts.size() == plan.page_tables.size() + 1);
  ROPEWAY_CHECK(plan.lengths.size() == plan.page_tables.size());
  ROPEWAY_CHECK(plan.row_starts.front() == 0 && plan.row_starts.back() == plan.num_tokens());
  for (const TokenId token : plan.token_ids) ROPEWAY_CHECK(0 <= token && token < limits_.vocab_size);
  for (int32_t row = 0; row < plan.num_rows(); ++row) {
    const int32_t begin = plan.row_starts[row];
    const int32_t last = plan.row_starts[row + 1] - 1;
    ROPEWAY_CHECK(begin <= last);
    for (int32_t i = begin; i < last; ++i) ROPEWAY_CHECK(plan.positions[i] + 1 == plan.positions[i + 1]);
    ROPEWAY_CHECK(0 <= plan.positions[begin] && plan.positions[last] < limits_.max_model_len);
    const AdmittedLengths& lengths = plan.lengths[row];
    ROPEWAY_CHECK(plan.positions[last] < int64_t{lengths.prompt_length} + lengths.max_new_tokens);
    ROPEWAY_CHECK(plan.positions[last] / kPageTokens < static_cast<int32_t>(plan.page_tables[row].size()));
    for (const PageId page : plan.page_tables[row]) ROPEWAY_CHECK(0 <= page && page < limits_.num_pages);
  }
  for (const ScoreRow& row : plan.score_rows) {
    const int32_t length = plan.row_starts[row.row + 1] - plan.row_starts[row.row];
    ROPEWAY_CHECK(!row.next_tokens.empty() && static_cast<int32_t>(row.next_tokens.size()) <= length);
  }
}

// A page that a row writes to is in the table of no other row.
void FakeExecutor::CheckWrites(const StepPlan& plan) const {
  std::vector<int32_t> holders(limits_.num_pages);
  for (const absl::Span<const PageId> table : plan.page_tables) {
    for (const PageId page : table) ++holders[page];
  }
  for (int32_t row = 0; row < plan.num_rows(); ++row) {
    for (int32_t i = plan.row_starts[row]; i < plan.row_starts[row + 1]; ++i) {
      ROPEWAY_CHECK(holders[plan.page_tables[row][plan.positions[i] / kPageTokens]] == 1);
    }
  }
}

FakeExecutor::Slot& FakeExecutor::SlotOf(const StepPlan& plan, int32_t row, int32_t position) {
  const PageId page = plan.page_tables[row][position / kPageTokens];
  return slots_[page * kPageTokens + position % kPageTokens];
}

void FakeExecutor::Write(const StepPlan& plan) {
  for (int32_t row = 0; row < plan.num_rows(); ++row) {
    for (int32_t i = plan.row_starts[row]; i < plan.row_starts[row + 1]; ++i) {
      SlotOf(plan, row, plan.positions[i]) = {.token = plan.token_ids[i], .position = plan.positions[i]};
    }
  }
}

void FakeExecutor::Spoil(const StepPlan& plan) {
  for (const absl::Span<const PageId> table : plan.page_tables) {
    for (const PageId page : table) std::fill_n(&slots_[page * kPageTokens], kPageTokens, Slot{});
  }
}

// Prompt and answer, as sampling sees them, are what the pages hold. An awaited token is the last one.
void FakeExecutor::CheckHistory(const StepPlan& plan, const SampleRow& sample_row, int32_t num_tokens) {
  if (sample_row.prompt.empty() || IsBehindFailure()) return;  // a plan that was made by hand
  std::vector<TokenId> tokens(sample_row.prompt.begin(), sample_row.prompt.end());
  tokens.insert(tokens.end(), sample_row.generated.begin(), sample_row.generated.end());
  if (static_cast<int32_t>(tokens.size()) < num_tokens)
    tokens.push_back(plan.token_ids[plan.row_starts[sample_row.row]]);
  ROPEWAY_CHECK(static_cast<int32_t>(tokens.size()) == num_tokens);
  for (int32_t i = 0; i < num_tokens; ++i) ROPEWAY_CHECK(SlotOf(plan, sample_row.row, i).token == tokens[i]);
}

uint64_t FakeExecutor::HashHistory(const StepPlan& plan, int32_t row, int32_t num_tokens) {
  uint64_t hash = 0;
  for (int32_t position = 0; position < num_tokens; ++position) {
    const Slot& slot = SlotOf(plan, row, position);
    ROPEWAY_CHECK(slot.position == position || IsBehindFailure());
    hash = SplitMix(hash + slot.token + kGoldenRatio64);
  }
  return hash;
}

SampledToken FakeExecutor::Sample(const StepPlan& plan, const SampleRow& sample_row) {
  const int32_t num_tokens = plan.positions[plan.row_starts[sample_row.row + 1] - 1] + 1;
  CheckHistory(plan, sample_row, num_tokens);
  uint64_t hash = HashHistory(plan, sample_row.row, num_tokens);
  const SamplingParams& params = *sample_row.params;
  hash = SplitMix(hash ^ SplitMix(params.seed + (uint64_t{static_cast<uint32_t>(sample_row.sample)} << 32) +
                                  sample_row.step));
  SampledToken sampled = {.token = static_cast<TokenId>(hash % limits_.vocab_size)};
  while (Contains(sample_row.masked, sampled.token)) sampled.token = (sampled.token + 1) % limits_.vocab_size;
  if (choose_) sampled.token = choose_(sample_row);
  if (params.num_logprobs >= 0) sampled.logprobs = LogprobsOf(hash, params.num_logprobs, limits_.vocab_size);
  return sampled;
}

std::vector<TokenLogprobs> FakeExecutor::Score(const StepPlan& plan, const ScoreRow& score_row) {
  std::vector<TokenLogprobs> scores;
  const int32_t first = plan.positions[plan.row_starts[score_row.row]];
  for (size_t i = 0; i < score_row.next_tokens.size(); ++i) {
    const uint64_t hash = HashHistory(plan, score_row.row, first + static_cast<int32_t>(i) + 1);
    scores.push_back(
        LogprobsOf(SplitMix(hash + score_row.next_tokens[i]), score_row.top, limits_.vocab_size));
  }
  return scores;
}

}  // namespace ropeway::testing
