// Products for few tokens whose stages come by bulk copies: the bytes of those by cp.async.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/stream_matmul.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {
namespace {

struct Case {
  int64_t rows = 16, columns = 16;
  Element out = Element::kF32;
  int processors = 4;
};

class StreamBulkTest : public DeviceTest, public testing::WithParamInterface<Element> {
 protected:
  StreamBulkTest() : DeviceTest(TestDevice::kWithWarpgroups) {}

  void ExpectSameBytes(const Case& c, const std::vector<int>& counts) {
    constexpr int64_t kGap = 5;  // of each row of y
    const int most = *std::max_element(counts.begin(), counts.end());
    const int64_t stride = c.rows + kGap, bytes = most * stride * BytesOf(c.out);
    uint8_t* y = Allocate<uint8_t>(bytes);
    MatMulArgs args = {.weights = {DenseType(GetParam()), c.rows, c.columns, Elements(c.rows * c.columns, 1)},
                       .element = GetParam(),
                       .out = c.out,
                       .processors = c.processors,
                       .x = Elements(most * c.columns, 2),
                       .y = y,
                       .y_stride = stride};
    for (const int tokens : counts) {
      args.num_tokens = tokens;
      std::vector<uint8_t> got[2];
      for (const bool bulk : {false, true}) {
        args.bulk_copies = bulk;
        EXPECT_EQ(TakesBulkCopies(args), bulk);
        Write(std::vector<uint8_t>(bytes, 0x3C), y);
        Check(DenseMatMul(args, stream()));
        got[bulk] = Download(y, bytes);
      }
      EXPECT_TRUE(got[0] == got[1]) << "T " << tokens << " M " << c.rows << " K " << c.columns
                                    << " processors " << c.processors;
    }
  }
  uint8_t* Elements(int64_t count, uint32_t seed) {
    return Upload(Encode(GetParam(), RandomValues(GetParam(), count, seed)));
  }
};

// Part of a stage, part of a tile, one tile for two warps, and more of both.
TEST_P(StreamBulkTest, AnyShapeHasTheBytesOfCpAsync) {
  for (const Element out : {Element::kF32, GetParam()}) {
    ExpectSameBytes({.rows = 1, .columns = 16, .out = out}, {1, 16});
    ExpectSameBytes({.rows = 19, .columns = 48, .out = out}, {5});
    ExpectSameBytes({.rows = 33, .columns = 1040, .out = out}, {1, 2, 8, 9});
    ExpectSameBytes({.rows = 48, .columns = 576, .out = out}, {3, 16});
  }
}

// Every round of the ring, from the first stages on, over the ends of jobs; warps that have no job, one or several, beside
// one that has.
TEST_P(StreamBulkTest, TheRingGoesOnFromJobToJob) {
  for (const int processors : {1, 2, 7, 132})
    ExpectSameBytes({.rows = 170, .columns = 272, .processors = processors}, {1, 4, 8, 12});
  ExpectSameBytes({.rows = 40, .columns = 4096 + 256, .processors = 1}, {1, 16});
}

// The second product's tokens are what the first one gives, and so are its weights where they are fresh.
TEST_P(StreamBulkTest, WhatTheKernelInFrontWritesIsAwaited) {
  constexpr int64_t kTokens = 16, kColumns = 256;
  const uint8_t* const first = Elements(kColumns * kColumns, 3);
  const uint8_t* const x = Elements(kTokens * kColumns, 4);
  for (const bool fresh : {false, true}) {
    std::vector<uint8_t> got[2];
    for (const bool bulk : {false, true}) {
      const auto multiply = [&](const void* weights, int64_t rows, const void* tokens, void* y,
                                bool is_fresh) {
        Check(DenseMatMul({.weights = {DenseType(GetParam()), rows, kColumns, weights},
                           .element = GetParam(),
                           .out = GetParam(),
                           .num_tokens = kTokens,
                           .processors = 2,
                           .x = tokens,
                           .y = y,
                           .y_stride = rows,
                           .fresh_weights = is_fresh,
                           .bulk_copies = bulk},
                          stream()));
      };
      uint8_t* between = Elements(kTokens * kColumns, 5);
      uint8_t* y = Allocate<uint8_t>(kTokens * kTokens * 2);
      multiply(first, kColumns, x, between, false);
      multiply(fresh ? between : first, kTokens, between, y, fresh);
      got[bulk] = Download(y, kTokens * kTokens * 2);
    }
    EXPECT_TRUE(got[0] == got[1]) << fresh;
  }
}

// Warps of a block with slots of several experts, whose matrices lie apart.
TEST_P(StreamBulkTest, ExpertsHaveTheBytesOfCpAsync) {
  constexpr int kRows = 50, kColumns = 304, kPerToken = 2;
  const std::vector<int> counts = {0, 3, 16, 8, 0, 1, 20};
  const int num_slots = 48;
  std::vector<const void*> matrices;
  for (size_t e = 0; e < counts.size(); ++e) matrices.push_back(Elements(kRows * kColumns, 10 + e));
  std::vector<int32_t> choices(num_slots);
  for (int i = 0; i < num_slots; ++i) choices[i] = (i * 29 + 7) % num_slots;
  for (const int tile_slots : {kFewExpertSlots, kSomeExpertSlots}) {
    std::vector<ExpertTile> tiles;
    int slot = 0;
    for (int e = 0; e < static_cast<int>(counts.size()); ++e)
      for (int left = counts[e]; left > 0; left -= tile_slots) {
        const int here = std::min(left, tile_slots);
        tiles.push_back({.expert = e, .first_slot = slot, .num_slots = here});
        slot += here;
      }
    ASSERT_EQ(slot, num_slots);
    uint8_t* y = Allocate<uint8_t>(num_slots * kRows * 2);
    ExpertMatMulArgs args = {
        .weights = {DenseType(GetParam()), kRows, kColumns, nullptr},
        .matrices = Upload(matrices),
        .element = GetParam(),
        .num_experts = static_cast<int>(counts.size()),
        .num_slots = num_slots,
        .scales = true,
        .slots = {.tile_slots = tile_slots,
                  .weights = Upload(RandomValues(Element::kF32, num_slots, 6)),
                  .slot_choices = Upload(choices),
                  .tiles = Upload(tiles),
                  .num_tiles = Upload(std::vector<int32_t>{static_cast<int32_t>(tiles.size())})},
        .x = Elements(num_slots * kColumns, 7),
        .y = y,
        .y_stride = kRows};
    for (const int per_token : {0, kPerToken})
      for (const int processors : {1, 5}) {
        args.per_token = per_token;
        args.processors = processors;
        if (processors > 1)  // or the gate behind them
          args.gate =
              GateArgs{.element = GetParam(), .num_tokens = num_slots, .columns = kRows / 2, .out = y};
        else
          args.gate.reset();
        std::vector<uint8_t> got[2];
        for (const bool bulk : {false, true}) {
          args.bulk_copies = bulk;
          Write(std::vector<uint8_t>(num_slots * kRows * 2, 0x3C), y);
          Check(ExpertMatMulByStreams(args, stream()));
          got[bulk] = Download(y, num_slots * kRows * 2);
        }
        EXPECT_TRUE(got[0] == got[1]) << tile_slots << " slots, " << per_token << ' ' << processors;
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, StreamBulkTest, testing::Values(Element::kF16, Element::kBF16),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

TEST(TakesBulkCopiesTest, WhereTheDeviceHasThemAndRowsAreWholeSteps) {
  MatMulArgs product = {.weights = {DType::kBF16, 40, 48, nullptr}, .num_tokens = 16};
  EXPECT_FALSE(TakesBulkCopies(product));
  product.bulk_copies = true;
  EXPECT_TRUE(TakesBulkCopies(product));
  product.num_tokens = 17;
  EXPECT_FALSE(TakesBulkCopies(product));
  product.num_tokens = 1;
  product.weights.columns = 56;
  EXPECT_FALSE(TakesBulkCopies(product));
  EXPECT_TRUE(HasBulkCopies({.name = "", .major = 9, .minor = 0}));
  EXPECT_FALSE(HasBulkCopies({.name = "", .major = 8, .minor = 9}));
  EXPECT_FALSE(HasBulkCopies({.name = "", .major = 12, .minor = 0}));
}

}  // namespace
}  // namespace ropeway::cuda
