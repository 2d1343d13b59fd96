// The byte contract of matrix products: a row depends neither on the other rows of the batch, nor on how the
// work is split, nor on the instruction set.
#include <thread>

#include "gtest/gtest.h"
#include "tests/kernels/kernel_inputs.h"

namespace ropeway::kernels {
namespace {

constexpr int64_t kRows = 84, kTokens = 40;  // the last panel is partial

int64_t ColumnsOf(DType type) { return InfoOf(type).block_columns == 1 ? 293 : 512; }

struct Case {
  PackedMatrix matrix;
  std::vector<float> x;
  std::vector<float> alone;  // [kTokens, kRows]: each row as the only one of its call
};

Case MakeCase(const KernelTable& table, DType type) {
  const int64_t columns = ColumnsOf(type);
  Case c{.matrix = PackOne(table, type, RandomWeights(type, kRows, columns, 21), kRows, columns),
         .x = RandomActivations(kTokens, columns, 22)};
  for (int64_t t = 0; t < kTokens; ++t) {
    const std::vector<float> y = Multiply(table, c.matrix, &c.x[t * columns], 1);
    c.alone.insert(c.alone.end(), y.begin(), y.end());
  }
  return c;
}

// Starting at shifting rows, so that tokens change places in tiles of all sizes.
TEST(MatMulBytes, EveryBatchSizeAndSplit) {
  for (const KernelTable* table : FastTables())
    for (DType type : kAllTypes) {
      const Case c = MakeCase(*table, type);
      for (int64_t n = 1; n <= kTokens; ++n)
        for (int64_t first = 0; first + n <= kTokens; first += 7) {
          const std::vector<float> y = Multiply(*table, c.matrix, &c.x[first * c.matrix.columns], n,
                                                {.parts = static_cast<int>(1 + n % 3)});
          ASSERT_EQ(FirstDifference(y.data(), &c.alone[first * kRows], n * kRows), "")
              << table->name << " " << NameOf(type) << ": " << n << " tokens from " << first;
        }
    }
}

TEST(MatMulBytes, InstructionSetsAgree) {
  const std::vector<const KernelTable*> tables = FastTables();
  if (tables.size() < 2) GTEST_SKIP() << "this processor has one fast instruction set";
  for (DType type : kAllTypes) {
    const Case a = MakeCase(*tables[0], type), b = MakeCase(*tables[1], type);
    EXPECT_EQ(FirstDifference(a.alone.data(), b.alone.data(), kTokens * kRows), "") << NameOf(type);
    const std::vector<float> bias = RandomActivations(1, kRows, 23);
    for (Epilogue epilogue : {Epilogue::kStore, Epilogue::kAdd}) {
      const ProductOptions options{.epilogue = epilogue, .bias = bias.data(), .initial = 0.3f};
      const std::vector<float> y = Multiply(*tables[0], a.matrix, a.x.data(), kTokens, options),
                               z = Multiply(*tables[1], b.matrix, b.x.data(), kTokens, options);
      EXPECT_EQ(FirstDifference(y.data(), z.data(), kTokens * kRows), "") << NameOf(type);
    }
  }
}

TEST(MatMulBytes, GatesOfInstructionSetsAgree) {
  const std::vector<const KernelTable*> tables = FastTables();
  if (tables.size() < 2) GTEST_SKIP() << "this processor has one fast instruction set";
  for (DType type : kAllTypes) {
    const int64_t columns = ColumnsOf(type), height = 40;
    const std::vector<uint8_t> gate = RandomWeights(type, height, columns, 24),
                               up = RandomWeights(type, height, columns, 25);
    const TensorView views[2] = {ViewOf(type, gate, height, columns), ViewOf(type, up, height, columns)};
    std::vector<float> x = RandomActivations(kTokens, columns, 26);
    for (int64_t i = 0; i < columns; ++i) x[i] *= 100;  // far into both tails of the activation
    for (Epilogue epilogue : {Epilogue::kSiluGate, Epilogue::kGeluGate}) {
      std::vector<float> y[2];
      for (int i = 0; i < 2; ++i)
        y[i] = Multiply(*tables[i], tables[i]->pack({.parts = views, .interleave = true}), x.data(), kTokens,
                        {.epilogue = epilogue});
      EXPECT_EQ(FirstDifference(y[0].data(), y[1].data(), kTokens * height), "") << NameOf(type);
    }
  }
}

// Activations too small for their scales to be normal numbers.
TEST(MatMulBytes, TinyActivations) {
  const std::vector<const KernelTable*> tables = FastTables();
  if (tables.size() < 2) GTEST_SKIP() << "this processor has one fast instruction set";
  for (DType type : kAllTypes)
    for (float size : {1e-42f, 1e-37f, 1e-33f, 1e-28f, 1e-24f}) {
      std::vector<float> y[2];
      for (int i = 0; i < 2; ++i) {
        Case c = MakeCase(*tables[i], type);
        for (float& x : c.x) x *= size;
        y[i] = Multiply(*tables[i], c.matrix, c.x.data(), kTokens);
      }
      EXPECT_EQ(FirstDifference(y[0].data(), y[1].data(), kTokens * kRows), "")
          << NameOf(type) << " " << size;
    }
}

// Many tokens take several passes over the panels.
TEST(MatMulBytes, SeveralPasses) {
  constexpr int64_t kWide = 8192, kMany = 160, kFew = 40;
  for (const KernelTable* table : FastTables())
    for (DType type : {DType::kQ8_0, DType::kF32}) {
      const PackedMatrix matrix = PackOne(*table, type, RandomWeights(type, kFew, kWide, 27), kFew, kWide);
      const std::vector<float> x = RandomActivations(kMany, kWide, 28);
      const std::vector<float> y = Multiply(*table, matrix, x.data(), kMany, {.parts = 2});
      for (int64_t t = 0; t < kMany; t += 13) {
        const std::vector<float> one = Multiply(*table, matrix, &x[t * kWide], 1);
        ASSERT_EQ(FirstDifference(&y[t * kFew], one.data(), kFew), "") << NameOf(type) << " token " << t;
      }
    }
}

TEST(MatMulBytes, Threads) {
  for (const KernelTable* table : FastTables())
    for (DType type : {DType::kQ4_1, DType::kQ6_K, DType::kF16}) {
      const Case c = MakeCase(*table, type);
      const int64_t columns = c.matrix.columns;
      AlignedBuffer activations(table->activation_bytes(c.matrix.activation, kTokens, columns));
      std::vector<float> y(kTokens * kRows);
      const auto run = [](const auto& body) {
        std::thread other(body, 1);
        body(0);
        other.join();
      };
      run([&](int thread) {
        const int64_t units = table->prepare_units(c.matrix.activation, kTokens, columns);
        table->prepare({.kind = c.matrix.activation,
                        .x = c.x.data(),
                        .x_stride = columns,
                        .num_tokens = kTokens,
                        .columns = columns,
                        .out = activations.data(),
                        .units = PartOf(units, thread, 2)});
      });
      run([&](int thread) {
        table->matmul({.matrix = &c.matrix,
                       .activations = activations.data(),
                       .num_tokens = kTokens,
                       .y = y.data(),
                       .y_stride = kRows,
                       .panels = PartOf(c.matrix.num_panels, thread, 2),
                       .next = c.matrix.panel(0),
                       .next_bytes = c.matrix.panel_bytes});
      });
      EXPECT_EQ(FirstDifference(y.data(), c.alone.data(), kTokens * kRows), "") << NameOf(type);
    }
}

}  // namespace
}  // namespace ropeway::kernels
