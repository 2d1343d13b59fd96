// A request draws the same tokens on a CPU and on a device: engine/sample against the shipped kernels and
// against those of the emulation's plain loops, by way of the step that the executor makes of a plan. Logits
// that are no numbers, and penalties and biases beyond all measure, included.
#include <algorithm>
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
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/kernels/cuda/device_test.h"

namespace ropeway {
namespace {

constexpr int kMaxTop = 8;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Sizes {
  int32_t vocabulary;
  int requests;
  int blocks;  // that share a row at most
};

struct Request {
  SamplingParams params;
  std::vector<TokenId> prompt, generated, masked;
  int32_t step = 0;
};

class SamplingAgreementTest : public cuda::DeviceTest, public testing::WithParamInterface<Sizes> {
 protected:
  template <typename T>
  T OneOf(std::initializer_list<T> values) {
    return values.begin()[random_() % values.size()];
  }
  std::vector<TokenId> Tokens(size_t count) {
    std::vector<TokenId> tokens(count);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random_() % vocabulary_);
    return tokens;
  }

  Request RandomRequest() {
    Request request;
    request.params = {.temperature = OneOf({0.0f, 0.2f, 0.7f, 1.0f, 1.9f, 1e-5f}),
                      .top_k = OneOf({0, 0, 1, 7, 40, vocabulary_}),
                      .top_p = OneOf({1.0f, 1.0f, 0.95f, 0.5f, 0.01f}),
                      .min_p = OneOf({0.0f, 0.0f, 0.05f, 0.3f}),
                      .repetition_penalty = OneOf({1.0f, 1.0f, 1.3f, 0.8f, 100.0f, 1e-38f, 1e-45f}),
                      .presence_penalty = OneOf({0.0f, 0.0f, 0.6f, 2.0f, -2.0f}),
                      .frequency_penalty = OneOf({0.0f, 0.0f, -0.3f, 2.0f}),
                      .seed = random_(),
                      .num_logprobs = OneOf({-1, 0, 5, kMaxTop})};
    if (random_() % 3 == 0) request.params.logit_bias = {{3, 2.5f}, {17, -4.0f}, {vocabulary_ - 1, 1.0f}};
    if (random_() % 6 == 0)
      request.params.logit_bias = {{3, -kLargest}, {17, kLargest}, {vocabulary_ - 1, 100.0f}};
    request.prompt = Tokens(20);
    request.generated = Tokens(random_() % 30);
    request.masked = Tokens(random_() % 3);
    request.step = static_cast<int32_t>(random_() % 100);
    return request;
  }

  std::vector<float> RandomLogits() {
    std::normal_distribution<float> normal(0, OneOf({0.5f, 3.0f, 10.0f}));
    const bool coarse = random_() % 4 == 0;  // many equals
    std::vector<float> logits(vocabulary_);
    for (float& x : logits) x = coarse ? std::round(normal(random_)) : normal(random_);
    return logits;
  }

  // What no model should give: some logits at the ends of float32 and beyond, at tokens that the request has
  // seen, biases or masks, or at any.
  void Spoil(const Request& request, std::vector<float>& logits) {
    for (int count = OneOf({0, 0, 1, 1, 2, 5}); count > 0; --count) {
      TokenId token = static_cast<TokenId>(random_() % vocabulary_);
      const std::vector<TokenId>& named = *OneOf({&request.prompt, &request.generated, &request.masked});
      if (!named.empty() && random_() % 4 != 0) token = named[random_() % named.size()];
      if (!request.params.logit_bias.empty() && random_() % 4 == 0) token = 17;
      logits[token] = OneOf({kInfinity, -kInfinity, kNaN, -kNaN, kLargest, -kLargest, -kLargest, 1e-45f});
    }
    if (random_() % 16 == 0) std::fill(logits.begin(), logits.end(), -kInfinity);
    if (random_() % 16 == 0)  // only tokens that the request has seen are left
      for (TokenId token = 0; token < vocabulary_; ++token)
        if (std::count(request.prompt.begin(), request.prompt.end(), token) == 0) logits[token] = -kInfinity;
  }

  static SampleRow SampleRowOf(int row, const Request& request) {
    return {.row = row,
            .sample = row % 3,
            .step = request.step,
            .params = &request.params,
            .prompt = request.prompt,
            .generated = request.generated,
            .masked = request.masked};
  }

  // The last token of every other answer is known on the device alone.
  void AddRow(int row, const Request& request) {
    const bool awaits = row % 2 == 1 && !request.generated.empty();
    plan_.token_ids.push_back(awaits ? AwaitedToken(row) : 0);
    token_ids_.push_back(awaits ? request.generated.back() : 0);
    plan_.positions.push_back(0);
    plan_.row_starts.push_back(row + 1);
    plan_.page_tables.push_back(pages_);
    plan_.sample_rows.push_back(SampleRowOf(row, request));
    if (awaits) plan_.sample_rows.back().generated.remove_suffix(1);
  }

