#include "engine/position/distance_bias.h"

#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/engine/position/golden_cases.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

void ExpectSlopes(const std::vector<float>& slopes, const Json& expected) {
  ASSERT_EQ(slopes.size(), expected.size());
  for (size_t h = 0; h < slopes.size(); ++h) EXPECT_EQ(slopes[h], expected[h].get<float>()) << "head " << h;
}

TEST(AlibiTest, SlopesForAnyNumberOfHeads) {
  ASSERT_OK_AND_ASSIGN(const Json tables, testing::ReadGoldenPositions("tables.json.gz"));
  for (const auto& [heads, expected] : tables["alibi_slopes"].items())
    ExpectSlopes(AlibiSlopes(std::stoi(heads), 8), expected);
  ExpectSlopes(AlibiSlopes(12, 16), tables["alibi_slopes_maxbias16_12"]);
}

TEST(T5Test, BucketsOfDecodersAndEncoders) {
  ASSERT_OK_AND_ASSIGN(const Json tables, testing::ReadGoldenPositions("tables.json.gz"));
  const auto causal = tables["t5_bucket_causal_0_199"].get<std::vector<int>>();
  for (int distance = 0; distance < 200; ++distance)
    EXPECT_EQ(T5Bucket(distance, 32, 128), causal[distance]) << distance;
  const auto both = tables["t5_bucket_bidirectional_m200_200"].get<std::vector<int>>();
  for (int relative = -200; relative <= 200; ++relative)
    EXPECT_EQ(T5BucketOfBothSides(relative, 32, 128), both[relative + 200]) << relative;
}

// Where borders of buckets are whole numbers, a logarithm that is off by a unit would put them elsewhere.
TEST(T5Test, BordersAtWholeNumbers) {
  for (int octave = 0; octave < 4; ++octave) {
    EXPECT_EQ(T5Bucket(4 << octave, 8, 64), 4 + octave);
    EXPECT_EQ(T5Bucket((8 << octave) - 1, 8, 64), 4 + octave);
  }
  EXPECT_EQ(T5Bucket(1 << 24, 8, 64), 7);
}

TEST(T5Test, LastDistanceIsThatOfTheLastBucket) {
  EXPECT_EQ(T5LastDistance({}), 113);
  for (const auto& [buckets, longest] : {std::pair(2, 2), {4, 3}, {8, 64}, {32, 20}, {64, 8192}}) {
    const int last = T5LastDistance({.num_buckets = buckets, .max_distance = longest});
    EXPECT_EQ(T5Bucket(last, buckets, longest), buckets - 1) << buckets << " " << longest;
    EXPECT_LT(T5Bucket(last - 1, buckets, longest), buckets - 1) << buckets << " " << longest;
  }
}

TEST(KerpleTest, ParametersAreHeldWithinTheirRanges) {
  const std::vector<float> small = {-3, 0.001f}, least = {0.01f, 0.01f}, large = {5, 5}, most = {2, 2};
  EXPECT_EQ(KerpleByDistance(KerpleVariant::kLog, small, small, 50),
            KerpleByDistance(KerpleVariant::kLog, least, least, 50));
  EXPECT_EQ(KerpleByDistance(KerpleVariant::kPower, least, large, 50),
            KerpleByDistance(KerpleVariant::kPower, least, most, 50));
  EXPECT_NE(KerpleByDistance(KerpleVariant::kLog, least, large, 50),
            KerpleByDistance(KerpleVariant::kLog, least, most, 50));
}

TEST(KerpleTest, FollowsItsFormula) {
  const std::vector<float> log = KerpleByDistance(KerpleVariant::kLog, {0.5f, 1.5f}, {0.25f, 2}, 131072);
  const std::vector<float> power = KerpleByDistance(KerpleVariant::kPower, {0.5f}, {1.25f}, 131072);
  for (const int distance : {0, 1, 2, 100, 4095, 131071}) {
    EXPECT_FLOAT_EQ(log[131072 + distance], -1.5 * std::log(1 + 2.0 * distance));
    EXPECT_FLOAT_EQ(power[distance], -0.5 * std::pow(distance, 1.25));
  }
}

TEST(SandwichTest, FollowsItsFormula) {
  const std::vector<float> shared = SandwichByDistance(128, 131072);
  EXPECT_EQ(shared[0], 0);
  for (const int distance : {1, 77, 4096, 131071}) {
    double sum = -64;
    for (int k = 1; k <= 64; ++k) sum += std::cos(distance * std::pow(10000, -k / 64.0));
    EXPECT_NEAR(shared[distance], sum, 1e-5) << distance;
  }
  EXPECT_EQ(SandwichFactors(4), (std::vector<float>{0.5f, 0.25f, 1 / 6.0f, 0.125f}));
}

}  // namespace
}  // namespace ropeway
