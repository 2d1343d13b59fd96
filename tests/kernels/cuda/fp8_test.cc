// Quantisation and products of 8-bit floating point on a device: the bytes of the host's quantisation, and those of a
// dense product of the same numbers in f16.
#include "engine/kernels/cuda/fp8.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "engine/tensor/fp8.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/element_values.h"
#include "tests/kernels/cuda/fp8_device_test.h"

namespace ropeway::cuda {
namespace {

struct HostRows {
  std::vector<uint8_t> codes;
  std::vector<float> scales;
  bool operator==(const HostRows&) const = default;
};

class Fp8Test : public Fp8DeviceTest, public testing::WithParamInterface<Element> {
 protected:
  static HostRows OnHost(const std::vector<float>& x, int64_t columns) {
    const size_t tokens = x.size() / columns;
    HostRows rows = {.codes = std::vector<uint8_t>(tokens * Fp8RowBytes(columns)),
                     .scales = std::vector<float>(tokens)};
    for (size_t t = 0; t < tokens; ++t)
      rows.scales[t] = QuantizeFp8Row(&x[t * columns], columns, &rows.codes[t * Fp8RowBytes(columns)]);
    return rows;
  }
  HostRows OnDevice(Element element, const std::vector<float>& x, int64_t columns) {
    const size_t tokens = x.size() / columns;
    const Fp8Rows rows = Quantize(element, x, columns);
    return {.codes = Download(rows.codes, tokens * Fp8RowBytes(columns)),
            .scales = Download(rows.scales, tokens)};
  }
};

// Their numbers in the order of columns, as f16 has them.
std::vector<float> Decoded(const HostRows& rows, int64_t columns) {
  std::vector<float> values(rows.scales.size() * columns);
  for (size_t t = 0; t < rows.scales.size(); ++t) {
    for (int64_t at = 0; at < Fp8RowBytes(columns); ++at) {
      const int64_t column = at / kFp8StepColumns * kFp8StepColumns + Fp8ColumnAt(at % kFp8StepColumns);
      const float value = Fp8ToFloat(rows.codes[t * Fp8RowBytes(columns) + at]);
      if (column < columns) {
        values[t * columns + column] = value;
      } else {
        EXPECT_EQ(value, 0);
      }
    }
  }
  return values;
}

TEST(Fp8LayoutTest, ColumnsOfAStepComeEachOnce) {
  uint32_t seen = 0;
  for (int place = 0; place < kFp8StepColumns; ++place) seen |= 1u << Fp8ColumnAt(place);
  EXPECT_EQ(seen, 0xFFFFu);
  EXPECT_EQ(Fp8ColumnAt(5), 3);
  EXPECT_EQ(Fp8ColumnAt(6), 10);
}

TEST(HasFp8Test, FromAdaOn) {
  EXPECT_FALSE(HasFp8(8, 0));
  EXPECT_FALSE(HasFp8(8, 6));
  EXPECT_TRUE(HasFp8(8, 9));
  EXPECT_TRUE(HasFp8(9, 0));
  EXPECT_FALSE(HasFp8(7, 9));
}

TEST_P(Fp8Test, QuantizesAsTheHostDoes) {
  for (const int64_t columns : {1, 15, 16, 100, 128, 130, 576, 4097, 4112}) {
    std::vector<float> x = RandomValues(GetParam(), 3 * columns, static_cast<uint32_t>(columns));
    // A row of zeros, and one whose numbers are far apart.
    for (int64_t k = 0; k < columns; ++k) {
      x[columns + k] = 0;
      x[2 * columns + k] *= k % 3 == 0 ? 1000.0f : 0x1p-8f;
    }
    x = Decode(GetParam(), Encode(GetParam(), x));
    EXPECT_EQ(OnDevice(GetParam(), x, columns), OnHost(x, columns)) << "K " << columns;
  }
}

TEST_P(Fp8Test, QuantizesToTheSameNumbersAsF16) {
  for (const int64_t columns : {7, 100, 272}) {
    const std::vector<float> x = RandomValues(GetParam(), 3 * columns, 11);
    const HostRows expected = OnHost(x, columns);
    const Fp8Rows rows = Quantize(GetParam(), x, columns, /*as_f16=*/true);
    EXPECT_EQ(Download(rows.scales, 3), expected.scales);
    const int64_t row_bytes = Fp8RowBytes(columns);
    const std::vector<float> values = Decode(Element::kF16, Download(rows.codes, 3 * row_bytes * 2)),
                             of_codes = Decoded(expected, columns);
    for (int64_t at = 0; at < 3 * row_bytes; ++at) {
      const int64_t row = at / row_bytes, column = at % row_bytes;
      EXPECT_EQ(values[at], column < columns ? of_codes[row * columns + column] : 0) << row << ", " << column;
    }
  }
}

// Within 1/16 of each number, or of half a unit of the smallest ones.
TEST_P(Fp8Test, KeepsNumbers) {
  constexpr int64_t kColumns = 1000;
  const std::vector<float> x = RandomValues(GetParam(), 2 * kColumns, 3, 0.02f);
  const HostRows rows = OnDevice(GetParam(), x, kColumns);
  const std::vector<float> values = Decoded(rows, kColumns);
  for (size_t i = 0; i < x.size(); ++i) {
    const float scale = rows.scales[i / kColumns];
    EXPECT_NEAR(values[i] * scale, x[i], std::fmax(std::fabs(x[i]) / 16, scale * 0x1p-10f) * 1.001f);
  }
}

TEST_P(Fp8Test, WhatIsNoNumberMakesNaNsOfItsRowAlone) {
  constexpr int64_t kColumns = 40, kRows = 5;
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> x = RandomValues(GetParam(), 3 * kColumns, 4);
  x[7] = nan;
  x[kColumns + 9] = -inf;
  const Fp8Matrix weights = UploadMatrix(RandomValues(Element::kF32, kRows * kColumns, 5), kRows, kColumns);
  const std::vector<float> y =
      Decode(Element::kF32, Multiply(weights, Quantize(GetParam(), x, kColumns), 3, Element::kF32, kRows));
  for (int64_t row = 0; row < kRows; ++row) {
    EXPECT_TRUE(std::isnan(y[row]));
    EXPECT_TRUE(std::isnan(y[kRows + row]));
    EXPECT_TRUE(std::isfinite(y[2 * kRows + row]));
  }
}

struct Shape {
  int64_t rows, columns, tokens, stride;
};

// The sums are those of the rule in gemm.h for the same numbers as f16, by the kernel that keeps it.
TEST_P(Fp8Test, MultipliesAsF16AndScales) {
  for (const Shape& s : {Shape{19, 40, 5, 23},
                         {1, 8, 1, 1},
                         {48, 576, 16, 48},
                         {130, 136, 70, 130},
                         {33, 1032, 9, 40},
                         {64, 1280, 33, 64},
                         {129, 264, 150, 131}}) {
    SCOPED_TRACE(testing::Message() << "M " << s.rows << " K " << s.columns << " T " << s.tokens);
    const std::vector<float> w = RandomValues(Element::kF32, s.rows * s.columns, 1, 0.02f);
    const std::vector<float> x = RandomValues(Element::kBF16, s.tokens * s.columns, 2);
    const HostRows w_rows = OnHost(w, s.columns), x_rows = OnHost(x, s.columns);
    float* sums = Allocate<float>(s.tokens * s.rows);
    Check(DenseMatMul({.weights = {DType::kF16, s.rows, s.columns,
                                   Upload(Encode(Element::kF16, Decoded(w_rows, s.columns)))},
                       .element = Element::kF16,
                       .out = Element::kF32,
                       .num_tokens = s.tokens,
                       .processors = 4,
                       .x = Upload(Encode(Element::kF16, Decoded(x_rows, s.columns))),
                       .y = sums,
                       .y_stride = s.rows},
                      stream()));
    const std::vector<float> expected = Download(sums, s.tokens * s.rows);
    const Fp8Rows device_x = {.codes = Upload(x_rows.codes), .scales = Upload(x_rows.scales)};
    const std::vector<uint8_t> bytes =
        Multiply(UploadMatrix(w, s.rows, s.columns), device_x, s.tokens, GetParam(), s.stride);
    std::vector<float> scaled(s.tokens * s.stride, Decode(GetParam(), std::vector<uint8_t>(4, 0x3C))[0]);
    for (int64_t t = 0; t < s.tokens; ++t)
      for (int64_t row = 0; row < s.rows; ++row)
        scaled[t * s.stride + row] = expected[t * s.rows + row] * x_rows.scales[t] * w_rows.scales[row];
    EXPECT_EQ(bytes, Encode(GetParam(), scaled));
  }
}

// The bound is that of two roundings of 3 bits of mantissa, of numbers that are not alike.
TEST_P(Fp8Test, StaysNearTheProductOfWhatWasRounded) {
  constexpr int64_t kRows = 24, kColumns = 600, kTokens = 12;
  const std::vector<float> w = RandomValues(Element::kF32, kRows * kColumns, 6, 0.02f);
  const std::vector<float> x = RandomValues(GetParam(), kTokens * kColumns, 7);
  const Fp8Rows device_x = Quantize(GetParam(), x, kColumns);
  const std::vector<float> y = Decode(
      Element::kF32, Multiply(UploadMatrix(w, kRows, kColumns), device_x, kTokens, Element::kF32, kRows));
  double differences = 0, squares = 0;
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t row = 0; row < kRows; ++row) {
      double sum = 0;
      for (int64_t k = 0; k < kColumns; ++k) sum += double{w[row * kColumns + k]} * x[t * kColumns + k];
      differences += std::pow(y[t * kRows + row] - sum, 2);
      squares += sum * sum;
    }
  }
  EXPECT_LT(std::sqrt(differences / squares), 0.05);
  EXPECT_GT(std::sqrt(differences / squares), 0.01);
}

