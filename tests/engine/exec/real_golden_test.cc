// Real models in plain float32 against the answers of Hugging Face transformers: every log-probability of the
// prompt, the logits at its end, and the greedy continuation, its golden tokens fed back.
#include "tests/engine/exec/real_golden.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "tests/engine/exec/executor_runs.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

constexpr double kLogprobTolerance = 5e-4;
constexpr float kMarginTolerance = 0.01f;  // twice the bound on logits, which are below 50

struct Extent {
  size_t scored;  // tokens at the end of the prompt whose log-probabilities are compared
  size_t greedy;  // tokens of the continuation
};
constexpr Extent kAll = {SIZE_MAX, SIZE_MAX};
// The output layer of Gemma, with its 262,144 rows, costs more than all other layers.
constexpr Extent kGemmaExtent = {8, 16};

float ToleranceOf(absl::Span<const float> golden) {
  float largest = 0;
  for (const float logit : golden) largest = std::max(largest, std::fabs(logit));
  return 1e-4f * largest + 1e-4f;
}

void ExpectClose(absl::Span<const float> logits, absl::Span<const float> golden) {
  ASSERT_EQ(logits.size(), golden.size());
  float worst = 0;
  for (size_t i = 0; i < golden.size(); ++i) worst = std::max(worst, DifferenceOf(logits[i], golden[i]));
  EXPECT_LE(worst, ToleranceOf(golden));
}

void ExpectGolden(CpuExecutor& executor, const GoldenPrompt& golden, const Extent& extent) {
  const size_t length = golden.ids.size(), steps = std::min(extent.greedy, golden.greedy.size());
  std::vector<TokenId> ids = golden.ids;
  ids.insert(ids.end(), golden.greedy.begin(),
             golden.greedy.begin() + static_cast<std::ptrdiff_t>(steps) - 1);
  const size_t first = length - 1 - std::min(extent.scored, length - 1);
  RunSequence(
      executor, ids, PagesFrom(0, ids.size()), 512, static_cast<int32_t>(first),
      [&](int32_t position, absl::Span<const float> logits) {
        const size_t next = static_cast<size_t>(position) + 1;
        if (next < length) {
          EXPECT_NEAR(LogProbabilities(logits)[golden.ids[next]], golden.logprobs[next], kLogprobTolerance)
              << "position " << next;
          return;
        }
        if (next == length && !golden.last_logits.empty()) ExpectClose(logits, golden.last_logits);
        if (golden.margins[next - length] >= kMarginTolerance) {
          EXPECT_EQ(Likeliest(logits), golden.greedy[next - length]) << "step " << next - length;
        }
      });
}

void ExpectGoldenPrompts(const std::string& model, absl::Span<const char* const> prompts,
                         const Extent& extent) {
  ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<CpuExecutor> executor,
      OpenExecutor(RealModelPath(model), {.kv_type = kernels::KvType::kF32, .kernels = "ref"}));
  for (const char* name : prompts.subspan(0, kSlowBuild ? 1 : prompts.size())) {
    SCOPED_TRACE(name);
    ASSERT_OK_AND_ASSIGN(const GoldenPrompt golden, ReadGoldenPrompt(model, name));
    ExpectGolden(*executor, golden, extent);
  }
}

TEST(RealGoldenTest, SmolLm2) {
  ExpectGoldenPrompts(kSmolLm2,
                      {"chat_france", "english_story", "chinese", "emoji", "whitespace_runs", "code_json",
                       "one_token", "special_in_text"},
                      kAll);
}

TEST(RealGoldenTest, Gemma3) {
  ExpectGoldenPrompts(kGemma3, {"chat_france", "code_python", "one_token"}, kGemmaExtent);
}

// Longer than the window of 512 that five of six layers have.
TEST(RealGoldenTest, Gemma3BeyondItsWindow) {
  if (kSlowBuild) GTEST_SKIP() << "too slow in this build, where the tiny models' windows are tested";
  ExpectGoldenPrompts(kGemma3, {"long_700"}, {.scored = 4, .greedy = 4});
}

}  // namespace
}  // namespace ropeway::testing
