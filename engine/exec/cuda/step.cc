#include "engine/exec/cuda/step.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "engine/base/check.h"

namespace ropeway {
namespace {

int32_t CeilDiv(int32_t a, int32_t b) { return (a + b - 1) / b; }

void AppendRows(const StepPlan& plan, int32_t padded_rows, CudaStep& step) {
  step.token_ids.assign(plan.token_ids.begin(), plan.token_ids.end());
  step.positions.assign(plan.positions.begin(), plan.positions.end());
  step.row_starts.assign(plan.row_starts.begin(), plan.row_starts.end());
  step.page_tables.assign(plan.page_tables.begin(), plan.page_tables.end());
  step.copies.assign(plan.page_copies.begin(), plan.page_copies.end());
  while (static_cast<int32_t>(step.row_starts.size()) <= padded_rows) {
    step.token_ids.push_back(0);
    step.positions.push_back(-1);
    step.row_starts.push_back(step.row_starts.back() + 1);
  }
}

// Tables of rows lie a power of two apart, so that few different graphs serve all lengths.
int32_t MaxPages(const StepPlan& plan, int32_t limit) {
  size_t most = 1;
  for (const auto& table : plan.page_tables) most = std::max(most, table.size());
  return std::max(static_cast<int32_t>(most), std::min(static_cast<int32_t>(std::bit_ceil(most)), limit));
}

// The last window, or a new one where it has no room for so many more of the changes.
ChangeWindow& WindowFor(int32_t num_changes, int32_t max_changes, CudaStep& step) {
  ROPEWAY_CHECK(num_changes <= max_changes);
  const ChangeWindow& last = step.windows.back();
  if (last.count + num_changes > max_changes) step.windows.push_back({.first = last.first + last.count});
  return step.windows.back();
}

// The last batch of the last round, or a new one where the sample cannot go with the others.
SampleBatch& BatchFor(int32_t max_samples, CudaStep& step) {
  LogitRound& round = step.rounds.back();
  const int32_t window = static_cast<int32_t>(step.windows.size()) - 1;
  if (round.num_batches == 0 || step.batches.back().count == max_samples ||
      step.batches.back().window != window) {
    step.batches.push_back({.first = static_cast<int32_t>(step.samples.size()), .window = window});
    ++round.num_batches;
  }
  return step.batches.back();
}

void AddRound(const LogitRound& round, CudaStep& step) {
  step.rounds.push_back(round);
  step.rounds.back().first_batch = static_cast<int32_t>(step.batches.size());
}

// To the last round.
void AppendSample(const SampleRow& row, int32_t logit_row, const CudaStepOptions& options, CudaStep& step) {
  const size_t first_change = step.changes.size();
  step.lowering.AppendChanges(row, step.changes);
  const int32_t num_changes = static_cast<int32_t>(step.changes.size() - first_change);
  ChangeWindow& window = WindowFor(num_changes, options.max_changes, step);
  ++BatchFor(options.max_logit_rows, step).count;
  step.samples.push_back({.logit_row = logit_row,
                          .num_logprobs = row.params->num_logprobs,
                          .first_change = window.count,
                          .num_changes = num_changes,
                          .rule = SamplingLowering::RuleOf(row)});
  window.count += num_changes;
}

// Every row of a bucket has its logits computed, wanted or not: that is what its graph does.
void WantBucket(const StepPlan& plan, int32_t rows, const CudaStepOptions& options, CudaStep& step) {
  step.logit_tokens.resize(rows);
  std::iota(step.logit_tokens.begin(), step.logit_tokens.end(), 0);
  AddRound({.first = 0, .count = rows}, step);
  for (int32_t i : step.sample_order)
    AppendSample(plan.sample_rows[i], plan.sample_rows[i].row, options, step);
}

void WantScores(const StepPlan& plan, int32_t max_logit_rows, CudaStep& step) {
  for (const ScoreRow& row : plan.score_rows) {
    for (size_t i = 0; i < row.next_tokens.size(); ++i) {
      step.logit_tokens.push_back(plan.row_starts[row.row] + static_cast<int32_t>(i));
      step.score_tokens.push_back(row.next_tokens[i]);
    }
  }
  const int32_t all = static_cast<int32_t>(step.score_tokens.size());
  for (int32_t first = 0; first < all; first += max_logit_rows) {
    const int32_t count = std::min(max_logit_rows, all - first);
    AddRound({.first = first, .count = count, .first_score = first, .num_scores = count}, step);
  }
}

void WantSamples(const StepPlan& plan, const CudaStepOptions& options, CudaStep& step) {
  int32_t last_row = -1;
  for (int32_t i : step.sample_order) {
    const SampleRow& row = plan.sample_rows[i];
    const int32_t next = static_cast<int32_t>(step.logit_tokens.size());
    if (row.row != last_row) {
      if (last_row < 0 || step.rounds.back().count == options.max_logit_rows) AddRound({.first = next}, step);
      step.logit_tokens.push_back(plan.row_starts[row.row + 1] - 1);
      ++step.rounds.back().count;
      last_row = row.row;
    }
    AppendSample(row, step.rounds.back().count - 1, options, step);
  }
}

int32_t LargestWindow(const CudaStep& step) {
  int32_t largest = 0;
  for (const ChangeWindow& window : step.windows) largest = std::max(largest, window.count);
  return largest;
}

// A decode step's tiles are narrow, one for each row, divided at most into its chunks.
void BoundBucketWork(CudaStepShape& shape) {
  shape.narrow = shape.rows * CeilDiv(shape.max_pages * kPageTokens, cuda::kChunkTokens);
  shape.wide = 0;
  shape.merges = shape.rows;
}

}  // namespace

int32_t BucketOf(int32_t rows) {
  if (rows <= 8) return static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(rows)));
  const int32_t unit = static_cast<int32_t>(std::bit_floor(static_cast<uint32_t>(rows))) / 8;
  return CeilDiv(rows, unit) * unit;
}