  // The tokens and log-probabilities that `kernels` give, in the order of the plan's sample rows.
  std::vector<SampledToken> SampleBy(const cuda::KernelTable& kernels, const std::vector<float>& logits) {
    CudaStep step;
    PrepareStep(plan_,
                {.attention = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 16, .value_dim = 16},
                 .max_logit_rows = requests_,
                 .max_changes = requests_ * vocabulary_,
                 .max_model_pages = 1},
                {}, step);
    int32_t* tokens = Allocate<int32_t>(requests_);
    float* logprobs = Allocate<float>(requests_);
    int32_t* top_tokens = Allocate<int32_t>(requests_ * kMaxTop);
    float* top_logprobs = Allocate<float>(requests_ * kMaxTop);
    Check(kernels.sample({.logits = Upload(logits),
                          .logit_stride = vocabulary_,
                          .vocab_size = vocabulary_,
                          .rows = Upload(step.samples),
                          .changes = Upload(step.changes),
                          .token_ids = Upload(token_ids_),
                          .num_rows = requests_,
                          .processors = requests_ * GetParam().blocks,
                          .scratch = Allocate<float>(requests_ * vocabulary_),
                          .states = Allocate<cuda::SampleState>(requests_),
                          .tokens = tokens,
                          .logprobs = logprobs,
                          .top_tokens = top_tokens,
                          .top_logprobs = top_logprobs,
                          .max_top = kMaxTop},
                         stream()));
    std::vector<int32_t> got = Download(tokens, requests_),
                         got_tops = Download(top_tokens, requests_ * kMaxTop);
    std::vector<float> got_logprobs = Download(logprobs, requests_),
                       got_top_logprobs = Download(top_logprobs, requests_ * kMaxTop);
    const CudaResultArrays results{got.data(), got_logprobs.data(), got_tops.data(), got_top_logprobs.data()};
    return ReadResults(step, results, kMaxTop).samples;
  }

  const int32_t vocabulary_ = GetParam().vocabulary;
  const int requests_ = GetParam().requests;
  std::mt19937 random_{2024};
  const std::vector<PageId> pages_ = {0};
  StepPlan plan_;
  std::vector<int32_t> token_ids_;  // as the device has them
};

void ExpectSame(const SampledToken& got, const SampledToken& expected) {
  EXPECT_EQ(got.token, expected.token);
  ASSERT_EQ(got.logprobs.has_value(), expected.logprobs.has_value());
  if (!expected.logprobs.has_value()) return;
  if (std::isnan(expected.logprobs->chosen)) {
    EXPECT_TRUE(std::isnan(got.logprobs->chosen));
  } else {
    EXPECT_EQ(got.logprobs->chosen, expected.logprobs->chosen);
  }
  EXPECT_EQ(got.logprobs->top, expected.logprobs->top);
}

TEST_P(SamplingAgreementTest, TokensAndLogProbabilitiesAreTheSame) {
  std::vector<Request> requests(requests_);
  std::vector<float> logits;
  for (int i = 0; i < requests_; ++i) {
    requests[i] = RandomRequest();
    std::vector<float> row = RandomLogits();
    Spoil(requests[i], row);
    logits.insert(logits.end(), row.begin(), row.end());
    AddRow(i, requests[i]);
  }
  const std::vector<SampledToken> by_kernels = SampleBy(cuda::Kernels(), logits),
                                  by_loops = SampleBy(cuda::emulation::HostKernels(), logits);
  Sampler sampler;
  int chosen = 0;
  for (int i = 0; i < requests_; ++i) {
    SCOPED_TRACE("request " + std::to_string(i));
    const SampledToken expected = sampler.Sample(absl::MakeConstSpan(&logits[i * vocabulary_], vocabulary_),
                                                 SampleRowOf(i, requests[i]));
    chosen += expected.token != kNoToken;
    ExpectSame(by_kernels[i], expected);
    ExpectSame(by_loops[i], expected);
  }
  EXPECT_GT(chosen, requests_ / 4);
  EXPECT_LT(chosen, requests_ * 3 / 4) << "logits that say nothing are to be drawn, too";
}

// By one block a row, and by four, of which the last one has a part of a slice.
INSTANTIATE_TEST_SUITE_P(Sizes, SamplingAgreementTest,
                         testing::Values(Sizes{.vocabulary = 600, .requests = 240, .blocks = 1},
                                         Sizes{.vocabulary = 12'500, .requests = 60, .blocks = 4}));

}  // namespace
}  // namespace ropeway
