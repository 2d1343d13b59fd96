// What the fields of Sampling do to the answers of the real model, told by an oracle: its logits, computed
// one sequence at a time and without the server, under the formulas of the wire contract written out plainly.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/ropeway_client.h"
#include "engine/inspect/model_probe.h"
#include "tests/integration/model_server.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

using ::testing::Each;
using ::testing::Not;

using Ids = std::vector<int32_t>;
using Logits = std::vector<float>;

constexpr int kTokens = 16;
constexpr char kPrompt[] = "Row, row, row your boat, gently down the";

class SamplingTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    served_ = new ModelServer;
    auto probe = ModelProbe::Open({.model = kModelPath});
    ASSERT_OK(probe);
    probe_ = probe->release();
  }
  static void TearDownTestSuite() {
    delete std::exchange(probe_, nullptr);
    delete std::exchange(served_, nullptr);
  }
  SamplingTest() : client_(client::Client::Create({.server = served_->address()})) {
    const auto tokens = client_->Tokenize(client::TextPrompt{.text = kPrompt});
    EXPECT_OK(tokens);
    prompt_ = tokens->ids;
  }
  ~SamplingTest() override { EXPECT_TRUE(served_->WaitUntilIdle(kPatience)); }

  static client::Request Request(client::Sampling sampling = {}) {
    if (!sampling.temperature) sampling.temperature = 0;
    return {.prompt = client::TextPrompt{.text = kPrompt},
            .sampling = std::move(sampling),
            .stopping = {.max_tokens = kTokens, .ignore_eos = true}};
  }

  client::Sample Ask(const client::Request& request) {
    const client::Answer answer = client_->Generate(request);
    EXPECT_OK(answer.status);
    return answer.samples[0];
  }

  // The logits after each token of `answer` but the last, and before the first.
  std::vector<Logits> LogitsOf(const Ids& answer) const {
    Ids ids = prompt_;
    ids.insert(ids.end(), answer.begin(), answer.end() - 1);
    std::vector<Logits> rows;
    EXPECT_OK(probe_->Start({.prompt_length = static_cast<int32_t>(ids.size())}));
    EXPECT_OK(probe_->Append(
        ids, static_cast<int32_t>(prompt_.size()) - 1,
        [&](int32_t, absl::Span<const float> logits) { rows.emplace_back(logits.begin(), logits.end()); }));
    return rows;
  }

  // Each token must be the likeliest after `adjust`, which knows the tokens generated before.
  void ExpectLikeliest(const Ids& answer, const std::function<void(const Ids& before, Logits&)>& adjust) {
    ASSERT_EQ(answer.size(), kTokens);
    std::vector<Logits> rows = LogitsOf(answer);
    for (size_t i = 0; i < answer.size(); ++i) {
      adjust(Ids(answer.begin(), answer.begin() + static_cast<int64_t>(i)), rows[i]);
      EXPECT_EQ(answer[i], std::max_element(rows[i].begin(), rows[i].end()) - rows[i].begin())
          << "token " << i;
    }
  }

  static ModelServer* served_;
  static ModelProbe* probe_;
  const std::unique_ptr<client::Client> client_;
  Ids prompt_;
};

ModelServer* SamplingTest::served_ = nullptr;
ModelProbe* SamplingTest::probe_ = nullptr;

TEST_F(SamplingTest, GreedyTakesTheLikeliestToken) {
  ExpectLikeliest(Ask(Request()).token_ids, [](const Ids&, Logits&) {});
}

