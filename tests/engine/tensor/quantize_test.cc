#include "engine/tensor/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "engine/tensor/dequantize.h"
#include "engine/tensor/dtype.h"
#include "gtest/gtest.h"
#include "tests/testing/gzip_file.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

std::vector<float> ThereAndBack(const std::vector<float>& values) {
  std::vector<uint8_t> blocks(values.size() / 32 * 34);
  QuantizeRowQ8_0(values.data(), static_cast<int64_t>(values.size()), blocks.data());
  std::vector<float> back(values.size());
  DequantizeRow(DType::kQ8_0, blocks.data(), static_cast<int64_t>(values.size()), back.data());
  return back;
}

// Half a step of the code, and what fp16 rounds of the scale.
TEST(QuantizeTest, IsAsNearAsEightBitsAre) {
  std::vector<float> values;
  for (int i = 0; i < 640; ++i)
    values.push_back(std::sin(0.7f * static_cast<float>(i)) * std::exp2(static_cast<float>(i % 7)));
  const std::vector<float> back = ThereAndBack(values);
  for (size_t first = 0; first < values.size(); first += 32) {
    float largest = 0;
    for (size_t i = first; i < first + 32; ++i) largest = std::max(largest, std::fabs(values[i]));
    for (size_t i = first; i < first + 32; ++i)
      EXPECT_LE(std::fabs(back[i] - values[i]), largest * (0.5f / 127 + 0x1p-11f)) << i;
  }
}

TEST(QuantizeTest, RoundsHalvesAwayFromZeroAndNeverLeavesTheRange) {
  std::vector<float> values(32, 0);
  values[0] = 127;
  values[1] = 2.5f;
  values[2] = -2.5f;
  values[3] = -127;
  const std::vector<float> back = ThereAndBack(values);
  EXPECT_EQ(back[0], 127);
  EXPECT_EQ(back[1], 3);
  EXPECT_EQ(back[2], -3);
  EXPECT_EQ(back[3], -127);
  EXPECT_EQ(ThereAndBack(std::vector<float>(32, 0)), std::vector<float>(32, 0));
  values[4] = std::nanf("");
  EXPECT_EQ(ThereAndBack(values)[4], 0);
  EXPECT_EQ(ThereAndBack(values)[0], 127);
}

// Blocks whose largest code is 127 come back as they were, whoever made them.
TEST(QuantizeTest, GivesTheBlocksOfOtherPackersBack) {
  ASSERT_OK_AND_ASSIGN(const std::string blocks, testing::ReadGzipFile("tests/golden/quants/Q8_0.blocks.gz"));
  size_t compared = 0;
  for (size_t at = 0; at + 34 <= blocks.size(); at += 34) {
    std::vector<float> values(32);
    DequantizeRow(DType::kQ8_0, reinterpret_cast<const uint8_t*>(blocks.data()) + at, 32, values.data());
    int largest = 0;
    for (size_t i = 2; i < 34; ++i)
      largest = std::max(largest, std::abs(static_cast<int8_t>(blocks[at + i])));
    if (largest != 127 || !std::isfinite(values[0])) continue;
    std::vector<uint8_t> again(34);
    QuantizeRowQ8_0(values.data(), 32, again.data());
    if (std::memcmp(blocks.data() + at, again.data(), 34) == 0) ++compared;
  }
  RecordProperty("compared", static_cast<int>(compared));
  EXPECT_GT(compared, 0u);
}

}  // namespace
}  // namespace ropeway
