// How a plan becomes the arrays and launches of a CUDA step.
#include "engine/exec/cuda/step.h"

#include <gtest/gtest.h>

#include <vector>

namespace ropeway::testing {
namespace {

TEST(BucketTest, PadsLittle) {
  EXPECT_EQ(BucketOf(1), 1);
  EXPECT_EQ(BucketOf(3), 4);
  EXPECT_EQ(BucketOf(9), 9);
  EXPECT_EQ(BucketOf(17), 18);
  for (int32_t rows = 9; rows < 1000; ++rows) {
    EXPECT_GE(BucketOf(rows), rows);
    EXPECT_LE(BucketOf(rows), rows + rows / 8);
  }
}

// Samples of rows with different numbers of changes, chosen so that windows end inside rounds and at their
// ends.
class ChangeWindowTest : public ::testing::TestWithParam<bool> {
 protected:
  static constexpr int32_t kRows = 11, kMaxLogitRows = 4, kMaxChanges = 7;

  // Row r biases (3 r) % 8 tokens, from r on.
  void SetUp() override {
    const int32_t tokens_per_row = GetParam() ? 1 : 2;
    params_.resize(kRows);
    for (int32_t row = 0; row < kRows; ++row) {
      for (int32_t i = 0; i < (3 * row) % 8; ++i) params_[row].logit_bias.emplace_back(row + i, 1.0f);
      for (int32_t t = 0; t < tokens_per_row; ++t) {
        plan_.token_ids.push_back(0);
        plan_.positions.push_back(t);
      }
      plan_.row_starts.push_back(plan_.num_tokens());
      plan_.page_tables.push_back(pages_);
      for (int32_t sample = 0; sample < 1 + row % 3; ++sample)
        plan_.sample_rows.push_back({.row = row, .sample = sample, .params = &params_[row]});
    }
    PrepareStep(plan_,
                {.attention = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 8, .value_dim = 8},
                 .max_logit_rows = kMaxLogitRows,
                 .max_changes = kMaxChanges,
                 .max_bucket = GetParam() ? kRows : 0,
                 .max_model_pages = 1},
                step_);
    ASSERT_EQ(step_.is_bucket, GetParam());
  }

  std::vector<SamplingParams> params_;
  const std::vector<PageId> pages_ = {0};
  StepPlan plan_;
  CudaStep step_;
};

TEST_P(ChangeWindowTest, BatchesHaveAllSamplesInOrder) {
  int32_t next_sample = 0, next_batch = 0;
  for (const LogitRound& round : step_.rounds) {
    EXPECT_EQ(round.first_batch, next_batch);
    next_batch += round.num_batches;
    for (int32_t i = round.first_batch; i < next_batch; ++i) {
      const SampleBatch& batch = step_.batches[i];
      EXPECT_EQ(batch.first, next_sample);
      EXPECT_GT(batch.count, 0);
      EXPECT_LE(batch.count, kMaxLogitRows);
      next_sample += batch.count;
      for (int32_t s = batch.first; s < next_sample; ++s) EXPECT_LT(step_.samples[s].logit_row, round.count);
      if (i > 0) {
        EXPECT_GE(batch.window, step_.batches[i - 1].window);
      }
    }
  }
  EXPECT_EQ(next_batch, static_cast<int32_t>(step_.batches.size()));
  EXPECT_EQ(next_sample, static_cast<int32_t>(plan_.sample_rows.size()));
}

TEST_P(ChangeWindowTest, AWindowHoldsTheChangesOfItsSamples) {
  EXPECT_GT(step_.windows.size(), 3u);
  EXPECT_LE(step_.shape.changes, kMaxChanges);
  for (const SampleBatch& batch : step_.batches) {
    const ChangeWindow& window = step_.windows[batch.window];
    EXPECT_LE(window.count, step_.shape.changes);
    for (int32_t s = batch.first; s < batch.first + batch.count; ++s) {
      const cuda::SampleRowParams& sample = step_.samples[s];
      const auto& bias = params_[plan_.sample_rows[step_.sample_order[s]].row].logit_bias;
      ASSERT_EQ(sample.num_changes, static_cast<int32_t>(bias.size()));
      ASSERT_LE(sample.first_change + sample.num_changes, window.count);
      for (size_t i = 0; i < bias.size(); ++i)
        EXPECT_EQ(step_.changes[window.first + sample.first_change + i].token, bias[i].first);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Decode, ChangeWindowTest, ::testing::Bool());

}  // namespace
}  // namespace ropeway::testing
