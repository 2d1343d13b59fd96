// The plan divides a step's attention without loss: every chunk that a query needs is in exactly one item,
// and what is split is merged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <ostream>
#include <random>
#include <vector>

#include "engine/kernels/cuda/attention.h"

namespace ropeway::cuda {
namespace {

struct Row {
  int32_t first_position;  // -1: padding
  int32_t tokens;
};

struct Step {
  std::vector<int32_t> row_starts = {0}, positions;

  explicit Step(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      for (int32_t t = 0; t < row.tokens; ++t)
        positions.push_back(row.first_position < 0 ? -1 : row.first_position + t);
      row_starts.push_back(static_cast<int32_t>(positions.size()));
    }
  }
};

AttentionPlan PlanOf(const AttentionShape& shape, const Step& step, int32_t window) {
  AttentionPlan plan;
  PlanAttention(shape, step.row_starts, step.positions, window, plan);
  return plan;
}

// Checks everything that holds for every plan.
class Checker {
 public:
  Checker(const AttentionShape& shape, const Step& step, int32_t window)
      : shape_(shape), step_(step), window_(window), group_(shape.num_heads / shape.num_kv_heads) {}

  void Check(const AttentionPlan& plan) {
    for (const AttentionItem& item : plan.narrow) {
      EXPECT_LE(item.num_pairs, kNarrowPairs);
      CheckItem(item);
    }
    for (const AttentionItem& item : plan.wide) {
      EXPECT_LE(item.num_pairs, WidePairs(shape_));
      CheckItem(item);
    }
    CheckCoverage();
    CheckMerges(plan);
  }

 private:
  int32_t PositionOf(int32_t pair) const { return step_.positions[pair / group_]; }

  void CheckItem(const AttentionItem& item) {
    ASSERT_GT(item.num_pairs, 0);
    const int32_t last_pair = item.first_pair + item.num_pairs - 1;
    ASSERT_GE(item.first_pair / group_, step_.row_starts[item.row]);
    ASSERT_LT(last_pair / group_, step_.row_starts[item.row + 1]);
    if (PositionOf(item.first_pair) < 0) {
      EXPECT_EQ(item.num_keys, 0);
    } else {
      EXPECT_EQ(item.first_position, PositionOf(item.first_pair));
      EXPECT_EQ(item.num_keys, PositionOf(last_pair) + 1);
    }
    EXPECT_LE(item.last_chunk * kChunkTokens, item.num_keys + kChunkTokens - 1);
    for (int32_t i = 0; i < item.num_pairs; ++i) {
      const int32_t pair = item.first_pair + i;
      outputs_[pair] += item.partial < 0;
      for (int32_t chunk = item.first_chunk; chunk < item.last_chunk; ++chunk) {
        EXPECT_TRUE(chunks_.insert({{pair, chunk}, item.partial}).second) << "pair " << pair << " twice";
        if (item.partial >= 0)
          slots_[item.partial + (chunk - item.first_chunk) * item.num_pairs + i].push_back({pair, chunk});
      }
    }
  }

  // A query's chunks are those from its window to its position, and perhaps more.
  void CheckCoverage() {
    const auto num_pairs = static_cast<int32_t>(step_.positions.size()) * group_;
    for (int32_t pair = 0; pair < num_pairs; ++pair) {
      const int32_t position = PositionOf(pair);
      if (position < 0) {
        EXPECT_EQ(outputs_[pair], 1) << "padding must be written";
        continue;
      }
      const int32_t first = window_ > 0 ? std::max(0, position + 1 - window_) : 0;
      for (int32_t chunk = first / kChunkTokens; chunk <= position / kChunkTokens; ++chunk)
        EXPECT_TRUE(chunks_.contains({pair, chunk})) << "pair " << pair << " lacks chunk " << chunk;
    }
  }

  // Partial results lie where their merge finds them, and every pair is written once.
  void CheckMerges(const AttentionPlan& plan) {
    int32_t merged = 0;
    for (const AttentionMerge& merge : plan.merges)
      for (int32_t i = 0; i < merge.num_pairs; ++i) {
        ++outputs_[merge.first_pair + i];
        int32_t last = -1;
        for (int32_t c = 0; c < merge.num_chunks; ++c, ++merged) {
          const std::vector<PairChunk>& found = slots_[merge.first_partial + c * merge.num_pairs + i];
          ASSERT_EQ(found.size(), 1u);
          EXPECT_EQ(found[0].first, merge.first_pair + i);
          EXPECT_GT(found[0].second, last);
          last = found[0].second;
        }
      }
    EXPECT_EQ(merged, plan.num_partials);
    EXPECT_EQ(slots_.size(), plan.num_partials);
    for (const auto& [pair, times] : outputs_) EXPECT_EQ(times, 1) << "pair " << pair;
  }

