#include "engine/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "engine/base/splitmix.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Numbers that look random, the same in every run.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : seed_(seed) {}
  double Unit() { return UnitInterval(seed_, counter_++); }
  double Between(double low, double high) { return low + Unit() * (high - low); }
  int Below(int end) { return static_cast<int>(Unit() * end); }

 private:
  const uint64_t seed_;
  uint64_t counter_ = 0;
};

// The definition, written down naively: double precision, a full sort, one step after the other.
std::vector<double> NaiveProbabilities(const std::vector<float>& logits, const SampleRow& row) {
  const SamplingParams& params = *row.params;
  std::vector<double> x(logits.begin(), logits.end());
  for (const auto& [id, bias] : params.logit_bias) x[id] += bias;
  for (size_t id = 0; id < x.size(); ++id) {
    const auto token = static_cast<TokenId>(id);
    const auto times = std::count(row.generated.begin(), row.generated.end(), token);
    const bool seen = times > 0 || std::count(row.prompt.begin(), row.prompt.end(), token) > 0;
    if (seen) x[id] = x[id] > 0 ? x[id] / params.repetition_penalty : x[id] * params.repetition_penalty;
    if (times > 0) x[id] -= params.presence_penalty + params.frequency_penalty * static_cast<double>(times);
  }
  for (const TokenId id : row.masked) x[id] = -kInfinity;

  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x[a] > x[b]; });
  std::vector<double> p(x.size(), 0);
  if (params.temperature == 0) {
    p[order[0]] = 1;
    return p;
  }
  const double largest = x[order[0]];
  size_t kept = params.top_k > 0 ? std::min<size_t>(params.top_k, x.size()) : x.size();
  for (size_t i = 0; i < kept; ++i) p[order[i]] = std::exp((x[order[i]] - largest) / params.temperature);
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  double mass = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (mass >= params.top_p * total && params.top_p < 1) p[order[i]] = 0;
    mass += p[order[i]];
  }
  for (double& q : p) q = q < params.min_p ? 0 : q;
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& q : p) q /= sum;
  return p;
}

// Checks that the token is the one on which the coin falls, but for rounding at its borders.
void ExpectDrawnBy(const std::vector<double>& p, TokenId token, double coin) {
  ASSERT_GE(token, 0);
  ASSERT_LT(token, static_cast<TokenId>(p.size()));
  EXPECT_GT(p[token], 0) << "token " << token << " was ruled out";
  const double before = std::accumulate(p.begin(), p.begin() + token, 0.0);
  EXPECT_LE(before, coin + 1e-5);
  EXPECT_GE(before + p[token], coin - 1e-5);
}

double Coin(const SampleRow& row) {
  return static_cast<double>(CoinOf(row.params->seed, row.sample, row.step)) * 0x1p-64;
}

std::vector<float> RandomLogits(Numbers& numbers, int vocabulary, double spread) {
  std::vector<float> logits(vocabulary);
  for (float& x : logits) {
    // A sum of uniform numbers has the bell of a real model's logits; steps of 1/64 make some of them equal.
    const double bell = numbers.Unit() + numbers.Unit() + numbers.Unit() - 1.5;
    x = static_cast<float>(std::round(bell * spread * 64) / 64);
  }
  return logits;
}

// Else the second sample of a seed would be the first of the next one.
TEST(SamplerTest, CoinsOfNeighbouringSeedsSamplesAndStepsAreApart) {
  std::set<uint64_t> coins;
  constexpr int kCount = 16;
  for (uint64_t seed = 0; seed < kCount; ++seed)
    for (int32_t sample = 0; sample < kCount; ++sample)
      for (int32_t step = 0; step < kCount; ++step) coins.insert(CoinOf(seed, sample, step));
  EXPECT_EQ(coins.size(), size_t{kCount * kCount * kCount});
}

