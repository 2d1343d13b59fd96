// Products of experts on a device, and the gate that ends them: against float64, against products of one matrix, and
// against the gate's own kernel, byte for byte; and each token's bytes against those it has alone.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "engine/tensor/dequantize.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/element_values.h"
#include "tests/kernels/cuda/expert_slots.h"

namespace ropeway::cuda {
namespace {

// One matrix of each expert, as a file has it and as the device has it.
struct Matrices {
  DeviceMatrix shape;
  std::vector<std::vector<float>> values;  // [X][rows, columns], rounded to the type of x
  const void* const* data = nullptr;
};

class ExpertMatMulTest : public ExpertSlotsTest {
 protected:
  // Columns of y that other products fill, and what they hold.
  static constexpr int64_t kBehind = 3;
  static constexpr float kUntouched = 7;

  Matrices Make(DType file_type, Element element, int experts, int64_t rows, int64_t columns) {
    Matrices matrices;
    const DType type = DeviceType(file_type, element);
    matrices.shape = {.type = type, .rows = rows, .columns = columns};
    std::vector<const void*> data;
    for (int e = 0; e < experts; ++e) {
      std::vector<float> values(rows * columns);
      std::vector<uint8_t> file, device(DeviceMatrixBytes(type, rows, columns));
      if (IsPacked(file_type)) {
        file = RandomPacked(file_type, rows, columns, 100 + e);
        for (int64_t r = 0; r < rows; ++r)
          DequantizeRow(file_type, &file[r * RowBytes(file_type, columns)], columns, &values[r * columns]);
        values = Decode(element, Encode(element, values));
      } else {
        values = RandomValues(element, rows * columns, 100 + e);
        file = Encode(Element::kF32, values);
      }
      PackRows({.type = file_type, .shape = {rows, columns}, .data = file.data()}, type, rows, 0,
               device.data());
      data.push_back(Upload(device));
      matrices.values.push_back(std::move(values));
    }
    matrices.data = Upload(data);
    return matrices;
  }

  struct Product {
    const ExpertsSpec& spec;
    const ExpertSlots& slots;
    int tokens;
    bool of_tokens, scales;
    int64_t num_slots = 0;  // that there may be; 0: those of the tokens
  };

  ExpertMatMulArgs ArgsOf(const Matrices& matrices, Element element, const Product& product,
                          const std::vector<float>& x) {
    const int64_t count = int64_t{product.tokens} * product.spec.per_token;
    return {.weights = matrices.shape,
            .matrices = matrices.data,
            .element = element,
            .num_experts = product.spec.count,
            .num_slots = static_cast<int>(product.num_slots > 0 ? product.num_slots : count),
            .per_token = product.of_tokens ? product.spec.per_token : 0,
            .scales = product.scales,
            .processors = 1,  // so that blocks have several jobs
            .slots = product.slots,
            .x = Upload(Encode(element, x))};
  }

  // y [T K, rows].
  std::vector<float> Multiply(const Matrices& matrices, Element element, const Product& product,
                              const std::vector<float>& x) {
    const int64_t count = int64_t{product.tokens} * product.spec.per_token, rows = matrices.shape.rows;
    const int64_t stride = rows + kBehind;
    uint8_t* y = Upload(Encode(element, std::vector<float>(count * stride, kUntouched)));
    ExpertMatMulArgs args = ArgsOf(matrices, element, product, x);
    args.y = y;
    args.y_stride = stride;
    Check(ExpertMatMul(args, stream()));
    const std::vector<float> all = Decode(element, Download(y, count * stride * BytesOf(element)));
    std::vector<float> own;
    for (int64_t slot = 0; slot < count; ++slot) {
      own.insert(own.end(), &all[slot * stride], &all[slot * stride + rows]);
      for (int64_t i = rows; i < stride; ++i) EXPECT_EQ(all[slot * stride + i], kUntouched);
    }
    return own;
  }

