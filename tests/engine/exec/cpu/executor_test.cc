#include "engine/exec/cpu/executor.h"

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/engine/exec/executor_runs.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<OpenedModel> OpenTiny(const std::string& name = "llama_base") {
  const TempFolder folder;
  RETURN_IF_ERROR(WriteTinyModel(name, folder.path()));
  return OpenModel(folder.path());
}

absl::StatusOr<std::unique_ptr<CpuExecutor>> MakeTiny(const CpuExecutorOptions& options) {
  ASSIGN_OR_RETURN(OpenedModel model, OpenTiny());
  return CpuExecutor::Make(std::move(model), options);
}

TEST(CpuExecutorTest, NamesTheOptionThatIsOutOfRange) {
  const struct {
    CpuExecutorOptions options;
    const char* says;
  } cases[] = {
      {{.kernels = "sse"},
       "kernels must be one of auto, ref, avx2, avx512 that this processor can run, is 'sse'"},
      {{.kernels = ""}, "kernels must be one of"},
      {{.threads = -1}, "threads must be in [0, 1024], is -1"},
      {{.threads = 1025}, "threads must be in [0, 1024], is 1025"},
      {{.max_tokens_per_step = 0}, "max_tokens_per_step must be in [1, 65536], is 0"},
      {{.max_tokens_per_step = 65537}, "max_tokens_per_step must be in [1, 65536], is 65537"},
      {{.max_tokens_per_step = 8, .max_rows_per_step = 9}, "max_rows_per_step must be in [1, 8], is 9"},
      {{.max_rows_per_step = 0}, "max_rows_per_step must be in [1, 512], is 0"},
      {{.max_model_len = 257}, "max_model_len must be in [0, 256], is 257"},
      {{.max_model_len = -1}, "max_model_len must be in [0, 256], is -1"},
      {{.kv_cache_bytes = 100}, "kv_cache_bytes must hold at least one page"},
      {{.kv_cache_bytes = -1}, "kv_cache_bytes must hold at least one page"},
  };
  for (const auto& [options, says] : cases)
    EXPECT_THAT(MakeTiny(options), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(says))) << says;
}

TEST(CpuExecutorTest, RefusesACacheThatMemoryDoesNotHold) {
  EXPECT_THAT(MakeTiny({.kv_cache_bytes = int64_t{1} << 60}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("kv_cache_bytes must fit into the ")));
}

TEST(CpuExecutorTest, LimitsFollowFromModelAndOptions) {
  // A page of a layer: keys and values of 2 heads of 16 numbers, 16 tokens, 2 bytes each. 4 layers.
  constexpr int64_t kPageBytes = int64_t{2} * 2 * 16 * 16 * 2 * 4;
  ASSERT_OK_AND_ASSIGN(const auto executor, MakeTiny({.threads = 1,
                                                      .kv_cache_bytes = 5 * kPageBytes + kPageBytes / 2,
                                                      .max_tokens_per_step = 64,
                                                      .max_rows_per_step = 3}));
  EXPECT_EQ(executor->limits().num_pages, 5);
  EXPECT_EQ(executor->limits().max_tokens_per_step, 64);
  EXPECT_EQ(executor->limits().max_rows_per_step, 3);
  EXPECT_EQ(executor->limits().max_model_len, 80);  // five pages; the model's context is 256
  EXPECT_EQ(executor->limits().vocab_size, 320);
  EXPECT_EQ(executor->kv_cache_bytes(), 5 * kPageBytes);
  EXPECT_EQ(executor->threads(), 1);
  ASSERT_OK_AND_ASSIGN(const auto roomy, MakeTiny({.max_model_len = 100, .kv_cache_bytes = 1 << 20}));
  EXPECT_EQ(roomy->limits().max_model_len, 100);
}

TEST(CpuExecutorTest, ReportsProgressLayerByLayer) {
  std::vector<std::pair<int, int>> reports;
  const auto report = [&](int done, int all) {
    reports.emplace_back(done, all);
    return absl::OkStatus();
  };
  ASSERT_OK(MakeTiny({.kv_cache_bytes = 1 << 20, .progress = report}));
  EXPECT_EQ(reports, (std::vector<std::pair<int, int>>{{1, 4}, {2, 4}, {3, 4}, {4, 4}}));
}

TEST(CpuExecutorTest, ProgressMayEndTheLoad) {
  int reports = 0;
  const auto stop = [&](int done, int) {
    ++reports;
    return done < 2 ? absl::OkStatus() : absl::CancelledError("enough");
  };
  EXPECT_THAT(MakeTiny({.kv_cache_bytes = 1 << 20, .progress = stop}).status(),
              StatusIs(absl::StatusCode::kCancelled, "enough"));
  EXPECT_EQ(reports, 2);
}

class CpuExecutorStepTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(executor_, MakeTiny({.kernels = "ref", .threads = 2, .kv_cache_bytes = 4 << 20}));
  }
  const std::vector<TokenId> ids_ = {5, 9, 200, 31, 7, 7, 7, 300, 64, 12, 90, 91, 92, 93, 3, 4, 6, 8, 10};
  const std::vector<PageId> pages_ = {7, 3};
  const SamplingParams greedy_{.temperature = 0, .num_logprobs = 3};
  std::unique_ptr<CpuExecutor> executor_;
};

TEST_F(CpuExecutorStepTest, SamplesAfterTheLastTokenOfARow) {
  const std::vector<float> logits =
      LogitsOf(*executor_, ids_, pages_, 512, static_cast<int32_t>(ids_.size()) - 1);
  StepPlan plan = PlanOf({{ids_, 0, pages_}});
  plan.sample_rows.push_back({.row = 0, .params = &greedy_});
  ASSERT_OK_AND_ASSIGN(const StepResult result, executor_->Step(plan));
  ASSERT_EQ(result.samples.size(), 1u);
  EXPECT_EQ(result.samples[0].token, Likeliest(logits));
  ASSERT_TRUE(result.samples[0].logprobs.has_value());
  const std::vector<double> logprobs = LogProbabilities(logits);
  EXPECT_NEAR(result.samples[0].logprobs->chosen, logprobs[Likeliest(logits)], 1e-5);
  ASSERT_EQ(result.samples[0].logprobs->top.size(), 3u);
  EXPECT_EQ(result.samples[0].logprobs->top[0].first, Likeliest(logits));
}

// The scores of a chunk's tokens and the samples of two rows, asked for in one step, each at its place.
TEST_F(CpuExecutorStepTest, ScoresEveryTokenOfAPrompt) {
  const std::vector<float> logits = LogitsOf(*executor_, ids_, pages_, 512);
  const size_t vocabulary = logits.size() / ids_.size();
  const std::vector<TokenId> other = {44, 45, 46};
  const std::vector<PageId> other_pages = {1};
  const auto next = absl::MakeConstSpan(ids_).subspan(1);
  StepPlan plan = PlanOf({{other, 0, other_pages}, {ids_, 0, pages_}});
  plan.sample_rows = {{.row = 1, .params = &greedy_}, {.row = 0, .params = &greedy_}};
  plan.score_rows = {{.row = 1, .top = 2, .next_tokens = next}};
  ASSERT_OK_AND_ASSIGN(const StepResult result, executor_->Step(plan));
  ASSERT_EQ(result.scores.size(), 1u);
  ASSERT_EQ(result.scores[0].size(), next.size());
  for (size_t i = 0; i < next.size(); ++i) {
    const auto row = absl::MakeConstSpan(logits).subspan(i * vocabulary, vocabulary);
    EXPECT_NEAR(result.scores[0][i].chosen, LogProbabilities(row)[next[i]], 1e-5);
    ASSERT_EQ(result.scores[0][i].top.size(), 2u);
    EXPECT_EQ(result.scores[0][i].top[0].first, Likeliest(row));
  }
  EXPECT_EQ(result.samples[0].token,
            Likeliest(absl::MakeConstSpan(logits).subspan((ids_.size() - 1) * vocabulary)));
  EXPECT_EQ(result.samples[1].token,
            Likeliest(LogitsOf(*executor_, other, other_pages, 512, static_cast<int32_t>(other.size()) - 1)));
}

// More rows of logits than fit the workspace at a time.
TEST_F(CpuExecutorStepTest, ScoresALongPrompt) {
  std::vector<TokenId> ids;
  for (TokenId i = 0; i < 200; ++i) ids.push_back(3 + i * 7 % 300);
  const std::vector<PageId> pages = PagesFrom(0, ids.size());
  const std::vector<float> logits = LogitsOf(*executor_, ids, pages, 7);
  const size_t vocabulary = logits.size() / ids.size();
  StepPlan plan = PlanOf({{ids, 0, pages}});
  plan.score_rows = {{.row = 0, .next_tokens = absl::MakeConstSpan(ids).subspan(1)}};
  ASSERT_OK_AND_ASSIGN(const StepResult result, executor_->Step(plan));
  for (size_t i = 0; i + 1 < ids.size(); ++i)
    EXPECT_NEAR(result.scores[0][i].chosen,
                LogProbabilities(absl::MakeConstSpan(logits).subspan(i * vocabulary, vocabulary))[ids[i + 1]],
                1e-5);
}

TEST_F(CpuExecutorStepTest, TakesAStepWithoutWishes) {
  ASSERT_OK_AND_ASSIGN(const StepResult result, executor_->Step(PlanOf({{ids_, 0, pages_}})));
  EXPECT_TRUE(result.samples.empty());
  EXPECT_TRUE(result.scores.empty());
}

}  // namespace
}  // namespace ropeway::testing
