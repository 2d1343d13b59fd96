// Relative embeddings, DAPE, M-RoPE, 3D-RPE, query scales and windows: their closed forms.
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "engine/position/dape.h"
#include "engine/position/mrope.h"
#include "engine/position/query_scale.h"
#include "engine/position/relative.h"
#include "engine/position/rpe3d.h"
#include "engine/position/visibility.h"
#include "gtest/gtest.h"
#include "tests/engine/position/golden_cases.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

TEST(ShawTest, RowsAreThoseOfTheReference) {
  ASSERT_OK_AND_ASSIGN(const Json tables, testing::ReadGoldenPositions("tables.json.gz"));
  const auto golden = tables["shaw_index_T6_K2"].get<std::vector<std::vector<int>>>();
  for (int i = 0; i < 6; ++i)
    for (int j = 0; j < 6; ++j) EXPECT_EQ(ShawRow(i, j, 2), golden[i][j]) << i << " " << j;
}

TEST(ShawTest, TablesByDistanceBeginWithTheQueryItself) {
  // K = 2, two columns, two tables: row r holds r and 10 r.
  const std::vector<float> table = {0, 0, 1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60, 7, 70, 8, 80, 9, 90};
  EXPECT_EQ(ShawByDistance(table, 2, 2), (std::vector<float>{2, 20, 1, 10, 0, 0, 7, 70, 6, 60, 5, 50}));
}

TEST(DapeTest, IsThatOfTheReference) {
  ASSERT_OK_AND_ASSIGN(const Json tables, testing::ReadGoldenPositions("tables.json.gz"));
  const Json& golden = tables["dape_mlp"];
  const testing::GoldenDape dape = testing::GoldenDapeOf(golden["params"]);
  const std::vector<float> logits = testing::GoldenArray(golden["logits"]),
                           bias = testing::GoldenArray(golden["bias"]);
  const auto expected = golden["out"].get<std::vector<double>>();
  const int heads = 4, places = 6;
  for (int place = 0; place < places; ++place) {
    std::vector<double> scores(heads), biases(heads);
    for (int h = 0; h < heads; ++h)
      scores[h] = logits[h * places + place], biases[h] = bias[h * places + place];
    const std::vector<double> mixed = DapeScores(dape.weights(), scores, biases);
    for (int h = 0; h < heads; ++h) EXPECT_NEAR(mixed[h], expected[h * places + place], 1e-6);
  }
}

TEST(DapeTest, BasesWithStaticBiases) {
  EXPECT_FALSE(DapeTakesBiases(NopeSpec()));
  EXPECT_FALSE(DapeTakesBiases(RopeSpec()));
  EXPECT_TRUE(DapeTakesBiases(AlibiSpec()));
  EXPECT_TRUE(DapeTakesBiases(KerpleSpec()));
  EXPECT_TRUE(DapeTakesBiases(FireSpec()));
}

TEST(MRopeTest, AxesOfPublishedModels) {
  ASSERT_OK_AND_ASSIGN(const Json tables, testing::ReadGoldenPositions("tables.json.gz"));
  EXPECT_EQ(MRopeAxes({16, 24, 24}, false), tables["mrope_axis_qwen2vl"].get<std::vector<int>>());
  EXPECT_EQ(MRopeAxes({24, 20, 20}, true), tables["mrope_axis_qwen3vl"].get<std::vector<int>>());
}

TEST(MRopeTest, TextIsPlainRotary) {
  const Rotation rotation = RotationOf({.base = 1000000, .rotary_dim = 128}, 0);
  std::vector<float> cosines(64), sines(64), plain_cosines(64), plain_sines(64);
  MRopeAngles(rotation, MRopeAxes({16, 24, 24}, false), {777, 777, 777}, cosines.data(), sines.data());
  RopeAngles(rotation, 777, plain_cosines.data(), plain_sines.data());
  EXPECT_EQ(cosines, plain_cosines);
  EXPECT_EQ(sines, plain_sines);
}