TEST(SamplerTest, DrawsWhatTheDefinitionSays) {
  Numbers numbers(1);
  Sampler sampler;
  for (int round = 0; round < 3000; ++round) {
    const int vocabulary = 1 + numbers.Below(round % 50 == 0 ? 5000 : 300);
    const std::vector<float> logits = RandomLogits(numbers, vocabulary, numbers.Between(0, 40));
    std::vector<TokenId> prompt(numbers.Below(20)), generated(numbers.Below(20)), masked(numbers.Below(3));
    for (auto* ids : {&prompt, &generated, &masked}) {
      for (TokenId& id : *ids) id = numbers.Below(vocabulary);
    }
    if (vocabulary < 4) masked.clear();
    SamplingParams params = {.seed = static_cast<uint64_t>(round)};
    if (numbers.Unit() < 0.9) params.temperature = static_cast<float>(numbers.Between(0.05, 3));
    if (numbers.Unit() < 0.1) params.temperature = 0;
    if (numbers.Unit() < 0.5) params.top_k = numbers.Below(vocabulary + 2);
    // Odd fractions, so that no border of the mass is hit exactly.
    if (numbers.Unit() < 0.5) params.top_p = static_cast<float>(numbers.Between(0.001, 1));
    if (numbers.Unit() < 0.4) params.min_p = static_cast<float>(numbers.Between(0, 0.7));
    if (numbers.Unit() < 0.3) params.repetition_penalty = static_cast<float>(numbers.Between(0.5, 2));
    if (numbers.Unit() < 0.3) params.presence_penalty = static_cast<float>(numbers.Between(-2, 2));
    if (numbers.Unit() < 0.3) params.frequency_penalty = static_cast<float>(numbers.Between(-2, 2));
    if (numbers.Unit() < 0.3) {
      params.logit_bias = {{numbers.Below(vocabulary), static_cast<float>(numbers.Between(-9, 9))}};
    }
    const SampleRow row = {.sample = round % 3,
                           .step = static_cast<int32_t>(generated.size()),
                           .params = &params,
                           .prompt = prompt,
                           .generated = generated,
                           .masked = masked};
    const TokenId token = sampler.Sample(logits, row).token;
    ExpectDrawnBy(NaiveProbabilities(logits, row), token, Coin(row));
    ASSERT_FALSE(HasFailure()) << "round " << round << ", " << vocabulary << " tokens";
    EXPECT_EQ(Sampler().Sample(logits, row).token, token) << "what ran before must not matter";
  }
}

// Pearson's statistic of `draws` against `p`; about its degrees of freedom where the draws follow p.
double ChiSquare(const std::vector<int>& draws, const std::vector<double>& p) {
  const double total = std::accumulate(draws.begin(), draws.end(), 0.0);
  double statistic = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0) {
      EXPECT_EQ(draws[i], 0) << "token " << i;
      continue;
    }
    const double expected = p[i] * total;
    statistic += (draws[i] - expected) * (draws[i] - expected) / expected;
  }
  return statistic;
}

TEST(SamplerTest, DrawsFollowTheDistribution) {
  const std::vector<float> logits = {0, 1, 2, 3, 2, 1, 0, -1, 2.5, 0.5, -0.5, 1.5};
  for (const SamplingParams& wish :
       {SamplingParams{.temperature = 1}, SamplingParams{.temperature = 0.7F, .top_k = 8},
        SamplingParams{.temperature = 1.3F, .top_p = 0.9F}, SamplingParams{.temperature = 1, .min_p = 0.2F},
        SamplingParams{.temperature = 2, .top_k = 9, .top_p = 0.8F, .min_p = 0.1F}}) {
    SamplingParams params = wish;
    Sampler sampler;
    std::vector<int> by_step(logits.size()), by_seed(logits.size()), by_sample(logits.size());
    constexpr int kDraws = 20000;
    for (int i = 0; i < kDraws; ++i) {
      params.seed = 7;
      ++by_step[sampler.Sample(logits, {.step = i, .params = &params}).token];
      ++by_sample[sampler.Sample(logits, {.sample = i, .params = &params}).token];
      params.seed = static_cast<uint64_t>(i);
      ++by_seed[sampler.Sample(logits, {.params = &params}).token];
    }
    const std::vector<double> p = NaiveProbabilities(logits, {.params = &params});
    // With 11 degrees of freedom a statistic beyond 31.3 has probability 0.001.
    EXPECT_LT(ChiSquare(by_step, p), 31.3);
    EXPECT_LT(ChiSquare(by_sample, p), 31.3);
    EXPECT_LT(ChiSquare(by_seed, p), 31.3);
  }
}