  // Tolerance: the float32 sums of K products, by the norms of both factors, and two roundings.
  void Run(DType type, Element element, int64_t rows, int64_t columns, int tile_slots) {
    SCOPED_TRACE(std::string(NameOf(element)) + ", type " + std::to_string(static_cast<int>(type)) + ", M " +
                 std::to_string(rows) + ", K " + std::to_string(columns) + ", tiles of " +
                 std::to_string(tile_slots));
    constexpr int kTokens = 11;
    const ExpertsSpec spec{.count = 3, .per_token = 2};
    const ExpertSlots slots = RouteBy(spec, RandomValues(Element::kF32, kTokens * 4, 9), {}, tile_slots);
    const Matrices matrices = Make(type, element, spec.count, rows, columns);
    const auto experts = Download(slots.experts, kTokens * 2), of_choice = Download(slots.slots, kTokens * 2);
    const auto weights = Download(slots.weights, kTokens * 2);
    for (const bool of_tokens : {true, false}) {
      const std::vector<float> x = RandomValues(element, (of_tokens ? kTokens : 2 * kTokens) * columns, 10);
      const Product product = {spec, slots, kTokens, of_tokens, /*scales=*/of_tokens};
      const std::vector<float> y = Multiply(matrices, element, product, x);
      for (int choice = 0; choice < 2 * kTokens; ++choice) {
        const int64_t from = of_tokens ? choice / 2 : of_choice[choice];
        for (int64_t row = 0; row < rows; ++row) {
          double sum = 0, norm = 0;
          for (int64_t i = 0; i < columns; ++i) {
            const double one =
                double{matrices.values[experts[choice]][row * columns + i]} * x[from * columns + i];
            sum += one;
            norm += std::fabs(one);
          }
          const double weight = of_tokens ? weights[choice] : 1;
          ASSERT_NEAR(y[of_choice[choice] * rows + row], sum * weight,
                      0x1p-24 * 16 * norm + 2 * RoundingOf(element) * std::fabs(sum * weight))
              << "choice " << choice << ", row " << row;
        }
      }
    }
  }
};

TEST_F(ExpertMatMulTest, MultipliesEverySlotByItsExpert) {
  for (const int tile_slots : kTileSlots) {
    for (const Element element : kElements) {
      for (const int64_t columns : {1, 33, 96, 264}) Run(DType::kF32, element, 6, columns, tile_slots);
      for (const DType type : kPackedTypes) Run(type, element, 6, 3 * InfoOf(type).block_columns, tile_slots);
    }
    Run(DType::kF32, Element::kBF16, 141, 72, tile_slots);
    Run(DType::kQ8_0, Element::kF16, 141, 96, tile_slots);
  }
}

// More tiles than a grid has rows, of which there are few after all.
TEST_F(ExpertMatMulTest, TakesAsManySlotsAsAStepMayHave) {
  const ExpertsSpec spec{.count = 64, .per_token = 8};
  const ExpertSlots slots = RouteBy(spec, RandomValues(Element::kF32, 2 * 65, 9), {});
  for (const Element element : kElements) {
    const std::vector<float> x = RandomValues(element, 2 * 32, 10);
    for (const DType type : {DType::kF32, DType::kQ8_0}) {
      const Matrices matrices = Make(type, element, spec.count, 3, 32);
      Product product = {spec, slots, 2, true, false};
      const std::vector<float> y = Multiply(matrices, element, product, x);
      product.num_slots = int64_t{65536} * 8;
      ASSERT_GT(MaxExpertTiles(product.num_slots, spec.count, slots.tile_slots), 65535);
      EXPECT_EQ(Multiply(matrices, element, product, x), y);
    }
  }
}

// What a token gets does not depend on the tokens beside it, nor on how many slots a tile has.
TEST_F(ExpertMatMulTest, GivesATokenTheBytesItHasAlone) {
  constexpr int kTokens = 120, kRows = 6;
  const ExpertsSpec spec{.count = 3, .per_token = 2};
  const std::vector<float> z = RandomValues(Element::kF32, kTokens * 4, 11);
  for (const Element element : kElements) {
    for (const int columns : {72, 75}) {
      const std::vector<float> x = RandomValues(element, kTokens * columns, 12);
      const Matrices matrices = Make(DType::kF32, element, spec.count, kRows, columns);
      for (const int tile_slots : kTileSlots) {
        SCOPED_TRACE(std::string(NameOf(element)) + ", tiles of " + std::to_string(tile_slots));
        const ExpertSlots together = RouteBy(spec, z, {}, tile_slots);
        const auto all = Multiply(matrices, element, {spec, together, kTokens, true, true}, x);
        const auto of_choice = Download(together.slots, kTokens * 2);
        for (const int token : {0, 17, 119}) {
          const ExpertSlots alone = RouteBy(spec, {&z[token * 4], &z[token * 4 + 4]}, {});
          const auto y = Multiply(matrices, element, {spec, alone, 1, true, true},
                                  {&x[token * columns], &x[(token + 1) * columns]});
          const auto own = Download(alone.slots, 2);
          for (int k = 0; k < 2; ++k)
            for (int row = 0; row < kRows; ++row)
              EXPECT_EQ(y[own[k] * kRows + row], all[of_choice[token * 2 + k] * kRows + row]);
        }
      }
    }
  }
}

class ExpertTypesTest : public ExpertMatMulTest, public testing::WithParamInterface<DType> {};

// By the rule of sums: dense or packed, and however many slots a tile has, the products are those of a dense matrix.
TEST_P(ExpertTypesTest, ProductsAreThoseOfTheUnpackedMatrices) {
  constexpr int kTokens = 75;
  const ExpertsSpec spec{.count = 3, .per_token = 2};
  // Several slabs and stages, the last a part of one and where the first of the next job goes; several tiles of 128 rows
  // where rows are cheap.
  const bool is_packed = IsPacked(GetParam());
  const int64_t block = is_packed ? InfoOf(GetParam()).block_columns : 8;
  const int64_t columns = (608 + block - 1) / block * block, rows = is_packed ? 21 : 150;
  const std::vector<float> z = RandomValues(Element::kF32, kTokens * 4, 21);
  for (const Element element : {Element::kF16, Element::kBF16}) {
    const std::vector<float> x = RandomValues(element, 2 * kTokens * columns, 22);
    const Matrices matrices = Make(GetParam(), element, spec.count, rows, columns);
    for (const int tile_slots : kTileSlots) {
      SCOPED_TRACE(std::string(NameOf(element)) + ", tiles of " + std::to_string(tile_slots));
      const ExpertSlots slots = RouteBy(spec, z, {}, tile_slots);
      const std::vector<int32_t> of_slot = Download(slots.slot_experts, 2 * kTokens);
      const std::vector<float> y = Multiply(matrices, element, {spec, slots, kTokens, false, false}, x);
      for (int expert = 0, first = 0; expert < spec.count; ++expert) {
        const auto count = static_cast<int>(std::count(of_slot.begin(), of_slot.end(), expert));
        ASSERT_GT(count, 32);
        const std::vector<float> own(&x[first * columns], &x[(first + count) * columns]);
        uint8_t* expected = Allocate<uint8_t>(count * rows * BytesOf(element));
        Check(DenseMatMul(
            {.weights = {DenseType(element), rows, columns, Upload(Encode(element, matrices.values[expert]))},
             .element = element,
             .out = element,
             .num_tokens = count,
             .x = Upload(Encode(element, own)),
             .y = expected,
             .y_stride = rows},
            stream()));
        EXPECT_EQ(std::vector<float>(&y[first * rows], &y[(first + count) * rows]),
                  Decode(element, Download(expected, count * rows * BytesOf(element))))
            << "expert " << expert;
        first += count;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, ExpertTypesTest,
                         testing::Values(DType::kF32, DType::kQ4_0, DType::kQ4_1, DType::kQ8_0, DType::kQ4_K,
                                         DType::kQ6_K, DType::kMXFP4),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

// Others than those of x have no kernel.
TEST_F(ExpertMatMulTest, RefusesDenseWeightsOfAnotherType) {
  const ExpertMatMulArgs args = {.weights = {DType::kF32, 16, 16, nullptr}, .element = Element::kBF16};
  EXPECT_NE(ExpertMatMul(args, stream()), 0);
}

// A product with the gate behind it.
struct GateCase {
  DType type = DType::kF32;
  int64_t columns = 72;  // K
  int ffn_size = 75;     // F
  Activation activation = Activation::kSilu;
  bool gated = true, biased = false, scales = false;
  int tokens = 0;  // 0: as few as say something
};
std::ostream& operator<<(std::ostream& out, const GateCase& c) {
  return out << (c.gated ? "" : "ungated ") << "activation " << static_cast<int>(c.activation) << ", type "
             << NameOf(c.type) << ", K " << c.columns << ", F " << c.ffn_size << (c.biased ? ", biased" : "")
             << (c.scales ? ", scaled" : "");
}

class ExpertGateTest : public ExpertMatMulTest {
 protected:
  GateArgs GateOf(const GateCase& c, const ExpertMatMulArgs& args, int64_t bytes) {
    std::vector<const float*> biases;
    for (int e = 0; e < args.num_experts; ++e)
      biases.push_back(Upload(RandomValues(Element::kF32, args.weights.rows, 31 + e)));
    return {.activation = c.activation,
            .gated = c.gated,
            .element = args.element,
            .num_tokens = args.num_slots,
            .columns = c.ffn_size,
            .expert_biases = c.biased ? Upload(biases) : nullptr,
            .experts = c.biased ? args.slots.slot_experts : nullptr,
            .numbers = {.p = 0.8f, .n = 0.7f, .l = 0.5f, .m = -1e-6f, .s = 1.702f, .c = 2},
            .out = Upload(std::vector<uint8_t>(bytes, 0x3C))};
  }

  // One kernel has the bytes of two, by way of no y.
  void ExpectSameBytes(const GateCase& c, Element element, int tile_slots) {
    SCOPED_TRACE(testing::Message() << NameOf(element) << ", tiles of " << tile_slots << ", " << c);
    const ExpertsSpec spec{.count = 3, .per_token = 2};
    const int tokens = c.tokens > 0 ? c.tokens : tile_slots > kSomeExpertSlots ? 110 : 25;
    const int64_t rows = (c.gated ? 2 : 1) * c.ffn_size;
    const int64_t y_bytes = 2 * tokens * rows * BytesOf(element);
    const int64_t bytes = int64_t{2} * tokens * c.ffn_size * BytesOf(element);
    const ExpertSlots slots = RouteBy(spec, RandomValues(Element::kF32, tokens * 4, 23), {}, tile_slots);
    const Matrices matrices = Make(c.type, element, spec.count, rows, c.columns);
    ExpertMatMulArgs args = ArgsOf(matrices, element, {spec, slots, tokens, /*of_tokens=*/true, c.scales},
                                   RandomValues(element, tokens * c.columns, 24));
    const GateArgs gate = GateOf(c, args, bytes);
    ExpertMatMulArgs apart = args;
    GateArgs alone = gate;
    apart.y = Allocate<uint8_t>(y_bytes);
    apart.y_stride = rows;
    alone.gate_up = apart.y;
    alone.out = Allocate<uint8_t>(bytes);
    Check(ExpertMatMul(apart, stream()));
    Check(Gate(alone, stream()));
    args.gate = gate;
    Check(ExpertMatMul(args, stream()));
    const std::vector<uint8_t> expected = Download(static_cast<uint8_t*>(alone.out), bytes),
                               got = Download(static_cast<uint8_t*>(gate.out), bytes);
    const auto [one, other] = std::mismatch(got.begin(), got.end(), expected.begin());
    EXPECT_TRUE(one == got.end()) << "byte " << one - got.begin() << " of " << bytes << " is " << int{*one}
                                  << " instead of " << int{*other};
  }
};

TEST_F(ExpertGateTest, EndsProductsOfAllTypesWithTheSameBytes) {
  for (const int tile_slots : kTileSlots) {
    for (const Element element : kElements) {
      if (element == Element::kF32 && tile_slots == kSomeExpertSlots)
        continue;  // one kernel, eight slots at a time
      ExpectSameBytes({.scales = true, .tokens = tile_slots == kMostExpertSlots ? 250 : 0}, element,
                      tile_slots);
      ExpectSameBytes({.columns = 75, .ffn_size = 13, .biased = true}, element, tile_slots);
      ExpectSameBytes({.ffn_size = 141, .gated = false, .biased = true}, element, tile_slots);
      for (const DType type : kPackedTypes)
        ExpectSameBytes({.type = type,
                         .columns = std::max<int64_t>(InfoOf(type).block_columns, 96),
                         .ffn_size = 21,
                         .biased = element == Element::kBF16,
                         .scales = element == Element::kF16},
                        element, tile_slots);
    }
  }
}

TEST_F(ExpertGateTest, KnowsAllActivations) {
  for (const int tile_slots : {kFewExpertSlots, kMostExpertSlots})
    for (const Element element : kElements)
      for (const bool gated : {true, false})
        for (const Activation activation :
             {Activation::kGeluTanh, Activation::kGeluErf, Activation::kRelu, Activation::kRelu2,
              Activation::kXielu, Activation::kClampedSwiglu}) {
          if (!gated && activation == Activation::kClampedSwiglu) continue;
          ExpectSameBytes({.columns = 16,
                           .ffn_size = 11,
                           .activation = activation,
                           .gated = gated,
                           .biased = activation == Activation::kClampedSwiglu},
                          element, tile_slots);
        }
}

TEST_F(ExpertGateTest, RefusesAGateOfOtherColumns) {
  ExpertMatMulArgs args = {.weights = {DType::kBF16, 16, 16, nullptr}, .element = Element::kBF16};
  args.gate = GateArgs{.columns = 16};
  EXPECT_NE(ExpertMatMul(args, stream()), 0);
  args.gate = GateArgs{.gated = false, .columns = 8};
  EXPECT_NE(ExpertMatMul(args, stream()), 0);
}

}  // namespace
}  // namespace ropeway::cuda
