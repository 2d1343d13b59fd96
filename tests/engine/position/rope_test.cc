// Frequencies of published models, and cosines and sines, computed in float64 by a reference that shares
// nothing with the engine; and properties of every rule.
#include "engine/position/rope.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/engine/position/golden_cases.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

RopeSpec Llama3(int rotary_dim, double factor) {
  return {.base = 500000,
          .rotary_dim = rotary_dim,
          .scaling = RopeScalingKind::kLlama3,
          .factor = factor,
          .low_freq_factor = 1,
          .high_freq_factor = 4,
          .original_context = 8192};
}

RopeSpec Yarn(double base, int rotary_dim, double factor, int64_t original_context, bool truncate = true) {
  return {.base = base,
          .rotary_dim = rotary_dim,
          .scaling = RopeScalingKind::kYarn,
          .factor = factor,
          .original_context = original_context,
          .truncate = truncate};
}

RopeSpec Dynamic(RopeScalingKind kind, int rotary_dim, double factor, int64_t original_context) {
  return {.rotary_dim = rotary_dim, .scaling = kind, .factor = factor, .original_context = original_context};
}

TEST(RopeFrequenciesTest, AreThoseOfPublishedModels) {
  const struct {
    const char* name;
    RopeSpec rope;
  } cases[] = {
      {"llama2_r128", {.base = 10000, .rotary_dim = 128}},
      {"llama3.1_r128", Llama3(128, 8)},
      {"llama3.2_r64_factor32", Llama3(64, 32)},
      {"qwen2.5_yarn4_r128", Yarn(1000000, 128, 4, 32768)},
      {"gpt_oss_r64_hf", Yarn(150000, 64, 32, 4096, /*truncate=*/false)},
      {"gpt_oss_r64_ggml_truncated", Yarn(150000, 64, 32, 4096)},
      {"deepseek_v3_r64", Yarn(10000, 64, 40, 4096)},
      {"gemma3_local_r256", {.base = 10000, .rotary_dim = 256}},
      {"gemma3_global_r256_linear8",
       {.base = 1000000, .rotary_dim = 256, .scaling = RopeScalingKind::kLinear, .factor = 8}},
      {"gptj_r64", {.base = 10000, .rotary_dim = 64}},
      {"glm4_9b_r64", {.base = 500 * 10000, .rotary_dim = 64}},
      {"dynamic_ntk_f2_L0_4096_L_16384_r128", Dynamic(RopeScalingKind::kDynamicNtk, 128, 2, 4096)},
  };
  ASSERT_OK_AND_ASSIGN(const Json tables, testing::ReadGoldenPositions("tables.json.gz"));
  const Json& golden = tables["inv_freq"];
  EXPECT_EQ(golden.size(), std::size(cases));
  for (const auto& [name, rope] : cases) {
    const auto expected = golden[name]["inv_freq"].get<std::vector<double>>();
    const double choice = RopeChoice(rope, {.prompt_length = 16384});
    const std::vector<double> frequencies = RotationOf(rope, choice).frequencies;
    ASSERT_EQ(frequencies.size(), expected.size()) << name;
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(frequencies[i], expected[i], 1e-12 * expected[i]) << name << " pair " << i;
  }
}

TEST(RopeFrequenciesTest, AreDividedByTheFactorsOfAFile) {
  RopeSpec rope{.base = 10000, .rotary_dim = 8, .frequency_factors = {1, 2, 4, 8}};
  const std::vector<double> divided = RopeFrequencies(rope);
  rope.frequency_factors.clear();
  const std::vector<double> plain = RopeFrequencies(rope);
  for (size_t i = 0; i < 4; ++i) EXPECT_DOUBLE_EQ(divided[i], plain[i] / (1 << i));
}