TEST_F(SamplingTest, RepetitionPenaltyActsOnceOnTokensOfPromptAndAnswer) {
  const Ids penalized = Ask(Request({.repetition_penalty = 1.5f})).token_ids;
  EXPECT_NE(penalized, Ask(Request()).token_ids);
  ExpectLikeliest(penalized, [&](const Ids& before, Logits& logits) {
    Ids seen = prompt_;
    seen.insert(seen.end(), before.begin(), before.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (const int32_t id : seen) logits[id] = logits[id] > 0 ? logits[id] / 1.5f : logits[id] * 1.5f;
  });
}

TEST_F(SamplingTest, PresenceAndFrequencyPenaltiesActOnTokensOfTheAnswer) {
  const Ids plain = Ask(Request()).token_ids;
  // A model that repeats itself: one token is wanted so much that each occurrence has to be paid for.
  const std::pair<int32_t, float> wanted = {plain[0], 9.f};
  const Ids presence = Ask(Request({.presence_penalty = 2, .logit_bias = {wanted}})).token_ids;
  ExpectLikeliest(presence, [&](const Ids& before, Logits& logits) {
    logits[wanted.first] += wanted.second;
    Ids seen = before;
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (const int32_t id : seen) logits[id] -= 2;
  });
  const Ids frequency = Ask(Request({.frequency_penalty = 2, .logit_bias = {wanted}})).token_ids;
  ExpectLikeliest(frequency, [&](const Ids& before, Logits& logits) {
    logits[wanted.first] += wanted.second;
    for (const int32_t id : before) logits[id] -= 2;
  });
  EXPECT_NE(frequency, presence);
  EXPECT_LT(std::count(frequency.begin(), frequency.end(), wanted.first),
            std::count(presence.begin(), presence.end(), wanted.first));
}

TEST_F(SamplingTest, BiasForbidsAndForces) {
  const int32_t first = Ask(Request()).token_ids[0];
  const Ids without = Ask(Request({.logit_bias = {{first, -100.f}}})).token_ids;
  EXPECT_THAT(without, Each(Not(first)));
  ExpectLikeliest(without, [&](const Ids&, Logits& logits) { logits[first] -= 100; });
  EXPECT_THAT(Ask(Request({.logit_bias = {{first, 100.f}}})).token_ids, Each(first));
}

TEST_F(SamplingTest, StopTokensAreMaskedUntilMinTokens) {
  constexpr int kLeast = 6;
  client::Request request = Request();
  const int32_t first = Ask(request).token_ids[0];
  request.sampling.logit_bias = {{first, 9.f}};  // it would come at once, and again and again
  request.stopping.token_ids = {first};
  EXPECT_EQ(Ask(request).token_ids, Ids({first}));
  request.stopping.min_tokens = kLeast;
  const client::Sample sample = Ask(request);
  ASSERT_EQ(sample.token_ids.size(), kLeast + 1);
  EXPECT_EQ(std::count(sample.token_ids.begin(), sample.token_ids.end(), first), 1);
  EXPECT_EQ(sample.token_ids.back(), first);
  EXPECT_EQ(sample.finish.stop_token_id, first);
}

double Logprob(const Logits& logits, int32_t id) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return logits[id] - largest - std::log(sum);
}

TEST_F(SamplingTest, LogprobsAreThoseOfTheModelWhateverTheSampling) {
  client::Request request = Request({.temperature = 1.3f,
                                     .top_k = 50,
                                     .repetition_penalty = 1.4f,
                                     .presence_penalty = 1,
                                     .logit_bias = {{prompt_[0], 3.f}},
                                     .seed = 11});
  request.output = {.logprobs = 3, .prompt_logprobs = 0};
  const client::Answer answer = client_->Generate(request);
  ASSERT_OK(answer.status);
  const client::Sample& sample = answer.samples[0];
  ASSERT_EQ(sample.logprobs.size(), kTokens);
  const std::vector<Logits> rows = LogitsOf(sample.token_ids);
  for (size_t i = 0; i < kTokens; ++i) {
    EXPECT_EQ(sample.logprobs[i].chosen.token_id, sample.token_ids[i]);
    EXPECT_NEAR(sample.logprobs[i].chosen.logprob, Logprob(rows[i], sample.token_ids[i]), 2e-5) << i;
    ASSERT_EQ(sample.logprobs[i].top.size(), 3);
    Logits left = rows[i];
    for (const client::TokenLogprob& top : sample.logprobs[i].top) {
      EXPECT_EQ(top.token_id, std::max_element(left.begin(), left.end()) - left.begin());
      EXPECT_NEAR(top.logprob, Logprob(rows[i], top.token_id), 2e-5);
      left[top.token_id] = -std::numeric_limits<float>::infinity();
    }
  }
  ASSERT_EQ(answer.prompt.logprobs.size(), prompt_.size() - 1);
  std::vector<Logits> prompt_rows;
  ASSERT_OK(probe_->Start({.prompt_length = static_cast<int32_t>(prompt_.size())}));
  ASSERT_OK(probe_->Append(prompt_, 0, [&](int32_t, absl::Span<const float> logits) {
    prompt_rows.emplace_back(logits.begin(), logits.end());
  }));
  for (size_t i = 1; i < prompt_.size(); ++i)
    EXPECT_NEAR(answer.prompt.logprobs[i - 1].chosen.logprob, Logprob(prompt_rows[i - 1], prompt_[i]), 2e-5)
        << i;
}

