// How a plan becomes the arrays and launches of a CUDA step.
#include "engine/exec/cuda/step.h"

#include <gtest/gtest.h>

#include <algorithm>
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

constexpr int32_t kRows = 11, kMaxLogitRows = 4, kMaxChanges = 7;

// Samples of rows with different numbers of changes, and scores, chosen so that rounds end for each of their
// bounds.
class RoundsTest : public ::testing::Test {
 protected:
  // Row r has so many tokens, biases (3 r) % 8 tokens from r on, and draws 1 + r % 3 samples.
  void AddRows(int32_t tokens_per_row) {
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
  }
  CudaStepOptions Options() const {
    return {.attention = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 8, .value_dim = 8},
            .max_logit_rows = kMaxLogitRows,
            .max_changes = kMaxChanges,
            .max_model_pages = 1};
  }

  // Rounds have all requests, in their order, within their bounds, and find rows and changes where they are.
  void ExpectRoundsHaveAll() {
    int32_t sample = 0, score = 0, change = 0, row = 0, uploaded = 0;
    auto request = step_.requests.all.begin();
    for (const LogitRound& round : step_.rounds) {
      EXPECT_EQ(round.first_row, row);
      EXPECT_EQ(round.first_sample, sample);
      EXPECT_EQ(round.first_score, score);
      EXPECT_EQ(round.first_change, change);
      EXPECT_LE(round.num_rows, kMaxLogitRows);
      EXPECT_LE(round.num_samples, kMaxLogitRows);
      if (round.upload > 0) uploaded = change + round.upload;
      EXPECT_LE(change + round.num_changes, uploaded) << "its changes are on the device";
      EXPECT_LE(round.change_place + std::max(round.num_changes, round.upload), step_.shape.changes);
      row += round.num_rows;
      for (int32_t i = 0; i < round.num_samples + round.num_scores; ++i, ++request) {
        const int32_t logit_row =
            request->is_sample ? step_.samples[sample].logit_row : step_.scores[score].logit_row;
        ASSERT_LT(logit_row, round.num_rows);
        EXPECT_EQ(step_.logit_tokens[round.first_row + logit_row], request->token_index);
        if (request->is_sample) {
          ExpectChanges(round, step_.samples[sample++], plan_.sample_rows[request->index]);
        } else {
          EXPECT_EQ(step_.scores[score++].token,
                    plan_.score_rows[request->index].next_tokens[request->position]);
        }
      }
      change += round.num_changes;
    }
    EXPECT_EQ(request, step_.requests.all.end());
    EXPECT_LE(step_.shape.changes, kMaxChanges);
  }
  void ExpectChanges(const LogitRound& round, const cuda::SampleRowParams& sample, const SampleRow& row) {
    const auto& bias = row.params->logit_bias;
    ASSERT_EQ(sample.num_changes, static_cast<int32_t>(bias.size()));
    ASSERT_LE(sample.first_change + sample.num_changes, round.num_changes);
    for (size_t i = 0; i < bias.size(); ++i)
      EXPECT_EQ(step_.changes[round.first_change + sample.first_change + i].token, bias[i].first);
  }

  std::vector<SamplingParams> params_;
  const std::vector<PageId> pages_ = {0};
  const std::vector<TokenId> next_tokens_ = {5, 6, 7};
  StepPlan plan_;
  CudaStep step_;
};

TEST_F(RoundsTest, HaveAllSamplesAndScores) {
  AddRows(3);
  for (const int32_t row : {9, 0, 4}) plan_.score_rows.push_back({.row = row, .next_tokens = next_tokens_});
  PrepareStep(plan_, Options(), {}, step_);
  ExpectRoundsHaveAll();
  EXPECT_GT(step_.rounds.size(), 5u);
}

// Rounds that end for their rows alone.
TEST_F(RoundsTest, ChangesThatFitAreUploadedTogether) {
  AddRows(1);
  CudaStepOptions options = Options();
  options.max_changes = 100;
  PrepareStep(plan_, options, {}, step_);
  ASSERT_GT(step_.rounds.size(), 2u);
  EXPECT_EQ(step_.rounds[0].upload, static_cast<int32_t>(step_.changes.size()));
  EXPECT_EQ(step_.shape.changes, static_cast<int32_t>(step_.changes.size()));
  for (const LogitRound& round : step_.rounds) {
    EXPECT_EQ(round.change_place, round.first_change);
    if (&round != &step_.rounds[0]) {
      EXPECT_EQ(round.upload, 0);
    }
  }
}

TEST_F(RoundsTest, ATokenIsScoredAndSampledFromOneRow) {
  AddRows(3);
  for (int32_t row = 0; row < kRows; ++row)
    plan_.score_rows.push_back({.row = row, .next_tokens = next_tokens_});
  CudaStepOptions options = Options();
  options.max_logit_rows = 3 * kRows;
  options.max_changes = 1000;
  PrepareStep(plan_, options, {}, step_);
  ASSERT_EQ(step_.rounds.size(), 1u);
  EXPECT_EQ(step_.rounds[0].num_rows, 3 * kRows) << "each token once";
}

TEST_F(RoundsTest, ABucketIsOneRound) {
  AddRows(1);
  CudaStepOptions options = Options();
  options.max_bucket = kRows;
  PrepareStep(plan_, options, {}, step_);
  EXPECT_FALSE(step_.is_bucket) << "its samples and changes do not fit one round";
  ExpectRoundsHaveAll();
  options.max_logit_rows = 32;
  options.max_changes = 100;
  PrepareStep(plan_, options, {}, step_);
  ASSERT_TRUE(step_.is_bucket);
  ASSERT_EQ(step_.rounds.size(), 1u);
  EXPECT_EQ(step_.rounds[0].num_rows, BucketOf(kRows));
  EXPECT_EQ(step_.rounds[0].num_samples, static_cast<int32_t>(plan_.sample_rows.size()));
}

TEST_F(RoundsTest, ResultsGoWhereThePlanHasThem) {
  AddRows(3);
  std::reverse(plan_.sample_rows.begin(), plan_.sample_rows.end());
  plan_.score_rows = {{.row = 7, .top = 1, .next_tokens = next_tokens_},
                      {.row = 2, .next_tokens = next_tokens_}};
  PrepareStep(plan_, Options(), {}, step_);
  const size_t samples = plan_.sample_rows.size(), all = samples + 6;
  std::vector<int32_t> tokens(samples), top_tokens(all, 3);
  std::vector<float> logprobs(all), top_logprobs(all, -1);
  // Each token and each score tells the request it is of.
  for (size_t i = 0, sample = 0, score = samples; i < all; ++i) {
    const LogitRequest& request = step_.requests.all[i];
    if (request.is_sample)
      tokens[sample++] = request.index;
    else
      logprobs[score++] = static_cast<float>(10 * request.index + request.position);
  }
  const StepResult result =
      ReadResults(step_, {tokens.data(), logprobs.data(), top_tokens.data(), top_logprobs.data()}, 1);
  for (size_t i = 0; i < samples; ++i) EXPECT_EQ(result.samples[i].token, static_cast<TokenId>(i));
  ASSERT_EQ(result.scores.size(), 2u);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(result.scores[i].size(), 3u);
    for (int position = 0; position < 3; ++position)
      EXPECT_EQ(result.scores[i][position].chosen, 10 * i + position);
    EXPECT_EQ(result.scores[i][0].top.size(), i == 0 ? 1u : 0u);
  }
}

}  // namespace
}  // namespace ropeway::testing