// The definition as it is written: cos(phi) h_perp + sin(phi) h, turned by m w.
TEST(Rpe3dTest, DefinitionOneIsARotation) {
  const Rpe3dSpec spec{.chunk_size = 5, .base = 1000, .phi_base = 3, .pi_factor = 2};
  const Rotation rotation = Rpe3dRotation(spec, 8);
  std::vector<float> cosines(4), sines(4);
  for (int position = 0; position < 40; ++position) {
    RopeAngles(rotation, position, cosines.data(), sines.data());
    const double phi = std::pow(3, -(position / 5));
    for (int pair = 0; pair < 4; ++pair) {
      // The pair (1, 0): h_perp is (0, 1).
      const double x = std::sin(phi), y = std::cos(phi), t = position % 5 / 2.0 * std::pow(1000, -pair / 4.0);
      EXPECT_NEAR(cosines[pair], x * std::cos(t) - y * std::sin(t), 1e-7);
      EXPECT_NEAR(sines[pair], x * std::sin(t) + y * std::cos(t), 1e-7);
    }
  }
}

TEST(Rpe3dTest, ChunkedKeysAndQueriesOfOneZoneTurnAlike) {
  const Rpe3dSpec spec{.form = Rpe3dForm::kChunked, .chunk_size = 6, .local_window = 2};
  EXPECT_EQ(Rpe3dZone(spec), 4);
  const Rotation rotation = Rpe3dRotation(spec, 8), plain = RotationOf({.rotary_dim = 8}, 0);
  std::vector<float> turned(8), expected(8);
  for (int position = 0; position < 30; ++position) {
    RopeAngles(rotation, position, &turned[0], &turned[4]);
    RopeAngles(plain, position % 4, &expected[0], &expected[4]);
    EXPECT_EQ(turned, expected) << position;
    Rpe3dQueryAngles(spec, rotation, Rpe3dKeyZone::kBefore, position, &turned[0], &turned[4]);
    RopeAngles(plain, std::min(position % 4 + 4, 6), &expected[0], &expected[4]);
    EXPECT_EQ(turned, expected) << position;
  }
}

TEST(QueryScaleTest, Temperature) {
  ASSERT_OK_AND_ASSIGN(const Json tables, testing::ReadGoldenPositions("tables.json.gz"));
  const Json& golden = tables["llama4_query_scale"];
  for (size_t i = 0; i < golden["positions"].size(); ++i)
    EXPECT_NEAR(QueryFactor(TemperatureScale(), golden["positions"][i]), golden["value"][i].get<double>(),
                1e-15);
}

TEST(QueryScaleTest, LognBeginsBeyondTheTrainedLength) {
  const LognScale scale{.train_length = 8};
  for (int position = 0; position < 8; ++position) EXPECT_EQ(QueryFactor(scale, position), 1);
  EXPECT_NEAR(QueryFactor(scale, 8), std::log(9) / std::log(8), 1e-15);
  EXPECT_NEAR(QueryFactor(scale, 63), 2, 1e-15);
  EXPECT_EQ(QueryFactor(std::monostate(), 1000), 1);
}

TEST(VisibilityTest, WindowsCountTheQueryItself) {
  const PositionSpec window{.window = 5}, one{.window = 1}, all;
  EXPECT_EQ(FirstVisible(window, 3), 0);
  EXPECT_EQ(FirstVisible(window, 4), 0);
  EXPECT_EQ(FirstVisible(window, 5), 1);
  EXPECT_EQ(FirstVisible(one, 5), 5);
  EXPECT_EQ(FirstVisible(all, 1000), 0);
  EXPECT_EQ(LastToSee(window, 3), 7);
  EXPECT_EQ(LastToSee(all, 3), std::numeric_limits<int32_t>::max());
}

TEST(VisibilityTest, ChunksBeginAtTheirMultiples) {
  const PositionSpec chunks{.chunk = 8};
  EXPECT_EQ(FirstVisible(chunks, 7), 0);
  EXPECT_EQ(FirstVisible(chunks, 8), 8);
  EXPECT_EQ(FirstVisible(chunks, 17), 16);
  EXPECT_EQ(LastToSee(chunks, 8), 15);
  EXPECT_EQ(LastToSee(chunks, 15), 15);
}

// Whoever sees a key is not past the last to see it, and the other way round.
TEST(VisibilityTest, BothSidesAgree) {
  for (const PositionSpec& spec : {PositionSpec{.window = 6}, PositionSpec{.chunk = 6}, PositionSpec()})
    for (int i = 0; i < 40; ++i)
      for (int j = 0; j <= i; ++j)
        EXPECT_EQ(j >= FirstVisible(spec, i), i <= LastToSee(spec, j)) << i << " " << j;
}

}  // namespace
}  // namespace ropeway
