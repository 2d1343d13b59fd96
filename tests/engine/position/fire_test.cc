#include "engine/position/fire.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/engine/position/golden_cases.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

double Largest(const std::vector<double>& values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::fabs(value));
  return largest;
}

// Parameters of the golden data are rounded to float32 here, so knots move by some 10^-7 of themselves.
void ExpectNear(const std::vector<double>& values, const Json& expected) {
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_NEAR(values[i], expected[i].get<double>(), 1e-6 * std::max(1.0, Largest(values))) << i;
}

TEST(FireTest, PiecesAreThoseOfTheReference) {
  ASSERT_OK_AND_ASSIGN(const Json tables, testing::ReadGoldenPositions("tables.json.gz"));
  const Json& golden = tables["fire_piecewise"];
  const testing::GoldenFire fire = testing::GoldenFireOf(golden["params"]);
  const FirePieces pieces = FirePiecesOf(FireActivation::kRelu, fire.weights());
  ExpectNear(pieces.knots, golden["knots"]);
  ExpectNear(pieces.slopes, golden["slope"]);
  ExpectNear(pieces.intercepts, golden["intercept"]);
}

TEST(FireTest, PiecesAreThePerceptron) {
  ASSERT_OK_AND_ASSIGN(const Json tables, testing::ReadGoldenPositions("tables.json.gz"));
  const testing::GoldenFire fire = testing::GoldenFireOf(tables["fire_piecewise"]["params"]);
  const FireWeights weights = fire.weights();
  for (const FireActivation activation : {FireActivation::kRelu, FireActivation::kLeakyRelu}) {
    const FirePieces pieces = FirePiecesOf(activation, weights);
    EXPECT_LE(pieces.knots.size(), weights.in_weights.size() + 1);
    for (double x = 0; x < 3; x += 0.003) {
      const auto after = std::upper_bound(pieces.knots.begin(), pieces.knots.end(), x);
      const size_t first = (after - pieces.knots.begin() - 1) * weights.out_biases.size();
      const std::vector<double> expected = FireFunction(activation, weights, x);
      for (size_t h = 0; h < expected.size(); ++h)
        ASSERT_NEAR(pieces.slopes[first + h] * x + pieces.intercepts[first + h], expected[h], 1e-13) << x;
    }
  }
}

// Units that never change sign, all knots in one place, a width of one.
TEST(FireTest, PiecesOfDegenerateUnits) {
  const std::vector<float> zeros = {0, 0, 0}, ones = {1, 1, 1}, minus = {-0.5f, -0.5f, -0.5f},
                           out = {1, 2, 3}, bias = {7};
  const FireWeights constant{zeros, ones, out, bias, 0.1, 1}, together{ones, minus, out, bias, 0.1, 1};
  const FirePieces of_constant = FirePiecesOf(FireActivation::kRelu, constant);
  EXPECT_EQ(of_constant.knots, std::vector<double>{0});
  EXPECT_EQ(of_constant.slopes, std::vector<double>{0});
  EXPECT_EQ(of_constant.intercepts, std::vector<double>{13});
  const FirePieces of_together = FirePiecesOf(FireActivation::kRelu, together);
  EXPECT_EQ(of_together.knots, (std::vector<double>{0, 0.5}));
  EXPECT_EQ(of_together.slopes, (std::vector<double>{0, 6}));
  EXPECT_EQ(of_together.intercepts, (std::vector<double>{7, 4}));
}

TEST(FireTest, NormalisersStayTheSameUpToTheThreshold) {
  const FireWeights weights{.c = -0.2, .l_multiplier = -1.5};
  const std::vector<double> by_position = FireByPosition({.init_length = 20}, weights, 100);
  for (int i = 0; i < 100; ++i)
    EXPECT_NEAR(by_position[i], 1 / (std::log(0.2 * std::max(i, 30) + 1) + 1e-6), 1e-15) << i;
  const std::vector<double> by_distance = FireByDistance(weights, 100);
  for (int i = 0; i < 100; ++i) EXPECT_NEAR(by_distance[i], std::log(0.2 * i + 1), 1e-15) << i;
}

}  // namespace
}  // namespace ropeway
