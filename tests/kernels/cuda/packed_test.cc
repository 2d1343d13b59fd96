// Packed weights on a device: embedding and products, held against engine/tensor/dequantize.
#include <cmath>
#include <vector>

#include "engine/kernels/cuda/device_matrix.h"
#include "engine/kernels/cuda/launchers.h"
#include "engine/tensor/dequantize.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {
namespace {

struct Weights {
  DType type;
  int64_t rows, columns;
  std::vector<uint8_t> file;    // as a file has them
  std::vector<float> values;    // [rows, columns]
  std::vector<uint8_t> device;  // as the device has them
};

Weights RandomWeights(DType type, int64_t rows, int64_t columns, uint32_t seed) {
  Weights weights = {type, rows, columns, RandomPacked(type, rows, columns, seed)};
  weights.values.resize(rows * columns);
  const int64_t row_bytes = RowBytes(type, columns);
  for (int64_t row = 0; row < rows; ++row)
    DequantizeRow(type, &weights.file[row * row_bytes], columns, &weights.values[row * columns]);
  weights.device.resize(DeviceMatrixBytes(type, rows, columns));
  PackRows({.type = type, .shape = {rows, columns}, .data = weights.file.data()}, type, rows, 0,
           weights.device.data());
  return weights;
}

class PackedTest : public DeviceTest, public testing::WithParamInterface<DType> {
 protected:
  int64_t block() const { return InfoOf(GetParam()).block_columns; }
  DeviceMatrix UploadWeights(const Weights& weights) {
    return {weights.type, weights.rows, weights.columns, Upload(weights.device)};
  }
  // y [T, stride] of `out`.
  std::vector<uint8_t> Multiply(const DeviceMatrix& weights, Element element, Element out, int64_t tokens,
                                int64_t stride, const std::vector<float>& x) {
    const std::vector<float> first(x.begin(), x.begin() + tokens * weights.columns);
    uint8_t* y = Upload(std::vector<uint8_t>(tokens * stride * BytesOf(out), 0x3C));
    Check(PackedMatMul({.weights = weights,
                        .element = element,
                        .out = out,
                        .num_tokens = tokens,
                        .x = Upload(Encode(element, first)),
                        .y = y,
                        .y_stride = stride},
                       stream()));
    return Download(y, tokens * stride * BytesOf(out));
  }
};

TEST_P(PackedTest, RowsMayBePackedInPieces) {
  const Weights weights = RandomWeights(GetParam(), 7, block(), 2);
  std::vector<uint8_t> device(weights.device.size());
  const int64_t row_bytes = RowBytes(weights.type, weights.columns);
  for (const Range rows : {Range{5, 7}, Range{0, 1}, Range{1, 5}})
    PackRows({.type = weights.type,
              .shape = {rows.size(), weights.columns},
              .data = &weights.file[rows.first * row_bytes]},
             weights.type, weights.rows, rows.first, device.data());
  EXPECT_EQ(device, weights.device);
}

TEST_P(PackedTest, Embeds) {
  const Weights weights = RandomWeights(GetParam(), 9, 2 * block(), 3);
  const std::vector<int32_t> ids = {8, 0, 3, 3};
  float* residual = Allocate<float>(ids.size() * weights.columns);
  Check(Embed({.table = UploadWeights(weights),
               .token_ids = Upload(ids),
               .num_tokens = static_cast<int>(ids.size()),
               .scale = 1.7f,
               .residual = residual},
              stream()));
  std::vector<float> expected;
  for (int32_t id : ids)
    for (int64_t i = 0; i < weights.columns; ++i)
      expected.push_back(1.7f * weights.values[id * weights.columns + i]);
  EXPECT_EQ(Download(residual, expected.size()), expected);
}

// Weights are rounded to the type of x before they are multiplied. Tolerance: the float32 sums of K products,
// by the norms of both factors, and one rounding to the type of y.
TEST_P(PackedTest, MultipliesAndLeavesTheGapsOfY) {
  constexpr int64_t kTokens = 5, kRows = 19, kStride = 23;
  const Weights weights = RandomWeights(GetParam(), kRows, 5 * block(), 4);
  const DeviceMatrix matrix = UploadWeights(weights);
  const int64_t columns = weights.columns;
  for (Element element : kElements) {
    const std::vector<float> x = RandomValues(element, kTokens * columns, 5);
    const std::vector<float> values = Decode(element, Encode(element, weights.values));
    for (Element out : {Element::kF32, element}) {
      const std::vector<uint8_t> bytes = Multiply(matrix, element, out, kTokens, kStride, x);
      const std::vector<float> y = Decode(out, bytes);
      const std::vector<float> gap = Decode(out, std::vector<uint8_t>(4, 0x3C));
      for (int64_t t = 0; t < kTokens; ++t) {
        for (int64_t row = 0; row < kRows; ++row) {
          double sum = 0, norm = 0;
          for (int64_t i = 0; i < columns; ++i) {
            const double product = static_cast<double>(values[row * columns + i]) * x[t * columns + i];
            sum += product;
            norm += std::fabs(product);
          }
          const double tolerance = 0x1p-24 * norm * 16 + RoundingOf(out) * std::fabs(sum);
          EXPECT_NEAR(y[t * kStride + row], sum, tolerance)
              << NameOf(element) << " token " << t << " row " << row;
        }
        for (int64_t i = kRows; i < kStride; ++i) EXPECT_EQ(y[t * kStride + i], gap[0]);
      }
    }
  }
}

TEST_P(PackedTest, ProductsOfATokenDoNotDependOnTheOthers) {
  constexpr int64_t kMost = 70, kRows = 6;
  const Weights weights = RandomWeights(GetParam(), kRows, 2 * block(), 6);
  const DeviceMatrix matrix = UploadWeights(weights);
  for (Element element : kElements) {
    const std::vector<float> x = RandomValues(element, kMost * weights.columns, 7);
    const std::vector<uint8_t> all = Multiply(matrix, element, Element::kF32, kMost, kRows, x);
    for (int64_t tokens : {1, 2, 8, 9, 33}) {
      const std::vector<uint8_t> some = Multiply(matrix, element, Element::kF32, tokens, kRows, x);
      EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << NameOf(element) << " T " << tokens;
    }
    // The last token by itself, too.
    const std::vector<float> last(x.end() - weights.columns, x.end());
    const std::vector<uint8_t> alone = Multiply(matrix, element, Element::kF32, 1, kRows, last);
    EXPECT_TRUE(std::equal(alone.rbegin(), alone.rend(), all.rbegin())) << NameOf(element);
  }
}

// By the rule of sums: of the matrix that the weights are when unpacked and rounded.
TEST_P(PackedTest, ProductsAreThoseOfTheUnpackedMatrix) {
  constexpr int64_t kRows = 21, kMost = 34;
  const int64_t columns = (1600 + block() - 1) / block() * block();  // several slabs, the last a part
  const Weights weights = RandomWeights(GetParam(), kRows, columns, 8);
  const DeviceMatrix matrix = UploadWeights(weights);
  for (Element element : {Element::kF16, Element::kBF16}) {
    const std::vector<uint8_t> rounded = Encode(element, weights.values);
    uint8_t* unpacked = Upload(std::vector<uint8_t>(rounded.size(), 0xEE));
    Check(Unpack(
        {.weights = matrix, .element = element, .first_row = 0, .num_rows = kRows - 4, .out = unpacked},
        stream()));
    Check(Unpack({.weights = matrix,
                  .element = element,
                  .first_row = kRows - 4,
                  .num_rows = 4,
                  .out = unpacked + (kRows - 4) * columns * BytesOf(element)},
                 stream()));
    EXPECT_EQ(Download(unpacked, rounded.size()), rounded) << NameOf(element);
    const std::vector<float> x = RandomValues(element, kMost * columns, 9);
    for (int64_t tokens : {1, 2, 8, 9, 16, 17, 34}) {
      const std::vector<float> first(x.begin(), x.begin() + tokens * columns);
      uint8_t* y = Allocate<uint8_t>(tokens * kRows * sizeof(float));
      Check(DenseMatMul({.weights = {DenseType(element), kRows, columns, unpacked},
                         .element = element,
                         .out = Element::kF32,
                         .num_tokens = tokens,
                         .x = Upload(Encode(element, first)),
                         .y = y,
                         .y_stride = kRows},
                        stream()));
      EXPECT_EQ(Multiply(matrix, element, Element::kF32, tokens, kRows, x),
                Download(y, tokens * kRows * sizeof(float)))
          << NameOf(element) << " T " << tokens;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, PackedTest, testing::ValuesIn(kPackedTypes),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

class DenseTest : public DeviceTest {};

TEST_F(DenseTest, EmbedsRowsOfAnyLength) {
  for (DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (int64_t columns : {1, 7, 8, 96, 100, 1032}) {
      const Element element = type == DType::kF32   ? Element::kF32
                              : type == DType::kF16 ? Element::kF16
                                                    : Element::kBF16;
      const std::vector<float> table = RandomValues(element, 4 * columns, 8);
      const std::vector<int32_t> ids = {3, 0, 2};
      float* residual = Allocate<float>(ids.size() * columns);
      Check(Embed({.table = {type, 4, columns, Upload(Encode(element, table))},
                   .token_ids = Upload(ids),
                   .num_tokens = 3,
                   .scale = 0.3f,
                   .residual = residual},
                  stream()));
      std::vector<float> expected;
      for (int32_t id : ids)
        for (int64_t i = 0; i < columns; ++i) expected.push_back(0.3f * table[id * columns + i]);
      EXPECT_EQ(Download(residual, expected.size()), expected) << columns;
    }
  }
}

// Padding, at position -1, has anything.
TEST_F(DenseTest, EmbeddingsSeePositions) {
  for (int64_t columns : {7, 96}) {
    const std::vector<float> table = RandomValues(Element::kF32, 4 * columns, 8);
    const std::vector<float> rows = RandomValues(Element::kF32, 7 * columns, 9);
    const std::vector<int32_t> ids = {3, 0, 2}, positions = {6, -1, 0};
    float* residual = Allocate<float>(ids.size() * columns);
    Check(Embed({.table = {DType::kF32, 4, columns, Upload(Encode(Element::kF32, table))},
                 .token_ids = Upload(ids),
                 .num_tokens = 3,
                 .scale = 0.3f,
                 .position_rows = Upload(rows),
                 .positions = Upload(positions),
                 .residual = residual},
                stream()));
    const std::vector<float> got = Download(residual, ids.size() * columns);
    for (size_t t : {0, 2})
      for (int64_t i = 0; i < columns; ++i) {
        const float scaled = 0.3f * table[ids[t] * columns + i];
        ASSERT_EQ(got[t * columns + i], scaled + rows[positions[t] * columns + i]) << t << " " << i;
      }
  }
}

// Rows that a product has made are scaled and given positions where they lie.
TEST_F(DenseTest, EmbedsRowsInPlace) {
  for (int64_t columns : {7, 96}) {
    const std::vector<float> made = RandomValues(Element::kF32, 3 * columns, 8),
                             rows = RandomValues(Element::kF32, 5 * columns, 9);
    const std::vector<int32_t> positions = {4, 0, 2};
    float* residual = Upload(made);
    Check(Embed({.table = {DType::kF32, 3, columns, residual},
                 .token_ids = nullptr,
                 .num_tokens = 3,
                 .scale = 0.3f,
                 .position_rows = Upload(rows),
                 .positions = Upload(positions),
                 .residual = residual},
                stream()));
    const std::vector<float> got = Download(residual, made.size());
    for (size_t t = 0; t < positions.size(); ++t)
      for (int64_t i = 0; i < columns; ++i) {
        const float scaled = 0.3f * made[t * columns + i];
        ASSERT_EQ(got[t * columns + i], scaled + rows[positions[t] * columns + i]) << t << " " << i;
      }
  }
}

// Types that have no kernels become numbers of the activations' type.
TEST_F(DenseTest, OtherTypesAreConverted) {
  std::vector<uint8_t> file = RandomPacked(DType::kQ8_0, 2, 64, 9);
  std::vector<float> values(128);
  for (int row = 0; row < 2; ++row)
    DequantizeRow(DType::kQ8_0, &file[row * RowBytes(DType::kQ8_0, 64)], 64, &values[row * 64]);
  for (Element element : kElements) {
    std::vector<uint8_t> out(DeviceMatrixBytes(DenseType(element), 3, 64), 0xEE);
    PackRows({.type = DType::kQ8_0, .shape = {2, 64}, .data = file.data()}, DenseType(element), 3, 1,
             out.data());
    const std::vector<uint8_t> expected = Encode(element, values);
    EXPECT_EQ(std::vector<uint8_t>(out.begin() + out.size() / 3, out.end()), expected);
    EXPECT_EQ(out[0], 0xEE);
  }
}

}  // namespace
}  // namespace ropeway::cuda