TokenId SampleOne(const std::vector<float>& logits, const SamplingParams& params, SampleRow row = {}) {
  row.params = &params;
  return Sampler().Sample(logits, row).token;
}

// All tokens that 200 coins give.
std::vector<TokenId> Drawn(const std::vector<float>& logits, const SamplingParams& params,
                           SampleRow row = {}) {
  std::vector<TokenId> tokens;
  for (int32_t step = 0; step < 200; ++step) {
    row.step = step;
    tokens.push_back(SampleOne(logits, params, row));
  }
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  return tokens;
}

TEST(SamplerTest, GreedyTakesTheLargestAndTheLowestIdAmongEquals) {
  EXPECT_EQ(SampleOne({1, 3, 3, 2}, {.temperature = 0}), 1);
  EXPECT_EQ(SampleOne({-5}, {.temperature = 0}), 0);
  EXPECT_THAT(Drawn({1, 3, 3, 2}, {.temperature = 0, .top_k = 2, .top_p = 0.1F}), ElementsAre(1));
}

TEST(SamplerTest, TopKBreaksTiesByTheLowestId) {
  EXPECT_THAT(Drawn({2, 2, 2, 2}, {.top_k = 2}), ElementsAre(0, 1));
  EXPECT_THAT(Drawn({1, 2, 2, 2}, {.top_k = 1}), ElementsAre(1));
  EXPECT_THAT(Drawn({2, 2, 2}, {.top_k = 2147483647}), ElementsAre(0, 1, 2));
}

TEST(SamplerTest, TopPKeepsTheSmallestSetThatReachesIt) {
  // Probabilities 1/2, 1/4, 1/8, 1/8.
  const float two = std::log(2.0F);
  const std::vector<float> logits = {0, 2 * two, two, 0};
  EXPECT_THAT(Drawn(logits, {.top_p = 0.49F}), ElementsAre(1));
  EXPECT_THAT(Drawn(logits, {.top_p = 0.51F}), ElementsAre(1, 2));
  EXPECT_THAT(Drawn(logits, {.top_p = 0.76F}), ElementsAre(0, 1, 2));
  EXPECT_THAT(Drawn(logits, {.top_p = 1e-30F}), ElementsAre(1));
  EXPECT_THAT(Drawn(logits, {.top_k = 2, .top_p = 0.6F}), ElementsAre(1)) << "of what top_k leaves: 2/3";
}

TEST(SamplerTest, MinPDropsWhatIsMuchLessLikelyThanTheLikeliest) {
  const std::vector<float> logits = {0, std::log(0.5F), std::log(0.1F), -kInfinity};
  EXPECT_THAT(Drawn(logits, {.min_p = 0.05F}), ElementsAre(0, 1, 2));
  EXPECT_THAT(Drawn(logits, {.min_p = 0.2F}), ElementsAre(0, 1));
  EXPECT_THAT(Drawn(logits, {.min_p = 0.99F}), ElementsAre(0));
  EXPECT_THAT(Drawn(logits, {.temperature = 3, .min_p = 0.2F}), ElementsAre(0, 1, 2));
}

TEST(SamplerTest, BiasForcesAndForbids) {
  const std::vector<float> logits = {5, 4, 3};
  EXPECT_THAT(Drawn(logits, {.logit_bias = {{2, 100}}}), ElementsAre(2));
  EXPECT_THAT(Drawn(logits, {.logit_bias = {{0, -100}, {1, -100}}}), ElementsAre(2));
  EXPECT_EQ(SampleOne(logits, {.temperature = 0, .logit_bias = {{1, 1.5F}}}), 1);
}

TEST(SamplerTest, RepetitionPenaltyCountsPromptAndAnswerOnce) {
  const std::vector<TokenId> prompt = {0, 0, 0};
  const std::vector<TokenId> generated = {3};
  const SampleRow row = {.prompt = prompt, .generated = generated};
  EXPECT_EQ(SampleOne({4, 3, -1, 1}, {.temperature = 0, .repetition_penalty = 1.3F}, row), 0)
      << "4 / 1.3 is above 3; were it divided three times, it would not be";
  EXPECT_EQ(SampleOne({4, 3, -1, 1}, {.temperature = 0, .repetition_penalty = 1.4F}, row), 1);
  EXPECT_EQ(SampleOne({-4, -3, -3, -2}, {.temperature = 0, .repetition_penalty = 2}, row), 1)
      << "negative logits are multiplied: -8, -3, -3, -4";
  EXPECT_EQ(SampleOne({-4, -3, -3, 2}, {.temperature = 0, .repetition_penalty = 1e-38F}, row), 3)
      << "a tiny penalty leaves numbers";
}

