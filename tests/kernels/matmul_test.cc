// Matrix products of every table and type against the exact product and against the specification.
#include <cmath>
#include <limits>

#include "engine/tensor/dequantize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/kernel_inputs.h"

namespace ropeway::kernels {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

// What int8 activations stand for, by the rule itself rather than by what `prepare` wrote.
std::vector<double> Rounded(const float* x, int64_t columns) {
  std::vector<double> out(columns);
  for (int64_t b = 0; b < columns; b += kQuantBlock) {
    float largest = 0;
    for (int64_t i = b; i < b + kQuantBlock; ++i) largest = std::max(largest, std::abs(x[i]));
    const float scale = largest * (1.f / 127), inverse = largest > 0 ? 127 / largest : 0;
    for (int64_t i = b; i < b + kQuantBlock; ++i)
      out[i] = static_cast<double>(std::nearbyint(x[i] * inverse)) * scale;
  }
  return out;
}

// A product in double, and what its rounding errors go by.
struct Exact {
  double value = 0;
  double magnitude = 0;  // sum of |x w|
  double rounding = 0;   // worst effect of rounding x to 8 bits
};

template <typename T>
Exact Dot(const T* x, const float* w, int64_t columns) {
  Exact exact;
  for (int64_t b = 0; b < columns; b += kQuantBlock) {
    double largest = 0, weights = 0;
    for (int64_t i = b; i < std::min(columns, b + kQuantBlock); ++i) {
      exact.value += static_cast<double>(x[i]) * w[i];
      exact.magnitude += std::abs(static_cast<double>(x[i]) * w[i]);
      largest = std::max(largest, std::abs(static_cast<double>(x[i])));
      weights += std::abs(w[i]);
    }
    exact.rounding += largest / 254 * weights;
  }
  return exact;
}

// Codes and minima cancel, so that their rounding goes by what cancels: up to eight times the weights.
double Cancellation(DType type) {
  const bool has_min = type == DType::kQ4_1 || type == DType::kQ5_1 || type == DType::kQ2_K ||
                       type == DType::kQ4_K || type == DType::kQ5_K;
  return has_min ? 8 : 1;
}

// Every block adds a product and up to two sums, each off by half a unit in the last place of at most the sum
// of magnitudes; scales are off by two roundings. Floats add one product per column.
double FloatTolerance(const PackedMatrix& matrix, DType type, double magnitude) {
  const double steps = matrix.activation == ActivationKind::kInt8
                           ? 3.0 * static_cast<double>(matrix.columns) / kQuantBlock + 4
                           : static_cast<double>(matrix.columns);
  return Cancellation(type) * steps * kEpsilon * magnitude;
}

struct Shape {
  int64_t rows, columns;
};

std::vector<Shape> ShapesOf(DType type) {
  switch (InfoOf(type).block_columns) {
    case 1:
      return {{1, 1}, {33, 7}, {31, 37}, {80, 256}, {64, 1000}};
    case 32:
      return {{1, 32}, {33, 576}, {80, 96}, {64, 1536}};
    default:
      return {{1, 256}, {33, 512}, {80, 1536}};
  }
}

TEST(MatMul, EveryTypeAgainstTheExactProduct) {
  constexpr int64_t kTokens = 11;
  for (const KernelTable* table : ProductTables())
    for (DType type : kAllTypes)
      for (const auto [rows, columns] : ShapesOf(type)) {
        SCOPED_TRACE(testing::Message()
                     << table->name << " " << NameOf(type) << " " << rows << " x " << columns);
        const std::vector<uint8_t> bytes = RandomWeights(type, rows, columns, 1);
        const std::vector<float> x = RandomActivations(kTokens, columns, 2);
        const PackedMatrix matrix = PackOne(*table, type, bytes, rows, columns);
        const std::vector<float> y = Multiply(*table, matrix, x.data(), kTokens);
        const bool rounds = matrix.activation == ActivationKind::kInt8;
        std::vector<float> w(columns);
        for (int64_t m = 0; m < rows; ++m) {
          DequantizeRow(type, &bytes[m * RowBytes(type, columns)], columns, w.data());
          for (int64_t t = 0; t < kTokens; ++t) {
            const float* row = &x[t * columns];
            const Exact exact = Dot(row, w.data(), columns);
            const Exact near = rounds ? Dot(Rounded(row, columns).data(), w.data(), columns) : exact;
            const float got = y[t * rows + m];
            ASSERT_NEAR(got, near.value, FloatTolerance(matrix, type, near.magnitude)) << t << ", " << m;
            ASSERT_NEAR(got, exact.value,
                        (rounds ? exact.rounding : 0) + FloatTolerance(matrix, type, exact.magnitude));
          }
        }
      }
}

TEST(MatMul, SpecificationAgainstTheExactProduct) {
  constexpr int64_t kRows = 40, kColumns = 512, kTokens = 3;
  for (DType type : kAllTypes) {
    SCOPED_TRACE(NameOf(type));
    const std::vector<uint8_t> bytes = RandomWeights(type, kRows, kColumns, 1);
    const std::vector<float> x = RandomActivations(kTokens, kColumns, 2);
    const PackedMatrix matrix = PackOne(RefKernels(), type, bytes, kRows, kColumns);
    const std::vector<float> y = Multiply(RefKernels(), matrix, x.data(), kTokens, {.parts = 2});
    std::vector<float> w(kColumns);
    for (int64_t m = 0; m < kRows; ++m) {
      DequantizeRow(type, &bytes[m * RowBytes(type, kColumns)], kColumns, w.data());
      for (int64_t t = 0; t < kTokens; ++t) {
        const Exact exact = Dot(&x[t * kColumns], w.data(), kColumns);
        ASSERT_NEAR(y[t * kRows + m], exact.value, (kColumns / 16 + 6) * kEpsilon * exact.magnitude);
      }
    }
  }
}

// Stacked parts (query, key, value) are their rows one after the other.
TEST(MatMul, StackedParts) {
  constexpr int64_t kColumns = 256, kTokens = 5, kHeights[] = {48, 16, 20};
  for (const KernelTable* table : ProductTables())
    for (DType type : kAllTypes) {
      SCOPED_TRACE(testing::Message() << table->name << " " << NameOf(type));
      std::vector<std::vector<uint8_t>> bytes;
      std::vector<TensorView> views;
      std::vector<uint8_t> all;
      for (int64_t height : kHeights)
        bytes.push_back(RandomWeights(type, height, kColumns, 10 + bytes.size()));
      for (size_t i = 0; i < bytes.size(); ++i) {
        views.push_back(ViewOf(type, bytes[i], kHeights[i], kColumns));
        all.insert(all.end(), bytes[i].begin(), bytes[i].end());
      }
      const std::vector<float> x = RandomActivations(kTokens, kColumns, 3);
      const std::vector<float> stacked = Multiply(*table, table->pack({.parts = views}), x.data(), kTokens);
      const std::vector<float> one =
          Multiply(*table, PackOne(*table, type, all, 84, kColumns), x.data(), kTokens);
      EXPECT_THAT(stacked, testing::ElementsAreArray(one));
    }
}

TEST(MatMul, RowsOfTheFileMayLieAtAnyAddress) {
  constexpr int64_t kRows = 33, kColumns = 256, kTokens = 2;
  for (const KernelTable* table : ProductTables())
    for (DType type : kAllTypes) {
      const std::vector<uint8_t> bytes = RandomWeights(type, kRows, kColumns, 5);
      std::vector<uint8_t> shifted(bytes.size() + 1);
      std::copy(bytes.begin(), bytes.end(), shifted.begin() + 1);
      const TensorView view{.type = type, .shape = {kRows, kColumns}, .data = shifted.data() + 1};
      const std::vector<float> x = RandomActivations(kTokens, kColumns, 6);
      EXPECT_EQ(Multiply(*table, table->pack({.parts = absl::MakeConstSpan(&view, 1)}), x.data(), kTokens),
                Multiply(*table, PackOne(*table, type, bytes, kRows, kColumns), x.data(), kTokens))
          << table->name << " " << NameOf(type);
    }
}

std::vector<const KernelTable*> AllTables() {
  std::vector<const KernelTable*> tables = ProductTables();
  tables.push_back(&RefKernels());
  return tables;
}

// Bias and residual are one addition each on top of the plain product; nothing beyond the outputs is written.
TEST(MatMul, BiasAndResidual) {
  constexpr float kInitial = 0.75f;
  for (const KernelTable* table : AllTables())
    for (DType type : {DType::kQ4_1, DType::kQ6_K, DType::kBF16})
      for (int64_t rows : {5, 32, 80}) {
        constexpr int64_t kColumns = 256, kTokens = 10, kGap = 3;
        SCOPED_TRACE(testing::Message() << table->name << " " << NameOf(type) << " " << rows);
        const std::vector<uint8_t> bytes = RandomWeights(type, rows, kColumns, 7);
        const PackedMatrix matrix = PackOne(*table, type, bytes, rows, kColumns);
        const std::vector<float> x = RandomActivations(kTokens, kColumns, 8),
                                 bias = RandomActivations(1, rows, 9);
        const std::vector<float> plain = Multiply(*table, matrix, x.data(), kTokens);
        for (bool with_bias : {false, true})
          for (Epilogue epilogue : {Epilogue::kStore, Epilogue::kAdd}) {
            const std::vector<float> y = Multiply(*table, matrix, x.data(), kTokens,
                                                  {.epilogue = epilogue,
                                                   .bias = with_bias ? bias.data() : nullptr,
                                                   .parts = 2,
                                                   .initial = kInitial,
                                                   .gap = kGap});
            for (int64_t t = 0; t < kTokens; ++t)
              for (int64_t i = 0; i < rows + kGap; ++i) {
                float expected = kInitial;
                if (i < rows) {
                  const float value = plain[t * rows + i] + (with_bias ? bias[i] : 0.f);
                  expected = epilogue == Epilogue::kAdd ? kInitial + value : value;
                }
                ASSERT_EQ(y[t * (rows + kGap) + i], expected) << t << ", " << i;
              }
          }
      }
}

double Activate(Activation activation, double x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGeluErf:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kRelu2:
      return std::max(x, 0.0) * std::max(x, 0.0);
    case Activation::kXielu: {
      const auto& f = kActivationNumbers;
      if (x > 0) return f.p * x * x + f.l * x;
      return (std::expm1(std::min<double>(x, f.m)) - x) * f.n + f.l * x;
    }
    case Activation::kClampedSwiglu: {
      const double g = std::min<double>(x, kActivationNumbers.c);
      return g / (1 + std::exp(-g * kActivationNumbers.s));
    }
  }
  return 0;
}

