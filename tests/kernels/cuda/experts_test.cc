// Layers of experts on a device, but their products: choices held against engine/model/expert_routing, sums against
// float64.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "engine/model/expert_routing.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/element_values.h"
#include "tests/kernels/cuda/expert_slots.h"

namespace ropeway::cuda {
namespace {

class ExpertsTest : public ExpertSlotsTest {
 protected:
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
  // More tokens than one block chooses for, and more numbers than it has room for.
  ExpectChoices({.count = 60, .per_token = 4}, 33, 9);
  ExpectChoices({.count = 1024, .per_token = 64}, 6, 10);
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
  EXPECT_EQ(ExpertTileSlots(8, 128, ExpertWeights::kDense), kFewExpertSlots);
  EXPECT_EQ(ExpertTileSlots(256, 128, ExpertWeights::kDense), kFewExpertSlots);
  EXPECT_EQ(ExpertTileSlots(257, 128, ExpertWeights::kDense), kManyExpertSlots);
  EXPECT_EQ(ExpertTileSlots(int64_t{65536} * 64, 1024, ExpertWeights::kDense), kManyExpertSlots);
  EXPECT_EQ(ExpertTileSlots(512, 128, ExpertWeights::kPacked), kFewExpertSlots);
  EXPECT_EQ(ExpertTileSlots(1024, 128, ExpertWeights::kPacked), kSomeExpertSlots);
  EXPECT_EQ(ExpertTileSlots(1025, 128, ExpertWeights::kPacked), kManyExpertSlots);
  EXPECT_EQ(ExpertTileSlots(128 * 128 - 1, 128, ExpertWeights::kPacked), kManyExpertSlots);
  EXPECT_EQ(ExpertTileSlots(128 * 128, 128, ExpertWeights::kPacked), kMostExpertSlots);
  EXPECT_EQ(ExpertTileSlots(512, 128, ExpertWeights::kFp8), kFewExpertSlots);
  EXPECT_EQ(ExpertTileSlots(513, 128, ExpertWeights::kFp8), kSomeExpertSlots);
  EXPECT_EQ(ExpertTileSlots(1024, 128, ExpertWeights::kFp8), kSomeExpertSlots);
  EXPECT_EQ(ExpertTileSlots(1025, 128, ExpertWeights::kFp8), kManyExpertSlots);
  EXPECT_EQ(ExpertTileSlots(8192, 128, ExpertWeights::kFp8), kManyExpertSlots);
  EXPECT_EQ(ExpertTileSlots(8193, 128, ExpertWeights::kFp8), kMostExpertSlots);
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

class CombineTest : public ExpertsTest {
 protected:
  // Added to the residual at once it has the bytes that it gets of `sums`, what the same arguments left behind as out.
  void ExpectSameResidual(CombineArgs args, const void* sums) {
    const size_t count = size_t(args.num_tokens) * args.columns;
    const std::vector<float> before = RandomValues(Element::kF32, count, 17);
    NormArgs add = {.kind = NormKind::kNone,
                    .element = args.element,
                    .num_rows = args.num_tokens,
                    .columns = args.columns,
                    .residual = Upload(before),
                    .branch = sums,
                    .branch_bias = Upload(RandomValues(Element::kF32, args.columns, 18)),
                    .branch_scale = 0.3f};
    args.residual = Upload(before);
    args.branch_bias = add.branch_bias;
    args.branch_scale = add.branch_scale;
    for (int with_bias = 1; with_bias >= 0; --with_bias) {  // one after the other
      Check(Norm(add, stream()));
      Check(Combine(args, stream()));
      EXPECT_EQ(Download(args.residual, count), Download(add.residual, count));
      add.branch_bias = args.branch_bias = nullptr;
    }
  }
};

TEST_F(CombineTest, CombinesChoicesAndTheSharedExpert) {
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
      CombineArgs args = {.element = element,
                          .num_tokens = kTokens,
                          .per_token = spec.per_token,
                          .columns = columns,
                          .slots = slots,
                          .results = Upload(Encode(element, results)),
                          .biases = Upload(pointers),
                          .has_shared = true,
                          .shared_z = Upload(z) + kShared,
                          .z_stride = 4,
                          .out = out};
      Check(Combine(args, stream()));
      args.out = Upload(Encode(element, shared));
      ExpectSameResidual(args, out);
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