// Also at positions where angles in float32 would be off by a hundredth.
TEST(RopeAnglesTest, AreExactAtAllPositions) {
  ASSERT_OK_AND_ASSIGN(const Json tables, testing::ReadGoldenPositions("tables.json.gz"));
  const Json& table = tables["cos_sin"];
  const RopeSpec rope{.base = table["base"], .rotary_dim = table["rot_dim"]};
  const std::vector<double> frequencies = RopeFrequencies(rope);
  std::vector<float> cosines(frequencies.size()), sines(frequencies.size());
  ASSERT_FALSE(table["positions"].empty());
  for (size_t p = 0; p < table["positions"].size(); ++p) {
    RopeAngles(rope, frequencies, table["positions"][p], cosines.data(), sines.data());
    for (size_t i = 0; i < table["pairs"].size(); ++i) {
      const size_t pair = table["pairs"][i];
      const size_t entry = p * table["pairs"].size() + i;
      EXPECT_NEAR(cosines[pair], table["cos"][entry].get<double>(), 1e-7)
          << table["positions"][p] << " " << pair;
      EXPECT_NEAR(sines[pair], table["sin"][entry].get<double>(), 1e-7)
          << table["positions"][p] << " " << pair;
    }
  }
}

TEST(RopeAnglesTest, AgreeWithTheCLibraryInAllQuadrants) {
  const RopeSpec rope{.rotary_dim = 2};
  for (int32_t position = 0; position < 10000; position += 7) {
    for (const double frequency : {1.0, 0.1234567, 3.0e-5, 9.5}) {
      float cosine = 0, sine = 0;
      RopeAngles(rope, {frequency}, position, &cosine, &sine);
      EXPECT_FLOAT_EQ(cosine, static_cast<float>(std::cos(position * frequency)));
      EXPECT_FLOAT_EQ(sine, static_cast<float>(std::sin(position * frequency)));
    }
  }
}

TEST(RopeAnglesTest, CarryTheAttentionFactor) {
  const RopeSpec plain{.rotary_dim = 4}, scaled{.rotary_dim = 4, .attention_factor = 1.25};
  const std::vector<double> frequencies = RopeFrequencies(plain);
  float cosines[2], sines[2], scaled_cosines[2], scaled_sines[2];
  RopeAngles(plain, frequencies, 77, cosines, sines);
  RopeAngles(scaled, frequencies, 77, scaled_cosines, scaled_sines);
  for (int i = 0; i < 2; ++i) {
    EXPECT_FLOAT_EQ(scaled_cosines[i], 1.25f * cosines[i]);
    EXPECT_FLOAT_EQ(scaled_sines[i], 1.25f * sines[i]);
  }
}

// Angles in float32 would be off by thousandths at the end.
TEST(RopeAnglesTest, AreExactAtAllOf131072Positions) {
  const Rotation rotation = RotationOf({.base = 10000, .rotary_dim = 8}, 0);
  std::vector<float> cosines(4), sines(4);
  double worst = 0;
  for (int32_t position = 0; position < 131072; ++position) {
    RopeAngles(rotation, position, cosines.data(), sines.data());
    for (int i = 0; i < 4; ++i) {
      const long double angle = position * std::pow(10000.0L, -i / 4.0L);
      worst = std::max(worst, std::fabs(cosines[i] - static_cast<double>(std::cos(angle))));
      worst = std::max(worst, std::fabs(sines[i] - static_cast<double>(std::sin(angle))));
    }
  }
  EXPECT_LT(worst, 1e-7);
}

TEST(RopeRulesTest, NtkKeepsTheFastestPairAndDividesTheSlowest) {
  const std::vector<double> plain = RopeFrequencies({.rotary_dim = 64});
  const std::vector<double> scaled =
      RopeFrequencies({.rotary_dim = 64, .scaling = RopeScalingKind::kNtk, .factor = 8});
  EXPECT_EQ(scaled[0], plain[0]);
  EXPECT_NEAR(scaled[31], plain[31] / 8, 1e-14 * plain[31]);
}