TEST(SamplerTest, PresenceAndFrequencyPenaltiesCountTheAnswerAlone) {
  const std::vector<TokenId> prompt = {0};
  const std::vector<TokenId> generated = {1, 1, 2};
  const SampleRow row = {.prompt = prompt, .generated = generated};
  const std::vector<float> logits = {1, 3, 2, 0};
  EXPECT_EQ(SampleOne(logits, {.temperature = 0, .presence_penalty = 0.9F}, row), 1);
  EXPECT_EQ(SampleOne(logits, {.temperature = 0, .presence_penalty = 2}, row), 0) << "1, 1, 0, 0";
  EXPECT_EQ(SampleOne(logits, {.temperature = 0, .frequency_penalty = 0.7F}, row), 1) << "1, 1.6, 1.3, 0";
  EXPECT_EQ(SampleOne(logits, {.temperature = 0, .frequency_penalty = 0.85F}, row), 1) << "1, 1.3, 1.15, 0";
  EXPECT_EQ(SampleOne(logits, {.temperature = 0, .frequency_penalty = 0.95F}, row), 1) << "1, 1.1, 1.05, 0";
  EXPECT_EQ(SampleOne(logits, {.temperature = 0, .frequency_penalty = 1.1F}, row), 0) << "1, 0.8, 0.9, 0";
}

TEST(SamplerTest, MaskedTokensAreNeverChosen) {
  const std::vector<TokenId> masked = {0, 2};
  EXPECT_EQ(SampleOne({9, 1, 8, 0}, {.temperature = 0}, {.masked = masked}), 1);
  EXPECT_THAT(Drawn({9, 1, 8, 0}, {.logit_bias = {{0, 100}}}, {.masked = masked}), ElementsAre(1, 3));
  EXPECT_THAT(Drawn({9, 1, 8, 0}, {.top_k = 3}, {.masked = masked}), ElementsAre(1, 3));
}

TEST(SamplerTest, ExtremeTemperaturesDraw) {
  EXPECT_THAT(Drawn({1, 2, 3}, {.temperature = 1e-45F}), ElementsAre(2));
  EXPECT_THAT(Drawn({1, 2, 3}, {.temperature = 100}), ElementsAre(0, 1, 2));
  EXPECT_THAT(Drawn({-3e38F, 3e38F, -kInfinity}, {.top_p = 0.9F}), ElementsAre(1));
}

TEST(SamplerTest, LogitsThatAreNotNumbersGiveNoToken) {
  for (const float bad : {kNan, -kNan, kInfinity}) {
    for (const SamplingParams& params :
         {SamplingParams{.temperature = 0}, SamplingParams{}, SamplingParams{.top_k = 1},
          SamplingParams{.top_p = 0.5F}, SamplingParams{.min_p = 0.5F, .num_logprobs = 3}}) {
      EXPECT_EQ(SampleOne({1, bad, 2}, params), kNoToken);
    }
  }
  EXPECT_EQ(SampleOne({-kInfinity, -kInfinity}, {}), kNoToken);
}

// A change hides no fault of the model, but a mask does: that logit is not looked at.
TEST(SamplerTest, ChangesLeaveInfinitiesAndNaNsWhatTheyAre) {
  const std::vector<TokenId> seen = {1};
  const SampleRow row = {.prompt = seen, .generated = seen};
  for (const float bad : {kNan, -kNan, kInfinity}) {
    for (const SamplingParams& params : {SamplingParams{.temperature = 0, .repetition_penalty = 1.5F},
                                         SamplingParams{.temperature = 0, .repetition_penalty = 1e-45F},
                                         SamplingParams{.temperature = 0, .presence_penalty = 2},
                                         SamplingParams{.temperature = 0, .frequency_penalty = 2},
                                         SamplingParams{.temperature = 0, .logit_bias = {{1, -100}}}}) {
      EXPECT_EQ(SampleOne({1, bad, 2}, params, row), kNoToken);
      EXPECT_EQ(SampleOne({1, bad, 2}, params, {.prompt = seen, .generated = seen, .masked = seen}), 2);
    }
  }
  for (const SamplingParams& params : {SamplingParams{.temperature = 0, .repetition_penalty = 1e-45F},
                                       SamplingParams{.temperature = 0, .presence_penalty = -2},
                                       SamplingParams{.temperature = 0, .logit_bias = {{1, 100}}}}) {
    EXPECT_EQ(SampleOne({-kLargest, -kInfinity, -kLargest}, params, row), 0) << "ruled out for good";
  }
}