CudaStepArrays CarveStep(const CudaStepShape& shape, Carver& carver) {
  CudaStepArrays arrays;
  arrays.token_ids = carver.Take<int32_t>(shape.tokens);
  arrays.positions = carver.Take<int32_t>(shape.tokens);
  arrays.token_rows = carver.Take<int32_t>(shape.tokens);
  arrays.page_tables = carver.Take<int32_t>(int64_t{shape.rows} * shape.max_pages);
  arrays.logit_tokens = carver.Take<int32_t>(shape.logit_rows);
  arrays.work_counts = carver.Take<int32_t>(3);
  arrays.narrow = carver.Take<cuda::AttentionItem>(shape.narrow);
  arrays.wide = carver.Take<cuda::AttentionItem>(shape.wide);
  arrays.merges = carver.Take<cuda::AttentionMerge>(shape.merges);
  arrays.samples = carver.Take<cuda::SampleRowParams>(shape.samples);
  arrays.changes = carver.Take<LogitChange>(shape.changes);
  arrays.score_tokens = carver.Take<int32_t>(shape.scores);
  arrays.copy_from = carver.Take<int32_t>(shape.copies);
  arrays.copy_to = carver.Take<int32_t>(shape.copies);
  return arrays;
}

CudaResultArrays CarveResults(int32_t samples, int32_t scores, int32_t max_top, Carver& carver) {
  const int64_t all = int64_t{samples} + scores;
  CudaResultArrays arrays;
  arrays.tokens = carver.Take<int32_t>(samples);
  arrays.logprobs = carver.Take<float>(all);
  arrays.top_tokens = carver.Take<int32_t>(all * max_top);
  arrays.top_logprobs = carver.Take<float>(all * max_top);
  return arrays;
}

TokenLogprobs LogprobsAt(const CudaResultArrays& results, int64_t row, int32_t top, int32_t max_top) {
  TokenLogprobs logprobs{.chosen = results.logprobs[row]};
  for (int64_t i = row * max_top; i < row * max_top + top; ++i) {
    if (results.top_tokens[i] == cuda::kNoChoice) break;
    logprobs.top.emplace_back(results.top_tokens[i], results.top_logprobs[i]);
  }
  return logprobs;
}