TEST(RopeRulesTest, DynamicNtkIsPlainUpToTheOriginalContext) {
  const RopeSpec rope = Dynamic(RopeScalingKind::kDynamicNtk, 64, 2, 100);
  for (const int32_t length : {1, 99, 100})
    EXPECT_EQ(RotationOf(rope, RopeChoice(rope, {.prompt_length = length})).frequencies,
              RopeFrequencies({.rotary_dim = 64}))
        << length;
  EXPECT_EQ(RopeChoice(rope, {.prompt_length = 150}), 2);
  // The answer's length changes nothing.
  EXPECT_EQ(RopeChoice(rope, {.prompt_length = 150, .max_new_tokens = 1000}), 2);
}

TEST(RopeRulesTest, Qwen1FactorsDoubleAtPowersOfTwo) {
  const RopeSpec rope = Dynamic(RopeScalingKind::kQwen1Ntk, 64, 1, 2048);
  for (const auto& [length, factor] :
       {std::pair(1, 1), {2048, 1}, {2049, 3}, {4096, 3}, {4097, 7}, {8193, 15}})
    EXPECT_EQ(RopeChoice(rope, {.prompt_length = length}), factor) << length;
}

TEST(RopeRulesTest, LongRopeLooksAtPromptAndAnswer) {
  const RopeSpec rope{.rotary_dim = 4,
                      .scaling = RopeScalingKind::kLongRope,
                      .original_context = 100,
                      .attention_factor = 1.5,
                      .long_attention_factor = 2.5,
                      .short_factors = {1, 2},
                      .long_factors = {4, 8}};
  EXPECT_EQ(RopeChoice(rope, {.prompt_length = 90, .max_new_tokens = 10}), 0);
  EXPECT_EQ(RopeChoice(rope, {.prompt_length = 90, .max_new_tokens = 11}), 1);
  EXPECT_EQ(RotationOf(rope, 0), (Rotation{.frequencies = {1, 0.005}, .attention_factor = 1.5}));
  EXPECT_EQ(RotationOf(rope, 1), (Rotation{.frequencies = {0.25, 0.00125}, .attention_factor = 2.5}));
}

TEST(RopeRulesTest, OnlyThreeRulesDependOnLengths) {
  for (const RopeScalingKind kind :
       {RopeScalingKind::kNone, RopeScalingKind::kLinear, RopeScalingKind::kNtk, RopeScalingKind::kDynamicNtk,
        RopeScalingKind::kQwen1Ntk, RopeScalingKind::kLlama3, RopeScalingKind::kYarn,
        RopeScalingKind::kLongRope}) {
    const RopeSpec rope = Dynamic(kind, 64, 2, 100);
    EXPECT_EQ(DependsOnLengths(rope),
              RopeChoice(rope, {.prompt_length = 1}) != RopeChoice(rope, {.prompt_length = 1000}))
        << RopeScalingName(kind);
  }
}

TEST(RopeRulesTest, StillPairsStandStill) {
  const std::vector<double> frequencies = RopeFrequencies({.base = 16, .rotary_dim = 8, .turned_pairs = 2});
  EXPECT_EQ(frequencies, (std::vector<double>{1, 0.5, 0, 0}));
}

TEST(RopeRulesTest, Magnitudes) {
  ASSERT_OK_AND_ASSIGN(const Json tables, testing::ReadGoldenPositions("tables.json.gz"));
  EXPECT_NEAR(LongRopeMagnitude(131072.0 / 4096, 4096),
              tables["longrope_attn_factor_phi3_128k"].get<double>(), 1e-15);
  EXPECT_EQ(LongRopeMagnitude(0.5, 4096), 1);
  EXPECT_EQ(YarnMagnitude(0.5, 1), 1);
  EXPECT_NEAR(YarnMagnitude(8, 1), 1.2079441541679836, 1e-15);
  EXPECT_NEAR(YarnMagnitude(4, 1), tables["inv_freq"]["qwen2.5_yarn4_r128"]["attn_factor"].get<double>(),
              1e-15);
}

}  // namespace
}  // namespace ropeway
