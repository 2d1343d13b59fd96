// Layers of experts on a device: choices held against engine/model/expert_routing, products and sums against
// float64, and each token's bytes against those it has alone.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "engine/model/expert_routing.h"
#include "engine/tensor/dequantize.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {
namespace {

constexpr int kTileSlots[] = {kFewExpertSlots, kSomeExpertSlots, kManyExpertSlots};

class ExpertsTest : public DeviceTest {
 protected:
  ExpertSlots AllocateSlots(int64_t slots, int64_t experts, int tile_slots) {
    return {.tile_slots = tile_slots,
            .experts = Allocate<int32_t>(slots),
            .weights = Allocate<float>(slots),
            .slots = Allocate<int32_t>(slots),
            .slot_choices = Allocate<int32_t>(slots),
            .slot_experts = Allocate<int32_t>(slots),
            .tiles = Allocate<ExpertTile>(MaxExpertTiles(slots, experts, tile_slots)),
            .num_tiles = Allocate<int32_t>(1)};
  }

  static RouteArgs ArgsOf(const ExpertsSpec& spec, int num_tokens) {
    return {.score = spec.score == RouterScore::kSoftmax         ? ExpertScore::kSoftmax
                     : spec.score == RouterScore::kSoftmaxChosen ? ExpertScore::kSoftmaxChosen
                                                                 : ExpertScore::kSigmoid,
            .normalised = spec.normalised,
            .groups = spec.groups,
            .chosen_groups = spec.chosen_groups,
            .group_best = spec.group_best,
            .least_sum = spec.least_sum,
            .scale = spec.scale,
            .num_experts = spec.count,
            .per_token = spec.per_token,
            .num_tokens = num_tokens};
  }

  // Routes by z [T, X + 1], of which the last column is not looked at.
  ExpertSlots RouteBy(const ExpertsSpec& spec, const std::vector<float>& z,
                      const std::vector<float>& correction, int tile_slots = kFewExpertSlots) {
    const int tokens = static_cast<int>(z.size()) / (spec.count + 1);
    RouteArgs args = ArgsOf(spec, tokens);
    args.z = Upload(z);
    args.z_stride = spec.count + 1;
    args.correction = Upload(correction);
    args.slots = AllocateSlots(int64_t{tokens} * spec.per_token, spec.count, tile_slots);
    Check(Route(args, stream()));
    return args.slots;
  }

  // Every slot has one choice, an expert's slots lie in tiles side by side, and every choice knows its slot.
  void ExpectSlotsHoldAllChoices(const ExpertSlots& slots, int64_t count) {
    const auto experts = Download(slots.experts, count), of_choice = Download(slots.slots, count),
               choices = Download(slots.slot_choices, count), of_slot = Download(slots.slot_experts, count);
    const int32_t num_tiles = Download(slots.num_tiles, 1)[0];
    const std::vector<ExpertTile> tiles = Download(slots.tiles, num_tiles);
    int32_t slot = 0;
    for (const ExpertTile& tile : tiles) {
      EXPECT_EQ(tile.first_slot, slot);
      ASSERT_GE(tile.num_slots, 1);
      ASSERT_LE(tile.num_slots, slots.tile_slots);
      for (; slot < tile.first_slot + tile.num_slots; ++slot) {
        EXPECT_EQ(of_slot[slot], tile.expert);
        EXPECT_EQ(experts[choices[slot]], tile.expert);
        EXPECT_EQ(of_choice[choices[slot]], slot);
      }
    }
    EXPECT_EQ(slot, count);
  }