void PrepareStep(const StepPlan& plan, const CudaStepOptions& options, CudaStep& step) {
  const int32_t bucket = BucketOf(plan.num_rows());
  step.is_bucket =
      plan.num_tokens() == plan.num_rows() && bucket <= options.max_bucket && plan.score_rows.empty();
  const int32_t rows = step.is_bucket ? bucket : plan.num_rows();
  AppendRows(plan, rows, step);
  step.logit_tokens.clear();
  step.score_tokens.clear();
  step.samples.clear();
  step.changes.clear();
  step.windows.assign(1, {});
  step.batches.clear();
  step.rounds.clear();
  step.sample_order.resize(plan.sample_rows.size());
  std::iota(step.sample_order.begin(), step.sample_order.end(), 0);
  std::stable_sort(step.sample_order.begin(), step.sample_order.end(),
                   [&](int32_t a, int32_t b) { return plan.sample_rows[a].row < plan.sample_rows[b].row; });
  if (step.is_bucket) {
    WantBucket(plan, rows, options, step);
  } else {
    WantScores(plan, options.max_logit_rows, step);
    WantSamples(plan, options, step);
  }
  cuda::PlanAttention(options.attention, step.row_starts, step.positions, options.window, step.attention);
  step.shape = {.tokens = static_cast<int32_t>(step.token_ids.size()),
                .rows = rows,
                .max_pages = MaxPages(plan, options.max_model_pages),
                .logit_rows = static_cast<int32_t>(step.logit_tokens.size()),
                .narrow = static_cast<int32_t>(step.attention.narrow.size()),
                .wide = static_cast<int32_t>(step.attention.wide.size()),
                .merges = static_cast<int32_t>(step.attention.merges.size()),
                .samples = static_cast<int32_t>(step.samples.size()),
                .changes = LargestWindow(step),
                .scores = static_cast<int32_t>(step.score_tokens.size()),
                .copies = static_cast<int32_t>(step.copies.size())};
  if (step.is_bucket) BoundBucketWork(step.shape);
  ROPEWAY_CHECK(step.attention.narrow.size() <= static_cast<size_t>(step.shape.narrow) &&
                step.attention.wide.size() <= static_cast<size_t>(step.shape.wide) &&
                step.attention.merges.size() <= static_cast<size_t>(step.shape.merges));
}

void WriteStep(const CudaStep& step, const CudaStepArrays& out) {
  std::copy(step.token_ids.begin(), step.token_ids.end(), out.token_ids);
  std::copy(step.positions.begin(), step.positions.end(), out.positions);
  for (int32_t row = 0; row < step.shape.rows; ++row) {
    std::fill(out.token_rows + step.row_starts[row], out.token_rows + step.row_starts[row + 1], row);
    int32_t* table = out.page_tables + int64_t{row} * step.shape.max_pages;
    const auto pages = row < static_cast<int32_t>(step.page_tables.size()) ? step.page_tables[row]
                                                                           : absl::Span<const PageId>();
    std::fill(std::copy(pages.begin(), pages.end(), table), table + step.shape.max_pages, 0);
  }
  std::copy(step.logit_tokens.begin(), step.logit_tokens.end(), out.logit_tokens);
  out.work_counts[0] = static_cast<int32_t>(step.attention.narrow.size());
  out.work_counts[1] = static_cast<int32_t>(step.attention.wide.size());
  out.work_counts[2] = static_cast<int32_t>(step.attention.merges.size());
  std::copy(step.attention.narrow.begin(), step.attention.narrow.end(), out.narrow);
  std::copy(step.attention.wide.begin(), step.attention.wide.end(), out.wide);
  std::copy(step.attention.merges.begin(), step.attention.merges.end(), out.merges);
  std::copy(step.samples.begin(), step.samples.end(), out.samples);
  std::copy_n(step.changes.begin(), step.windows.front().count, out.changes);
  std::copy(step.score_tokens.begin(), step.score_tokens.end(), out.score_tokens);
  for (size_t i = 0; i < step.copies.size(); ++i) {
    out.copy_from[i] = step.copies[i].from;
    out.copy_to[i] = step.copies[i].to;
  }
}

}  // namespace ropeway