// Of the fractions of the likeliest token's probability at temperature `t`, the least that was chosen.
float LeastFraction(const client::Sample& sample, float t) {
  float least = 1;
  for (const client::TokenLogprobs& place : sample.logprobs)
    least = std::min(least, std::exp((place.chosen.logprob - place.top[0].logprob) / t));
  return least;
}

TEST_F(SamplingTest, MinPDropsWhatIsMuchLessLikelyThanTheLikeliest) {
  constexpr float kTemperature = 1.5f;
  client::Request request = Request({.temperature = kTemperature, .seed = 3});
  request.output.logprobs = 1;
  EXPECT_LT(LeastFraction(Ask(request), kTemperature), 0.1);
  request.sampling.min_p = 0.3f;
  const client::Sample some = Ask(request);
  EXPECT_GE(LeastFraction(some, kTemperature), 0.3 * (1 - 1e-4));
  EXPECT_LT(LeastFraction(some, kTemperature), 1) << "not only the likeliest";
  request.sampling.min_p = 0.9999f;
  EXPECT_EQ(Ask(request).token_ids, Ask(Request()).token_ids);
}

// Request i with all fields at work.
client::Request Everything(int i) {
  return {.prompt = client::TextPrompt{.text = absl::StrCat(kPrompt, " ", i)},
          .sampling = {.temperature = 0.9f,
                       .top_k = 40,
                       .top_p = 0.95f,
                       .min_p = 0.02f,
                       .repetition_penalty = 1.2f,
                       .presence_penalty = 0.5f,
                       .frequency_penalty = 0.3f,
                       .logit_bias = {{100 + i, -5.f}, {200 + i, 2.f}},
                       .seed = 77 + i},
          .stopping = {.max_tokens = 20, .min_tokens = 5, .strings = {"never said so"}, .token_ids = {300}},
          .output = {.num_samples = 1 + i % 3, .logprobs = 2, .prompt_logprobs = 1, .echo = true}};
}

// All that an answer says but names and times, bit for bit.
std::string Said(const client::Answer& answer) {
  std::string said =
      absl::StrCat(answer.status.ToString(), "|", answer.prompt.text, "|", answer.receipt->seed);
  const auto append = [&](const client::TokenLogprobs& place) {
    std::vector<client::TokenLogprob> all = place.top;
    all.push_back(place.chosen);
    for (const client::TokenLogprob& one : all) {
      absl::StrAppend(&said, " ", one.token_id, ":");
      said.append(reinterpret_cast<const char*>(&one.logprob), sizeof one.logprob);
    }
  };
  for (const client::TokenLogprobs& place : answer.prompt.logprobs) append(place);
  for (const client::Sample& sample : answer.samples) {
    absl::StrAppend(&said, "|", sample.text, "|", client::FinishReasonName(sample.finish.reason));
    for (const client::TokenLogprobs& place : sample.logprobs) append(place);
  }
  return said;
}

TEST_F(SamplingTest, WithAllFieldsAtWorkAnAnswerIsTheSameInAnyBatch) {
  constexpr int kRequests = 10;
  std::vector<std::string> alone(kRequests), together(kRequests);
  for (int i = 0; i < kRequests; ++i) alone[i] = Said(client_->Generate(Everything(i)));
  std::vector<std::thread> threads;
  for (int i = 0; i < kRequests; ++i)
    threads.emplace_back([&, i] { together[i] = Said(client_->Generate(Everything(i))); });
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kRequests; ++i) EXPECT_EQ(alone[i], together[i]) << "request " << i;
}

}  // namespace
}  // namespace ropeway::testing