  void ExpectChoices(const ExpertsSpec& spec, int tokens, uint32_t seed) {
    SCOPED_TRACE(std::to_string(spec.count) + " experts, " + std::to_string(tokens) + " tokens, score " +
                 std::to_string(static_cast<int>(spec.score)));
    std::vector<float> z = RandomValues(Element::kF32, size_t(tokens) * (spec.count + 1), seed, 2);
    if (spec.count > 2) z[2] = z[1];  // equally good: the lower index first
    const std::vector<float> correction =
        spec.correction ? RandomValues(Element::kF32, spec.count, seed + 1) : std::vector<float>();
    const ExpertSlots slots = RouteBy(spec, z, correction);
    const int64_t count = int64_t{tokens} * spec.per_token;
    const auto experts = Download(slots.experts, count);
    const auto weights = Download(slots.weights, count);
    std::vector<ExpertChoice> expected(spec.per_token);
    for (int t = 0; t < tokens; ++t) {
      RouteToken(spec, {&z[t * (spec.count + 1)], static_cast<size_t>(spec.count)}, correction,
                 absl::MakeSpan(expected));
      for (int k = 0; k < spec.per_token; ++k) {
        EXPECT_EQ(experts[t * spec.per_token + k], expected[k].expert) << "token " << t << ", choice " << k;
        EXPECT_NEAR(weights[t * spec.per_token + k], expected[k].weight,
                    1e-6 + 1e-5 * std::fabs(expected[k].weight));
      }
    }
    ExpectSlotsHoldAllChoices(slots, count);
  }
};

TEST_F(ExpertsTest, ChoosesAsTheCpuDoes) {
  ExpectChoices({.count = 1, .per_token = 1}, 3, 1);
  ExpectChoices({.count = 8, .per_token = 2, .score = RouterScore::kSoftmaxChosen}, 37, 2);
  ExpectChoices({.count = 60, .per_token = 4}, 5, 3);
  ExpectChoices({.count = 128, .per_token = 8, .normalised = true}, 21, 4);
  ExpectChoices({.count = 16, .per_token = 1, .score = RouterScore::kSigmoid, .scale = 0.5f}, 9, 5);
  ExpectChoices({.count = 64,
                 .per_token = 6,
                 .score = RouterScore::kSigmoid,
                 .correction = true,
                 .groups = 8,
                 .chosen_groups = 3,
                 .normalised = true,
                 .least_sum = 1e-20f,
                 .scale = 2.5f},
                11, 6);
  ExpectChoices({.count = 24, .per_token = 3, .groups = 4, .chosen_groups = 2, .group_best = 1}, 6, 7);
  ExpectChoices({.count = 1024, .per_token = 64}, 2, 8);
}

TEST_F(ExpertsTest, TilesHaveAsManySlotsAsTheyMay) {
  const ExpertsSpec spec{.count = 3, .per_token = 2};
  for (const int tile_slots : kTileSlots) {
    SCOPED_TRACE(tile_slots);
    const ExpertSlots slots = RouteBy(spec, RandomValues(Element::kF32, 150 * 4, 20), {}, tile_slots);
    ExpectSlotsHoldAllChoices(slots, 300);
    const int32_t num_tiles = Download(slots.num_tiles, 1)[0];
    EXPECT_LE(num_tiles, MaxExpertTiles(300, 3, tile_slots));
    EXPECT_LT(num_tiles, 300 / tile_slots + 3);
  }
}

TEST(ExpertTileSlotsTest, GrowWithWhatAnExpertGets) {
  EXPECT_EQ(ExpertTileSlots(8, 128), kFewExpertSlots);
  EXPECT_EQ(ExpertTileSlots(512, 128), kFewExpertSlots);
  EXPECT_EQ(ExpertTileSlots(513, 128), kSomeExpertSlots);
  EXPECT_EQ(ExpertTileSlots(1024, 128), kSomeExpertSlots);
  EXPECT_EQ(ExpertTileSlots(1025, 128), kManyExpertSlots);
  EXPECT_EQ(ExpertTileSlots(int64_t{65536} * 64, 1024), kManyExpertSlots);
}

// Numbers that are none are chosen last, and never twice.
TEST_F(ExpertsTest, ChoosesAmongNumbersThatAreNone) {
  const ExpertsSpec spec{.count = 6, .per_token = 4};
  const float nan = std::nanf("");
  const ExpertSlots slots =
      RouteBy(spec, {nan, 1, nan, 2, -INFINITY, nan, 0, nan, nan, nan, nan, nan, nan, 0}, {});
  EXPECT_EQ(Download(slots.experts, 8), (std::vector<int32_t>{3, 1, 0, 2, 0, 1, 2, 3}));
  ExpectSlotsHoldAllChoices(slots, 8);
}

// One matrix of each expert, as a file has it and as the device has it.
struct Matrices {
  DeviceMatrix shape;
  std::vector<std::vector<float>> values;  // [X][rows, columns], rounded to the type of x
  const void* const* data = nullptr;
};

class ExpertMatMulTest : public ExpertsTest {
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