TEST(SamplerTest, ChangesLeaveFiniteLogitsFinite) {
  const std::vector<TokenId> seen = {1};
  const SampleRow row = {.prompt = seen, .generated = seen};
  EXPECT_EQ(SampleOne({kLargest, 3e38F, 0}, {.temperature = 0, .repetition_penalty = 1e-45F}, row), 0)
      << "clamped to the largest number, equals go by id";
  EXPECT_EQ(SampleOne({-kInfinity, -3e38F}, {.temperature = 0, .repetition_penalty = 100}, row), 1);
  EXPECT_EQ(SampleOne({-kInfinity, -kLargest}, {.temperature = 0, .presence_penalty = 2}, row), 1);
  EXPECT_EQ(SampleOne({0, kLargest}, {.temperature = 0, .logit_bias = {{1, kLargest}}}), 1);
}

TEST(SamplerTest, LogprobsAreTheModelsOwn) {
  const std::vector<float> logits = {std::log(0.5F), std::log(0.25F), std::log(0.125F), std::log(0.125F)};
  const SamplingParams params = {.temperature = 0, .logit_bias = {{3, 100}}, .num_logprobs = 2};
  const SampledToken sampled = Sampler().Sample(logits, {.params = &params});
  EXPECT_EQ(sampled.token, 3);
  ASSERT_TRUE(sampled.logprobs.has_value());
  EXPECT_NEAR(sampled.logprobs->chosen, std::log(0.125), 1e-6);
  ASSERT_EQ(sampled.logprobs->top.size(), 2);
  EXPECT_EQ(sampled.logprobs->top[0].first, 0);
  EXPECT_NEAR(sampled.logprobs->top[1].second, std::log(0.25), 1e-6);
}

TEST(ScoreTokenTest, AgreesWithASortedSoftmax) {
  Numbers numbers(2);
  for (int round = 0; round < 50; ++round) {
    const std::vector<float> logits = RandomLogits(numbers, 1 + numbers.Below(2000), 30);
    double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<double>(x));
    std::vector<std::pair<TokenId, float>> expected;
    for (size_t i = 0; i < logits.size(); ++i) {
      expected.emplace_back(static_cast<TokenId>(i), static_cast<float>(logits[i] - std::log(sum)));
    }
    const TokenId token = numbers.Below(static_cast<int>(logits.size()));
    const TokenLogprobs scored = ScoreToken(logits, token, 20);
    EXPECT_NEAR(scored.chosen, expected[token].second, 2e-6);
    EXPECT_LE(scored.chosen, 0);
    std::stable_sort(expected.begin(), expected.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    ASSERT_EQ(scored.top.size(), std::min<size_t>(20, logits.size()));
    for (size_t i = 0; i < scored.top.size(); ++i) {
      EXPECT_EQ(scored.top[i].first, expected[i].first);
      EXPECT_NEAR(scored.top[i].second, expected[i].second, 2e-6);
    }
  }
}

TEST(ScoreTokenTest, EqualsComeByIdAndNonsenseGivesNothing) {
  EXPECT_THAT(ScoreToken(std::vector<float>{1, 1, 1}, 0, 2).top,
              ElementsAre(Pair(0, testing::_), Pair(1, testing::_)));
  const TokenLogprobs nonsense = ScoreToken(std::vector<float>{1, kNan}, 0, 2);
  EXPECT_TRUE(std::isnan(nonsense.chosen));
  EXPECT_THAT(nonsense.top, IsEmpty());
}

}  // namespace
}  // namespace ropeway