TEST_P(Fp8Test, ProductsOfATokenDoNotDependOnTheOthers) {
  constexpr int64_t kRows = 40, kColumns = 600, kMost = 140;
  const Fp8Matrix weights = UploadMatrix(RandomValues(Element::kF32, kRows * kColumns, 3), kRows, kColumns);
  const std::vector<float> x = RandomValues(GetParam(), kMost * kColumns, 4);
  const std::vector<uint8_t> all =
      Multiply(weights, Quantize(GetParam(), x, kColumns), kMost, GetParam(), kRows);
  for (const int64_t tokens : {1, 2, 7, 8, 9, 32, 33, 64, 65, 129}) {
    const std::vector<float> first(x.begin(), x.begin() + tokens * kColumns);
    const std::vector<uint8_t> some =
        Multiply(weights, Quantize(GetParam(), first, kColumns), tokens, GetParam(), kRows);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << "T " << tokens;
  }
  const std::vector<float> last(x.end() - kColumns, x.end());
  const std::vector<uint8_t> alone =
      Multiply(weights, Quantize(GetParam(), last, kColumns), 1, GetParam(), kRows);
  EXPECT_TRUE(std::equal(alone.rbegin(), alone.rend(), all.rbegin())) << "the last by itself";
}

// In the kernel of the product the bytes are those of one kernel after the other.
TEST_P(Fp8Test, EndsWithTheGate) {
  constexpr int64_t kFfn = 75, kColumns = 200;
  const Fp8Matrix weights =
      UploadMatrix(RandomValues(Element::kF32, 2 * kFfn * kColumns, 8, 0.1f), 2 * kFfn, kColumns);
  for (const int tokens : {3, 20, 70}) {
    for (const Activation activation :
         {Activation::kSilu, Activation::kGeluTanh, Activation::kClampedSwiglu, Activation::kRelu2}) {
      const bool gated = activation != Activation::kRelu2;
      const int64_t columns = gated ? kFfn : 2 * kFfn;
      const Fp8Rows x = Quantize(GetParam(), RandomValues(GetParam(), tokens * kColumns, 9), kColumns);
      const int64_t bytes = tokens * columns * BytesOf(GetParam());
      const int64_t y_bytes = tokens * 2 * kFfn * BytesOf(GetParam());
      const std::vector<uint8_t> untouched(y_bytes, 0x3C);
      uint8_t* y = Upload(Multiply(weights, x, tokens, GetParam(), 2 * kFfn));
      GateArgs gate = {.activation = activation,
                       .gated = gated,
                       .element = GetParam(),
                       .num_tokens = tokens,
                       .columns = static_cast<int>(columns),
                       .gate_up = y,
                       .bias = Upload(RandomValues(Element::kF32, 2 * kFfn, 10)),
                       .numbers = {.s = 1.702f, .c = 2},
                       .out = Allocate<uint8_t>(bytes)};
      Check(Gate(gate, stream()));
      const std::vector<uint8_t> expected = Download(static_cast<uint8_t*>(gate.out), bytes);
      gate.out = Allocate<uint8_t>(bytes);
      y = Upload(untouched);
      Check(Fp8MatMul({.weights = weights,
                       .out = GetParam(),
                       .num_tokens = tokens,
                       .x = x,
                       .y = y,
                       .y_stride = 2 * kFfn,
                       .gate = gate},
                      stream()));
      EXPECT_EQ(Download(static_cast<uint8_t*>(gate.out), bytes), expected) << tokens << " tokens";
      EXPECT_EQ(Download(y, y_bytes), untouched);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Fp8Test, testing::ValuesIn(kElements),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

}  // namespace
}  // namespace ropeway::cuda
