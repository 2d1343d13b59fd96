// tests/golden/positions/rope.json.gz holds frequencies of published models, and cosines and sines, computed
// in float64 by code that shares nothing with the engine.
#include "engine/position/rope.h"

#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/gzip_file.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

absl::StatusOr<Json> ReadGolden() {
  ASSIGN_OR_RETURN(const std::string text, testing::ReadGzipFile("tests/golden/positions/rope.json.gz"));
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

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
  };
  ASSERT_OK_AND_ASSIGN(const Json golden, ReadGolden());
  EXPECT_EQ(golden["frequencies"].size(), std::size(cases));
  for (const auto& [name, rope] : cases) {
    const auto expected = golden["frequencies"][name].get<std::vector<double>>();
    const std::vector<double> frequencies = RopeFrequencies(rope);
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
  ASSERT_OK_AND_ASSIGN(const Json golden, ReadGolden());
  const Json& table = golden["cos_sin"];
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

}  // namespace
}  // namespace ropeway