  using PairChunk = std::pair<int32_t, int32_t>;

  const AttentionShape& shape_;
  const Step& step_;
  const int32_t window_, group_;
  std::map<PairChunk, int32_t> chunks_;
  std::map<int32_t, std::vector<PairChunk>> slots_;
  std::map<int32_t, int> outputs_;  // by pair: how often it is written
};

void ExpectWithin(const AttentionPlan& plan, const AttentionBounds& bounds) {
  EXPECT_LE(plan.narrow.size() + plan.wide.size(), bounds.items);
  EXPECT_LE(plan.merges.size(), bounds.merges);
  EXPECT_LE(plan.num_partials, bounds.partials);
}

// Random steps of decode rows, prompts, short chunks and padding, on devices of any size.
TEST(AttentionPlan, EveryChunkOnce) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const auto upto = [&](int n) { return static_cast<int>(random() % (n + 1)); };
    const int kv_heads = 1 + upto(7), group = 1 + upto(upto(1) == 0 ? 3 : 20), max_model_len = 4096;
    AttentionShape shape{.num_heads = kv_heads * group,
                         .num_kv_heads = kv_heads,
                         .head_dim = upto(1) == 0 ? 64 : 256,
                         .value_dim = 64,
                         .processors = 1 + upto(150),
                         .warpgroups = upto(2) == 0};
    std::vector<Row> rows;
    int32_t tokens = 0;
    for (int r = 1 + upto(9); r > 0; --r) {
      const int kind = upto(3);
      rows.push_back({.first_position = kind == 3 ? -1 : upto(kind == 0 ? 300 : 3000),
                      .tokens = kind == 0 ? 1 : 1 + upto(kind == 2 ? 90 : 4)});
      tokens += rows.back().tokens;
    }
    const AttentionBounds bounds =
        BoundAttention(shape, tokens, static_cast<int32_t>(rows.size()), max_model_len);
    shape.max_partials = upto(3) == 0 ? upto(200) : bounds.partials;
    const int32_t window = upto(2) == 0 ? 1 + upto(700) : 0;
    const Step step(rows);
    const AttentionPlan plan = PlanOf(shape, step, window);
    Checker(shape, step, window).Check(plan);
    ExpectWithin(plan, bounds);
    EXPECT_LE(plan.num_partials, shape.max_partials);
  }
}

constexpr AttentionShape kLlama{.num_heads = 32,
                                .num_kv_heads = 8,
                                .head_dim = 128,
                                .value_dim = 128,
                                .processors = 108,
                                .max_partials = 1 << 14};

// One long sequence alone keeps the device busy: no block walks more than one chunk.
TEST(AttentionPlan, OneSequenceIsSplitAmongTheProcessors) {
  const AttentionPlan plan = PlanOf(kLlama, Step({{.first_position = 4999, .tokens = 1}}), 0);
  EXPECT_EQ(plan.narrow.size(), 20u);
  EXPECT_EQ(plan.merges.size(), 1u);
  EXPECT_EQ(plan.num_partials, 20 * 4);
}

// Where rows alone keep the device busy nothing is split, but a row that is longer than the others.
TEST(AttentionPlan, OnlyTheLongRowIsSplit) {
  std::vector<Row> rows(64, Row{.first_position = 1000, .tokens = 1});
  EXPECT_TRUE(PlanOf(kLlama, Step(rows), 0).merges.empty());
  rows[7].first_position = 30000;
  const AttentionPlan plan = PlanOf(kLlama, Step(rows), 0);
  ASSERT_EQ(plan.merges.size(), 1u);
  EXPECT_EQ(plan.merges[0].first_pair, 7 * 4);
}

TEST(AttentionPlan, DecodeIsNarrowAndPromptsAreWide) {
  const AttentionPlan plan =
      PlanOf(kLlama, Step({{.first_position = 100, .tokens = 1}, {.first_position = 0, .tokens = 100}}), 0);
  EXPECT_EQ(plan.narrow.size(), 1u);
  EXPECT_EQ(plan.wide.size(), 7u);             // 400 pairs, 64 a tile
  EXPECT_EQ(plan.wide.front().num_keys, 100);  // the longest first
  EXPECT_EQ(plan.wide.back().first_position, 0);
}