// What the gate is multiplied by.
double Gated(Activation activation, double up) {
  const double c = kActivationNumbers.c;
  return activation == Activation::kClampedSwiglu ? std::clamp(up, -c, c) + 1 : up;
}

// Without a gate: what the product gives by itself, through the activation.
TEST(MatMul, Activations) {
  constexpr int64_t kColumns = 256, kTokens = 11, kGap = 2;
  for (const KernelTable* table : AllTables())
    for (DType type : {DType::kQ8_0, DType::kQ4_K, DType::kF32})
      for (int64_t height : {1, 20, 40, 64})
        for (Activation activation : kAllActivations) {
          SCOPED_TRACE(testing::Message() << table->name << " " << NameOf(type) << " " << height << " "
                                          << static_cast<int>(activation));
          const PackedMatrix matrix =
              PackOne(*table, type, RandomWeights(type, height, kColumns, 11), height, kColumns);
          const std::vector<float> x = RandomActivations(kTokens, kColumns, 13),
                                   bias = RandomActivations(1, height, 14);
          const std::vector<float> plain = Multiply(*table, matrix, x.data(), kTokens, {.bias = bias.data()});
          const std::vector<float> y = Multiply(*table, matrix, x.data(), kTokens,
                                                {.epilogue = Epilogue::kActivate,
                                                 .activation = activation,
                                                 .bias = bias.data(),
                                                 .parts = 3,
                                                 .initial = 5,
                                                 .gap = kGap});
          for (int64_t t = 0; t < kTokens; ++t)
            for (int64_t i = 0; i < height + kGap; ++i) {
              const float got = y[t * (height + kGap) + i];
              if (i >= height) {
                ASSERT_EQ(got, 5);
                continue;
              }
              const double a = plain[t * height + i], expected = Activate(activation, a);
              ASSERT_NEAR(got, expected, 3e-6 * std::abs(expected) + 2e-7 * std::abs(a)) << a;
            }
        }
}

