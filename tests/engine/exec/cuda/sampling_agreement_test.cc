// A request draws the same tokens on a CPU and on a device: engine/sample against the shipped kernels, by way
// of the step that the executor makes of a plan.
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/api/step.h"
#include "engine/exec/cuda/step.h"
#include "engine/kernels/cuda/ops.h"
#include "engine/sample/sampler.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"

namespace ropeway {
namespace {

constexpr int32_t kVocabulary = 600;
constexpr int kRequests = 96;
constexpr int kMaxTop = 8;

struct Request {
  SamplingParams params;
  std::vector<TokenId> prompt, generated, masked;
  int32_t step = 0;
};

class SamplingAgreementTest : public cuda::DeviceTest {
 protected:
  template <typename T>
  T OneOf(std::initializer_list<T> values) {
    return values.begin()[random_() % values.size()];
  }
  std::vector<TokenId> Tokens(size_t count) {
    std::vector<TokenId> tokens(count);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random_() % kVocabulary);
    return tokens;
  }

  Request RandomRequest() {
    Request request;
    request.params = {.temperature = OneOf({0.0f, 0.2f, 0.7f, 1.0f, 1.9f, 1e-5f}),
                      .top_k = OneOf({0, 0, 1, 7, 40, kVocabulary}),
                      .top_p = OneOf({1.0f, 1.0f, 0.95f, 0.5f, 0.01f}),
                      .min_p = OneOf({0.0f, 0.0f, 0.05f, 0.3f}),
                      .repetition_penalty = OneOf({1.0f, 1.0f, 1.3f, 0.8f}),
                      .presence_penalty = OneOf({0.0f, 0.0f, 0.6f}),
                      .frequency_penalty = OneOf({0.0f, 0.0f, -0.3f}),
                      .seed = random_(),
                      .num_logprobs = OneOf({-1, 0, 5, kMaxTop})};
    if (random_() % 3 == 0) request.params.logit_bias = {{3, 2.5f}, {17, -4.0f}, {599, 1.0f}};
    request.prompt = Tokens(20);
    request.generated = Tokens(random_() % 30);
    request.masked = Tokens(random_() % 3);
    request.step = static_cast<int32_t>(random_() % 100);
    return request;
  }

  std::vector<float> RandomLogits() {
    std::normal_distribution<float> normal(0, OneOf({0.5f, 3.0f, 10.0f}));
    const bool coarse = random_() % 4 == 0;  // many equals
    std::vector<float> logits(kVocabulary);
    for (float& x : logits) x = coarse ? std::round(normal(random_)) : normal(random_);
    return logits;
  }

  std::mt19937 random_{2024};
};

TEST_F(SamplingAgreementTest, TokensAndLogProbabilitiesAreTheSame) {
  std::vector<Request> requests(kRequests);
  std::vector<float> logits;
  StepPlan plan;
  const std::vector<PageId> pages = {0};
  for (int i = 0; i < kRequests; ++i) {
    requests[i] = RandomRequest();
    const std::vector<float> row = RandomLogits();
    logits.insert(logits.end(), row.begin(), row.end());
    plan.token_ids.push_back(0);
    plan.positions.push_back(0);
    plan.row_starts.push_back(i + 1);
    plan.page_tables.push_back(pages);
    plan.sample_rows.push_back({.row = i,
                                .sample = i % 3,
                                .step = requests[i].step,
                                .params = &requests[i].params,
                                .prompt = requests[i].prompt,
                                .generated = requests[i].generated,
                                .masked = requests[i].masked});
  }
  CudaStep step;
  PrepareStep(plan,
              {.attention = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 16, .value_dim = 16},
               .max_logit_rows = kRequests,
               .max_changes = kRequests * kVocabulary,
               .max_model_pages = 1},
              step);
  ASSERT_EQ(step.samples.size(), static_cast<size_t>(kRequests));

  int32_t* tokens = Allocate<int32_t>(kRequests);
  float* logprobs = Allocate<float>(kRequests);
  int32_t* top_tokens = Allocate<int32_t>(kRequests * kMaxTop);
  float* top_logprobs = Allocate<float>(kRequests * kMaxTop);
  Check(cuda::Kernels().sample({.logits = Upload(logits),
                                .logit_stride = kVocabulary,
                                .vocab_size = kVocabulary,
                                .rows = Upload(step.samples),
                                .changes = Upload(step.changes),
                                .num_rows = kRequests,
                                .scratch = Allocate<float>(kRequests * kVocabulary),
                                .tokens = tokens,
                                .logprobs = logprobs,
                                .top_tokens = top_tokens,
                                .top_logprobs = top_logprobs,
                                .max_top = kMaxTop},
                               stream()));
  const std::vector<int32_t> got = Download(tokens, kRequests);
  const std::vector<int32_t> got_tops = Download(top_tokens, kRequests * kMaxTop);
  const std::vector<float> got_logprobs = Download(logprobs, kRequests);
  const std::vector<float> got_top_logprobs = Download(top_logprobs, kRequests * kMaxTop);
  Sampler sampler;
  for (int i = 0; i < kRequests; ++i) {
    const int32_t row = step.sample_order[i];
    SCOPED_TRACE("request " + std::to_string(row));
    const SampledToken expected =
        sampler.Sample(absl::MakeConstSpan(&logits[row * kVocabulary], kVocabulary), plan.sample_rows[row]);
    EXPECT_EQ(got[i], expected.token);
    if (!expected.logprobs.has_value()) continue;
    EXPECT_EQ(got_logprobs[i], expected.logprobs->chosen);
    for (size_t j = 0; j < expected.logprobs->top.size(); ++j) {
      EXPECT_EQ(got_tops[i * kMaxTop + j], expected.logprobs->top[j].first) << j;
      EXPECT_EQ(got_top_logprobs[i * kMaxTop + j], expected.logprobs->top[j].second) << j;
    }
  }
}

}  // namespace
}  // namespace ropeway
