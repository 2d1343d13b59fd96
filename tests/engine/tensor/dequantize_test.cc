#include "engine/tensor/dequantize.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "engine/tensor/half.h"
#include "engine/tensor/quant_blocks.h"
#include "tests/testing/gzip_file.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::ReadGzipFile;

constexpr int64_t kColumns = 4096;

// The values must be equal bit for bit: the formats leave no freedom of rounding.
TEST(DequantizeTest, GivesWhatThePackageGgufGives) {
  for (int i = 0; i < kNumDTypes; ++i) {
    const DType type = static_cast<DType>(i);
    if (type == DType::kF32) continue;
    const std::string path = std::string("tests/golden/quants/") + NameOf(type);
    ASSERT_OK_AND_ASSIGN(const std::string blocks, ReadGzipFile(path + ".blocks.gz"));
    ASSERT_OK_AND_ASSIGN(const std::string golden, ReadGzipFile(path + ".f32.gz"));
    ASSERT_EQ(blocks.size(), static_cast<size_t>(RowBytes(type, kColumns))) << NameOf(type);
    ASSERT_EQ(golden.size(), kColumns * sizeof(float));
    std::vector<float> expected(kColumns), values(kColumns);
    std::memcpy(expected.data(), golden.data(), golden.size());
    DequantizeRow(type, reinterpret_cast<const uint8_t*>(blocks.data()), kColumns, values.data());
    for (int64_t c = 0; c < kColumns; ++c)
      ASSERT_EQ(std::bit_cast<uint32_t>(values[c]), std::bit_cast<uint32_t>(expected[c]))
          << NameOf(type) << " column " << c << ": " << values[c] << ", expected " << expected[c];
  }
}

TEST(DequantizeTest, TakesRowsAtAnyAlignment) {
  for (int i = 0; i < kNumDTypes; ++i) {
    const DType type = static_cast<DType>(i);
    const int64_t columns = 2 * InfoOf(type).block_columns, bytes = RowBytes(type, columns);
    std::vector<uint8_t> row(bytes + 1);
    for (int64_t j = 0; j < bytes; ++j) row[j] = static_cast<uint8_t>(j * 37 % 120);
    std::vector<float> aligned(columns), shifted(columns);
    DequantizeRow(type, row.data(), columns, aligned.data());
    std::memmove(row.data() + 1, row.data(), bytes);
    DequantizeRow(type, row.data() + 1, columns, shifted.data());
    EXPECT_EQ(std::memcmp(aligned.data(), shifted.data(), columns * sizeof(float)), 0) << NameOf(type);
  }
}

TEST(DequantizeTest, CopiesFloats) {
  const std::vector<float> values = {1.5f, -0.0f, std::numeric_limits<float>::denorm_min(), 3e38f};
  std::vector<float> out(values.size());
  DequantizeRow(DType::kF32, reinterpret_cast<const uint8_t*>(values.data()), 4, out.data());
  EXPECT_EQ(std::memcmp(out.data(), values.data(), 4 * sizeof(float)), 0);
}

TEST(HalfTest, AllHalvesAreExact) {
  for (uint32_t bits = 0; bits < 1 << 16; ++bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float value = HalfToFloat(static_cast<uint16_t>(bits));
    EXPECT_EQ(std::signbit(value), bits >> 15 == 1);
    if (exponent == 31) {
      EXPECT_EQ(std::isinf(value), fraction == 0) << bits;
      EXPECT_EQ(std::isnan(value), fraction != 0) << bits;
      continue;
    }
    const double magnitude =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    EXPECT_EQ(std::fabs(value), magnitude) << bits;
  }
}

TEST(HalfTest, BFloat16IsTheUpperHalfOfAFloat) {
  EXPECT_EQ(BFloat16ToFloat(0x3F80), 1.0f);
  EXPECT_EQ(BFloat16ToFloat(0xC040), -3.0f);
  EXPECT_EQ(BFloat16ToFloat(0x0001), std::ldexp(1.0f, -133));
}

TEST(DTypeTest, GeometryIsThatOfTheBlocks) {
  const int sizes[] = {4,
                       2,
                       2,
                       sizeof(BlockQ4_0),
                       sizeof(BlockQ4_1),
                       sizeof(BlockQ5_0),
                       sizeof(BlockQ5_1),
                       sizeof(BlockQ8_0),
                       sizeof(BlockQ2_K),
                       sizeof(BlockQ3_K),
                       sizeof(BlockQ4_K),
                       sizeof(BlockQ5_K),
                       sizeof(BlockQ6_K),
                       sizeof(BlockIQ4_NL),
                       sizeof(BlockIQ4_XS),
                       sizeof(BlockMXFP4)};
  for (int i = 0; i < kNumDTypes; ++i) EXPECT_EQ(InfoOf(static_cast<DType>(i)).block_bytes, sizes[i]) << i;
}

}  // namespace
}  // namespace ropeway
