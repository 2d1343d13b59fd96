// The byte contract of matrix products: a row depends neither on the other rows of the batch, nor on how the
// work is split, nor on the instruction set.
#include <cstring>
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
  for (const KernelTable* table : ProductTables())
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

// What `run` gives with every table must be the same.
template <typename Run>
void ExpectTablesAgree(const std::string& what, const Run& run) {
  const std::vector<const KernelTable*> tables = ProductTables();
  if (tables.size() < 2) return;  // this processor has one fast instruction set
  const std::vector<float> first = run(*tables[0]);
  for (size_t i = 1; i < tables.size(); ++i) {
    const std::vector<float> other = run(*tables[i]);
    ASSERT_EQ(first.size(), other.size());
    EXPECT_EQ(FirstDifference(first.data(), other.data(), static_cast<int64_t>(first.size())), "")
        << tables[0]->name << " " << tables[0]->extension << " against " << tables[i]->name << " "
        << tables[i]->extension << ": " << what;
  }
}

TEST(MatMulBytes, InstructionSetsAgree) {
  const std::vector<float> bias = RandomActivations(1, kRows, 23);
  for (DType type : kAllTypes) {
    ExpectTablesAgree(NameOf(type), [&](const KernelTable& table) { return MakeCase(table, type).alone; });
    for (Epilogue epilogue : {Epilogue::kStore, Epilogue::kAdd})
      ExpectTablesAgree(NameOf(type), [&](const KernelTable& table) {
        const Case c = MakeCase(table, type);
        return Multiply(table, c.matrix, c.x.data(), kTokens,
                        {.epilogue = epilogue, .bias = bias.data(), .initial = 0.3f});
      });
  }
}

// One block of columns, few, odd numbers of them, and more than any kernel unpacks at a time.
TEST(MatMulBytes, InstructionSetsAgreeForEveryWidth) {
  constexpr int64_t kHeight = 72, kGap = 5;
  for (DType type : kAllTypes)
    for (int64_t blocks : {1, 2, 3, 5, 18, 25, 49}) {
      const int64_t columns = blocks * std::max(kQuantBlock, InfoOf(type).block_columns);
      const std::vector<uint8_t> bytes = RandomWeights(type, kHeight, columns, 31);
      const std::vector<float> x = RandomActivations(kTokens, columns + kGap, 32);
      ExpectTablesAgree(NameOf(type), [&](const KernelTable& table) {
        return Multiply(table, PackOne(table, type, bytes, kHeight, columns), x.data(), kTokens,
                        {.epilogue = Epilogue::kAdd, .parts = 2, .initial = 0.3f, .gap = 3, .x_gap = kGap});
      });
    }
}

TEST(MatMulBytes, InstructionSetsAgreeForManyTokens) {
  constexpr int64_t kHeight = 100, kColumns = 256, kMany = 555;
  const std::vector<float> x = RandomActivations(kMany, kColumns, 34);
  for (DType type : kAllTypes) {
    const std::vector<uint8_t> bytes = RandomWeights(type, kHeight, kColumns, 33);
    ExpectTablesAgree(NameOf(type), [&](const KernelTable& table) {
      return Multiply(table, PackOne(table, type, bytes, kHeight, kColumns), x.data(), kMany, {.parts = 3});
    });
  }
}

TEST(MatMulBytes, GatesOfInstructionSetsAgree) {
  for (DType type : kAllTypes) {
    const int64_t columns = ColumnsOf(type), height = 40;
    const std::vector<uint8_t> gate = RandomWeights(type, height, columns, 24),
                               up = RandomWeights(type, height, columns, 25);
    const TensorView views[2] = {ViewOf(type, gate, height, columns), ViewOf(type, up, height, columns)};
    const std::vector<float> bias = RandomActivations(1, 2 * height, 35);
    std::vector<float> x = RandomActivations(kTokens, columns, 26);
    for (int64_t i = 0; i < columns; ++i) x[i] *= 100;  // far into both tails of the activation
    for (Activation activation : kAllActivations)
      for (const float* some_bias : {static_cast<const float*>(nullptr), bias.data()})
        ExpectTablesAgree(NameOf(type), [&](const KernelTable& table) {
          return Multiply(table, table.pack({.parts = views, .interleave = true}), x.data(), kTokens,
                          {.epilogue = Epilogue::kGate, .activation = activation, .bias = some_bias});
        });
  }
}

// Activations too small for their scales to be normal numbers.
TEST(MatMulBytes, TinyActivations) {
  for (DType type : kAllTypes)
    for (float size : {1e-42f, 1e-37f, 1e-33f, 1e-28f, 1e-24f})
      ExpectTablesAgree(NameOf(type), [&](const KernelTable& table) {
        Case c = MakeCase(table, type);
        for (float& x : c.x) x *= size;
        return Multiply(table, c.matrix, c.x.data(), kTokens);
      });
}

// Many tokens take several passes over the panels.
TEST(MatMulBytes, SeveralPasses) {
  constexpr int64_t kWide = 8192, kMany = 160, kFew = 40;
  for (const KernelTable* table : ProductTables())
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
  for (const KernelTable* table : ProductTables())
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
        const Range groups = PartOf(NumPrepareGroups(kTokens), thread, 2);
        table->prepare({.kind = c.matrix.activation,
                        .x = &c.x[groups.first * kPrepareTokens * columns],
                        .x_stride = columns,
                        .num_tokens = kTokens,
                        .columns = columns,
                        .out = activations.data(),
                        .groups = groups});
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

// Pieces of packing, in any order, are the whole.
TEST(PackBytes, ByPiecesInAnyOrder) {
  const auto backwards = [](int64_t count, absl::FunctionRef<void(int64_t)> body) {
    for (int64_t piece = count - 1; piece >= 0; --piece) body(piece);
  };
  const PackRequest::ForPieces for_pieces = backwards;
  for (DType type : kAllTypes)
    for (const bool interleave : {false, true}) {
      const std::vector<uint8_t> first = RandomWeights(type, 200, 512, 61),
                                 second = RandomWeights(type, 200, 512, 62);
      const TensorView views[] = {ViewOf(type, first, 200, 512), ViewOf(type, second, 200, 512)};
      for (const KernelTable* table : ProductTables()) {
        const PackedMatrix alone = table->pack({.parts = views, .interleave = interleave});
        const PackedMatrix pieces =
            table->pack({.parts = views, .interleave = interleave, .for_pieces = &for_pieces});
        ASSERT_EQ(alone.data.bytes(), pieces.data.bytes());
        EXPECT_EQ(std::memcmp(alone.data.data(), pieces.data.data(), alone.data.bytes()), 0) << NameOf(type);
      }
    }
}

}  // namespace
}  // namespace ropeway::kernels