  // y [T K, rows].
  std::vector<float> Multiply(const Matrices& matrices, Element element, const Product& product,
                              const std::vector<float>& x) {
    const int64_t count = int64_t{product.tokens} * product.spec.per_token, rows = matrices.shape.rows;
    const int64_t stride = rows + kBehind;
    uint8_t* y = Upload(Encode(element, std::vector<float>(count * stride, kUntouched)));
    Check(ExpertMatMul({.weights = matrices.shape,
                        .matrices = matrices.data,
                        .element = element,
                        .num_experts = product.spec.count,
                        .num_slots = static_cast<int>(product.num_slots > 0 ? product.num_slots : count),
                        .per_token = product.of_tokens ? product.spec.per_token : 0,
                        .scales = product.scales,
                        .processors = 1,  // so that blocks have several jobs
                        .slots = product.slots,
                        .x = Upload(Encode(element, x)),
                        .y = y,
                        .y_stride = stride},
                       stream()));
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

TEST_F(ExpertsTest, CombinesChoicesAndTheSharedExpert) {
  constexpr int kTokens = 5, kShared = 3;  // z of the shared expert lies behind those of 3
  const ExpertsSpec spec{.count = kShared, .per_token = 2};
  const std::vector<float> z = RandomValues(Element::kF32, kTokens * 4, 13);
  const ExpertSlots slots = RouteBy(spec, z, {});
  const auto experts = Download(slots.experts, kTokens * 2), of_choice = Download(slots.slots, kTokens * 2);
  const auto weights = Download(slots.weights, kTokens * 2);
  for (const Element element : kElements) {
    for (const int columns : {7, 264}) {
      const std::vector<float> results = RandomValues(element, kTokens * 2 * columns, 14),
                               shared = RandomValues(element, kTokens * columns, 15);
      std::vector<std::vector<float>> biases;
      std::vector<const float*> pointers;
      for (int e = 0; e < spec.count; ++e) {
        biases.push_back(RandomValues(Element::kF32, columns, 16 + e));
        pointers.push_back(Upload(biases.back()));
      }
      uint8_t* out = Upload(Encode(element, shared));
      Check(Combine({.element = element,
                     .num_tokens = kTokens,
                     .per_token = spec.per_token,
                     .columns = columns,
                     .slots = slots,
                     .results = Upload(Encode(element, results)),
                     .biases = Upload(pointers),
                     .has_shared = true,
                     .shared_z = Upload(z) + kShared,
                     .z_stride = 4,
                     .out = out},
                    stream()));
      const auto got = Decode(element, Download(out, shared.size() * BytesOf(element)));
      for (int t = 0; t < kTokens; ++t)
        for (int c = 0; c < columns; ++c) {
          double sum = shared[t * columns + c] / (1 + std::exp(-double{z[t * 4 + kShared]}));
          for (int i = 2 * t; i < 2 * t + 2; ++i)
            sum += double{weights[i]} * (results[of_choice[i] * columns + c] + biases[experts[i]][c]);
          EXPECT_NEAR(got[t * columns + c], sum, 1e-5 + 2 * RoundingOf(element) * std::fabs(sum));
        }
    }
  }
}

}  // namespace
}  // namespace ropeway::cuda