// Gates of any height: what the two products give by themselves, through the activation.
TEST(MatMul, Gates) {
  constexpr int64_t kColumns = 256, kTokens = 11, kGap = 2;
  for (const KernelTable* table : AllTables())
    for (DType type : {DType::kQ8_0, DType::kQ4_K, DType::kF32})
      for (int64_t height : {1, 16, 20, 24, 40, 64})
        for (Activation activation : kAllActivations)
          for (bool with_bias : {false, true}) {
            SCOPED_TRACE(testing::Message() << table->name << " " << NameOf(type) << " " << height);
            const std::vector<uint8_t> gate = RandomWeights(type, height, kColumns, 11),
                                       up = RandomWeights(type, height, kColumns, 12);
            const std::vector<float> x = RandomActivations(kTokens, kColumns, 13),
                                     bias = RandomActivations(1, 2 * height, 14);
            const auto product = [&](const std::vector<uint8_t>& bytes, const float* part) {
              return Multiply(*table, PackOne(*table, type, bytes, height, kColumns), x.data(), kTokens,
                              {.bias = with_bias ? part : nullptr});
            };
            const std::vector<float> g = product(gate, bias.data()), u = product(up, bias.data() + height);
            const TensorView views[2] = {ViewOf(type, gate, height, kColumns),
                                         ViewOf(type, up, height, kColumns)};
            const PackedMatrix both = table->pack({.parts = views, .interleave = true});
            EXPECT_EQ(both.rows, 2 * height);
            const std::vector<float> y = Multiply(*table, both, x.data(), kTokens,
                                                  {.epilogue = Epilogue::kGate,
                                                   .activation = activation,
                                                   .bias = with_bias ? bias.data() : nullptr,
                                                   .parts = 3,
                                                   .initial = 5,
                                                   .gap = kGap});
            for (int64_t t = 0; t < kTokens; ++t)
              for (int64_t i = 0; i < height + kGap; ++i) {
                const float got = y[t * (height + kGap) + i];
                if (i >= height) {
                  ASSERT_EQ(got, 5);
                  continue;
                }
                // The tanh and erf of the specification cancel for large negative arguments.
                const double a = g[t * height + i], b = u[t * height + i];
                const double expected = Activate(activation, a) * Gated(activation, b);
                ASSERT_NEAR(got, expected, 3e-6 * std::abs(expected) + 2e-7 * std::abs(a) * (std::abs(b) + 1))
                    << a;
              }
          }
}

