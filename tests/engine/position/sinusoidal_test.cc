#include "engine/position/sinusoidal.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/engine/position/golden_cases.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

std::vector<float> VectorOf(const SinusoidalSpec& spec, int width, int32_t position) {
  std::vector<float> out(width);
  SinusoidalVector(spec, SinusoidalFrequencies(spec, width), position, out.data());
  return out;
}

TEST(SinusoidalTest, AllLayoutsAtAllPositions) {
  ASSERT_OK_AND_ASSIGN(const nlohmann::json tables, testing::ReadGoldenPositions("tables.json.gz"));
  const nlohmann::json& golden = tables["sinusoidal"];
  const int width = golden["d_model"];
  for (const auto& [name, layout] : {std::pair("interleaved", SinusoidalLayout::kInterleaved),
                                     {"concat", SinusoidalLayout::kConcat},
                                     {"t2t", SinusoidalLayout::kTensor2Tensor}}) {
    const auto expected = golden[name].get<std::vector<double>>();
    size_t n = 0;
    for (const int32_t position : golden["positions"].get<std::vector<int32_t>>())
      for (const float value : VectorOf({.layout = layout}, width, position))
        EXPECT_NEAR(value, expected[n++], 1e-7) << name << " " << position;
    EXPECT_EQ(n, expected.size());
  }
}

TEST(SinusoidalTest, OffsetsAddToPositions) {
  EXPECT_EQ(VectorOf({.offset = 5}, 16, 7), VectorOf({}, 16, 12));
}

TEST(SinusoidalTest, OtherBases) {
  const std::vector<float> out = VectorOf({.base = 100}, 4, 3);
  EXPECT_FLOAT_EQ(out[2], std::sin(0.3f));
  EXPECT_FLOAT_EQ(out[3], std::cos(0.3f));
}

}  // namespace
}  // namespace ropeway