// Of twice as many pairs, and split only where otherwise processors would idle, each of which has one block.
TEST(AttentionPlan, ItemsForWarpgroups) {
  AttentionShape shape = kLlama;
  shape.warpgroups = true;
  shape.max_partials = 1 << 16;
  const auto plan_of = [&](int tokens) {
    return PlanOf(shape, Step({{.first_position = 6000, .tokens = tokens}}), 0);
  };
  EXPECT_EQ(PlanOf(shape, Step({{.first_position = 0, .tokens = 100}}), 0).wide.size(),
            4u);  // 400 pairs, 128 an item
  EXPECT_EQ(plan_of(640).wide.size(), 20u);
  EXPECT_EQ(plan_of(320).wide.size(), 20u);
  EXPECT_EQ(plan_of(32).wide.size(), 13u);  // times 8 KV heads: 104 of 108 processors
}

// Two blocks of each processor have work, and none has more of it than is needed for all of it to be done at once.
TEST(AttentionPlan, OneLongSequenceFillsTheCard) {
  AttentionShape shape = kLlama;
  shape.processors = 132;
  shape.warpgroups = true;
  const AttentionBounds bounds = BoundAttention(shape, 2048, 256, 131072);
  shape.max_partials = bounds.partials;
  const int64_t places = int64_t{kDecodeBlocks} * shape.processors;
  for (const int32_t keys : {8192, 16384, 24576, 32768, 65536, 131072}) {
    const AttentionPlan plan = PlanOf(shape, Step({{.first_position = keys - 1, .tokens = 1}}), 0);
    int32_t longest = 0;
    for (const AttentionItem& item : plan.narrow)
      longest = std::max(longest, item.last_chunk - item.first_chunk);
    const int64_t chunks = int64_t{keys / kChunkTokens} * shape.num_kv_heads;
    EXPECT_EQ(longest, (chunks + places - 1) / places) << keys;
    const auto busy = static_cast<int64_t>(plan.narrow.size()) * shape.num_kv_heads;
    EXPECT_GE(busy, std::min(chunks, places)) << keys;
    EXPECT_LE(busy, places + shape.num_kv_heads) << keys;
    ExpectWithin(plan, bounds);
  }
}

// A tile that does not fit into the workspace is walked by one block.
TEST(AttentionPlan, WorkspaceLimitsSplitting) {
  AttentionShape shape = kLlama;
  shape.max_partials = 30;
  const AttentionPlan plan =
      PlanOf(shape, Step({{.first_position = 1500, .tokens = 1}, {.first_position = 1500, .tokens = 1}}), 0);
  EXPECT_EQ(plan.merges.size(), 1u);
  EXPECT_EQ(plan.num_partials, 24);
  EXPECT_EQ(plan.narrow.back().partial, -1);
}

// A step after another gives the same plan as the first did.
TEST(AttentionPlan, MemoryIsUsedAgain) {
  const Step step({{.first_position = 4999, .tokens = 1}}), other({{.first_position = 0, .tokens = 300}});
  AttentionPlan plan = PlanOf(kLlama, other, 0);
  PlanAttention(kLlama, step.row_starts, step.positions, 0, plan);
  EXPECT_TRUE(plan.wide.empty());
  EXPECT_EQ(plan.narrow.size(), 20u);
  EXPECT_EQ(plan.merges.size(), 1u);
}

TEST(AttentionPlan, UnsupportedShapesAreNamed) {
  const AttentionShape shape{.num_heads = 6, .num_kv_heads = 2, .head_dim = 20, .value_dim = 20};
  for (const KvElement kv :
       {KvElement::kF32, KvElement::kF16, KvElement::kBF16, KvElement::kFp8E4M3, KvElement::kInt8})
    EXPECT_EQ(AttentionUnsupported(shape, Element::kF32, kv), nullptr);
  EXPECT_EQ(AttentionUnsupported(shape, Element::kBF16, KvElement::kBF16), nullptr);
  EXPECT_EQ(AttentionUnsupported(shape, Element::kF16, KvElement::kInt8), nullptr);
  EXPECT_THAT(AttentionUnsupported(shape, Element::kBF16, KvElement::kF16),
              testing::HasSubstr("keys and values of their own type, of fp8 or of int8"));
  EXPECT_NE(AttentionUnsupported(shape, Element::kF16, KvElement::kF32), nullptr);
}

TEST(AttentionPlan, TensorCoresTakeWholeVectors) {
  EXPECT_TRUE(FitsTensorCores(KvElement::kBF16, 24, 256));
  EXPECT_TRUE(FitsTensorCores(KvElement::kFp8E4M3, 256, 32));
  EXPECT_FALSE(FitsTensorCores(KvElement::kBF16, 20, 24));
  EXPECT_FALSE(FitsTensorCores(KvElement::kBF16, 24, 20));
  EXPECT_FALSE(FitsTensorCores(KvElement::kInt8, 24, 32));
  EXPECT_FALSE(FitsTensorCores(KvElement::kF16, 272, 256));
}

}  // namespace
}  // namespace ropeway::cuda