// A row that is not finite must not come out as numbers; its neighbours must.
TEST(MatMul, NotANumberStaysVisible) {
  constexpr int64_t kRows = 40, kColumns = 256, kTokens = 9;
  for (const KernelTable* table : AllTables())
    for (DType type : kAllTypes)
      for (float poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
        for (int64_t column : {0, 7, 100, 255}) {
          const std::vector<uint8_t> bytes = RandomWeights(type, kRows, kColumns, 15);
          const PackedMatrix matrix = PackOne(*table, type, bytes, kRows, kColumns);
          std::vector<float> x = RandomActivations(kTokens, kColumns, 16);
          const std::vector<float> clean = Multiply(*table, matrix, x.data(), kTokens);
          x[4 * kColumns + column] = poison;
          const std::vector<float> y = Multiply(*table, matrix, x.data(), kTokens);
          int finite = 0;
          for (int64_t i = 0; i < kRows; ++i) finite += std::isfinite(y[4 * kRows + i]);
          // A weight of zero may hide an infinity from the specification, never from most of the outputs.
          EXPECT_LT(finite, kRows / 2) << table->name << " " << NameOf(type) << " column " << column;
          for (int64_t t = 0; t < kTokens; ++t) {
            if (t == 4) continue;
            EXPECT_EQ(FirstDifference(&y[t * kRows], &clean[t * kRows], kRows), "");
          }
        }
}

TEST(MatMul, NotANumberPassesGates) {
  constexpr int64_t kHeight = 16, kColumns = 64;
  for (const KernelTable* table : AllTables())
    for (DType type : {DType::kQ8_0, DType::kF32})
      for (Activation activation : kAllActivations) {
        const std::vector<uint8_t> bytes = RandomWeights(type, kHeight, kColumns, 18);
        const TensorView views[2] = {ViewOf(type, bytes, kHeight, kColumns),
                                     ViewOf(type, bytes, kHeight, kColumns)};
        std::vector<float> x = RandomActivations(1, kColumns, 19);
        x[5] = std::numeric_limits<float>::quiet_NaN();
        const std::vector<float> y =
            Multiply(*table, table->pack({.parts = views, .interleave = true}), x.data(), 1,
                     {.epilogue = Epilogue::kGate, .activation = activation});
        for (float value : y) EXPECT_TRUE(std::isnan(value)) << table->name;
      }
}

TEST(MatMul, ZeroAndTinyActivations) {
  constexpr int64_t kRows = 32, kColumns = 256;
  for (const KernelTable* table : ProductTables())
    for (DType type : kAllTypes)
      for (float size : {0.f, 1e-44f, 1e-38f, 1e-30f}) {
        const PackedMatrix matrix =
            PackOne(*table, type, RandomWeights(type, kRows, kColumns, 17), kRows, kColumns);
        std::vector<float> x(kColumns);
        for (int64_t i = 0; i < kColumns; ++i) x[i] = i % 2 ? size : -size / 2;
        const std::vector<float> y = Multiply(*table, matrix, x.data(), 1);
        // |y| <= sum of |x w|: at most 256 columns of weights below 1.
        for (float value : y) ASSERT_LE(std::abs(value), kColumns * size) << NameOf(type) << " " << size;
      }
}

}  // namespace
}  // namespace ropeway::kernels
