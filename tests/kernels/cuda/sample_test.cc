// Sampling and scoring on a device, bit for bit against a sort of the whole vocabulary in the same
// arithmetic.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/base/softmax_weight.h"
#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"

namespace ropeway::cuda {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

bool SaysNothing(const std::vector<float>& logits) {
  bool any = false;
  for (float x : logits) {
    if (!(x < kInfinity)) return true;
    any |= x > -kInfinity;
  }
  return !any;
}

// All ids, likeliest first.
std::vector<int32_t> Sorted(const std::vector<float>& logits) {
  std::vector<int32_t> ids(logits.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  return ids;
}

std::vector<float> Changed(std::vector<float> logits, const std::vector<LogitChange>& changes,
                           const SamplingRule& rule) {
  for (const LogitChange& change : changes)
    logits[change.token] = ChangedLogit(logits[change.token], change, rule);
  return logits;
}

// The token that `row` draws from changed logits.
int32_t Chosen(const std::vector<float>& logits, const SamplingRule& row) {
  if (SaysNothing(logits)) return kNoChoice;
  std::vector<int32_t> ids = Sorted(logits);
  const float largest = logits[ids[0]];
  if (row.scale == 0) return ids[0];
  const auto weight = [&](int32_t id) { return SoftmaxWeight((logits[id] - largest) * row.scale); };
  const auto total = [&] {
    uint64_t sum = 0;
    for (int32_t id : ids) sum += weight(id);
    return sum;
  };
  if (row.top_k > 0 && row.top_k < static_cast<int32_t>(ids.size())) ids.resize(row.top_k);
  if (row.top_p < 1) {
    const uint64_t mass =
        static_cast<uint64_t>(std::ceil(static_cast<double>(row.top_p) * static_cast<double>(total())));
    uint64_t sum = 0;
    size_t kept = 0;
    while (kept < ids.size() && sum < mass) sum += weight(ids[kept++]);
    ids.resize(kept);
  }
  const float least = static_cast<float>(largest + row.min_p_offset);
  std::erase_if(ids, [&](int32_t id) { return logits[id] < least; });
  std::sort(ids.begin(), ids.end());
  uint64_t left = static_cast<uint64_t>((static_cast<unsigned __int128>(row.coin) * total()) >> 64);
  for (int32_t id : ids) {
    if (left < weight(id)) return id;
    left -= weight(id);
  }
  return -2;  // cannot be: the target is below the sum
}

struct Scores {
  float chosen = kNaN;
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
};

Scores Scored(const std::vector<float>& logits, int32_t token, int32_t top) {
  Scores scores = {kNaN, std::vector<int32_t>(top, kNoChoice), std::vector<float>(top, kNaN)};
  if (SaysNothing(logits)) return scores;
  const std::vector<int32_t> ids = Sorted(logits);
  uint64_t sum = 0;
  for (float x : logits) sum += SoftmaxWeight(x - logits[ids[0]]);
  const double normaliser = LogNormaliser(logits[ids[0]], sum);
  const auto logprob = [&](int32_t id) { return static_cast<float>(logits[id] - normaliser); };
  scores.chosen = logprob(token);
  for (size_t i = 0; i < std::min<size_t>(top, ids.size()); ++i) {
    scores.tokens[i] = ids[i];
    scores.logprobs[i] = logprob(ids[i]);
  }
  return scores;
}

// Equal bits; a NaN is as good as another.
void ExpectSame(float got, float expected, const char* what) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(got)) << what;
  } else {
    EXPECT_EQ(got, expected) << what;
  }
}

class SampleTest : public DeviceTest {
 protected:
  std::vector<float> Logits(int32_t vocab_size, float spread) {
    std::normal_distribution<float> normal(0, spread);
    std::vector<float> logits(vocab_size);
    for (float& x : logits) x = normal(random_);
    return logits;
  }
  // Many equal numbers, zeros of both signs among them.
  std::vector<float> Coarse(int32_t vocab_size) {
    std::vector<float> logits(vocab_size);
    for (float& x : logits) {
      const int level = static_cast<int>(random_() % 5);
      x = level == 0 ? -0.0f : static_cast<float>(level - 1) * 0.5f;
    }
    return logits;
  }

  // Row i draws from logits[rows[i].logit_row], with changes[i], as if they were counted_changes[i].
  void Run(const std::vector<std::vector<float>>& logits, const std::vector<SampleRowParams>& rows,
           const std::vector<std::vector<LogitChange>>& changes, int max_top,
           const std::vector<int32_t>& token_ids = {},
           const std::vector<std::vector<LogitChange>>* counted_changes = nullptr) {
    // Several blocks for each row, where there are more tokens than one is for.
    RunOn(7 * static_cast<int>(rows.size()), logits, rows, changes, max_top, token_ids, counted_changes);
  }

  void RunOn(int processors, const std::vector<std::vector<float>>& logits, std::vector<SampleRowParams> rows,
             const std::vector<std::vector<LogitChange>>& changes, int max_top,
             const std::vector<int32_t>& token_ids,
             const std::vector<std::vector<LogitChange>>* counted_changes) {
    // One of them begins at a multiple of 16 bytes, at least.
    const int32_t vocab_size = static_cast<int32_t>(logits[0].size()), stride = vocab_size + 3;
    std::vector<float> all(logits.size() * stride, kNaN);
    for (size_t i = 0; i < logits.size(); ++i)
      std::copy(logits[i].begin(), logits[i].end(), &all[i * stride]);
    std::vector<LogitChange> all_changes;
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].first_change = static_cast<int32_t>(all_changes.size());
      rows[i].num_changes = static_cast<int32_t>(changes[i].size());
      all_changes.insert(all_changes.end(), changes[i].begin(), changes[i].end());
    }
    const size_t tops = rows.size() * max_top;
    int32_t* tokens = Allocate<int32_t>(rows.size());
    float* logprobs = Upload(std::vector<float>(rows.size(), 7));
    int32_t* top_tokens = Upload(std::vector<int32_t>(tops, -7));
    float* top_logprobs = Upload(std::vector<float>(tops, 7));
    Check(Sample({.logits = Upload(all),
                  .logit_stride = stride,
                  .vocab_size = vocab_size,
                  .rows = Upload(rows),
                  .changes = Upload(all_changes),
                  .token_ids = token_ids.empty() ? nullptr : Upload(token_ids),
                  .num_rows = static_cast<int>(rows.size()),
                  .processors = processors,
                  .scratch = Allocate<float>(rows.size() * vocab_size),
                  .states = Allocate<SampleState>(rows.size()),
                  .tokens = tokens,
                  .logprobs = logprobs,
                  .top_tokens = top_tokens,
                  .top_logprobs = top_logprobs,
                  .max_top = max_top},
                 stream()));
    const std::vector<int32_t> got = Download(tokens, rows.size()), got_tops = Download(top_tokens, tops);
    const std::vector<float> got_logprobs = Download(logprobs, rows.size()),
                             got_top_logprobs = Download(top_logprobs, tops);
    for (size_t i = 0; i < rows.size(); ++i) {
      SCOPED_TRACE("V " + std::to_string(vocab_size) + " row " + std::to_string(i));
      const std::vector<float>& raw = logits[rows[i].logit_row];
      EXPECT_EQ(got[i], Chosen(Changed(raw, (counted_changes == nullptr ? changes : *counted_changes)[i],
                                       rows[i].rule),
                               rows[i].rule));
      const int32_t asked = rows[i].num_logprobs;
      for (int32_t j = std::max(asked, 0); j < max_top; ++j)
        EXPECT_EQ(got_tops[i * max_top + j], -7) << "not asked for";
      if (asked < 0) {
        EXPECT_EQ(got_logprobs[i], 7) << "not asked for";
        continue;
      }
      const Scores expected = Scored(raw, std::max(got[i], 0), asked);
      ExpectSame(got_logprobs[i], expected.chosen, "chosen");
      for (int32_t j = 0; j < asked; ++j) {
        EXPECT_EQ(got_tops[i * max_top + j], expected.tokens[j]);
        ExpectSame(got_top_logprobs[i * max_top + j], expected.logprobs[j], "top");
      }
    }
  }

  void Run(const std::vector<std::vector<float>>& logits, const std::vector<SampleRowParams>& rows) {
    Run(logits, rows, std::vector<std::vector<LogitChange>>(rows.size()), 4);
  }

  // Rows that cut the vocabulary in every way, alone and together.
  std::vector<SampleRowParams> AllCuts(int32_t vocab_size) {
    std::vector<SampleRowParams> rows;
    for (int32_t top_k : {0, vocab_size / 3 + 1}) {
      for (float top_p : {1.0f, 0.9f}) {
        for (double least : {-static_cast<double>(kInfinity), -1.25}) {
          rows.push_back({.rule = {.scale = 1.3f, .top_k = top_k, .top_p = top_p, .min_p_offset = least}});
        }
      }
    }
    rows.push_back({.rule = {.top_k = 1}});
    rows.push_back({.rule = {.top_k = vocab_size}});
    rows.push_back({.rule = {.top_p = 1e-6f}});
    rows.push_back({.rule = {.min_p_offset = -1e-9}});
    for (SampleRowParams& row : rows) row.rule.coin = uint64_t{random_()} << 32 | random_();
    return rows;
  }

  std::mt19937 random_{12345};
};

TEST_F(SampleTest, GreedyTakesTheLargestAndTheLowestAmongEquals) {
  for (int32_t vocab_size : {1, 31, 1025, 5000}) {
    Run({Logits(vocab_size, 2), Coarse(vocab_size), std::vector<float>(vocab_size, -3.5f)},
        {{.logit_row = 0, .rule = {.scale = 0}},
         {.logit_row = 1, .rule = {.scale = 0}},
         {.logit_row = 2, .rule = {.scale = 0}}});
  }
}

TEST_F(SampleTest, EveryCutOfSpreadLogits) {
  for (int32_t vocab_size : {5, 3001}) Run({Logits(vocab_size, 2)}, AllCuts(vocab_size));
}

TEST_F(SampleTest, EveryCutOfEqualLogits) {
  for (int32_t vocab_size : {7, 1500}) Run({Coarse(vocab_size)}, AllCuts(vocab_size));
}

// More tokens are left than a shortlist takes: in many bins, in the one where the cut is, far from the likeliest.
TEST_F(SampleTest, EveryCutOfLongVocabularies) {
  std::vector<float> near = Logits(5000, 1), far = Logits(5000, 1);
  for (float& x : near) x *= 1e-4f;
  for (float& x : far) x = 50 * x - 2000;
  far[77] = 3;
  for (const std::vector<float>& logits : {Logits(6000, 2), Coarse(11000), near, far}) {
    std::vector<SampleRowParams> rows = AllCuts(static_cast<int32_t>(logits.size()));
    for (const int32_t top_k : {0, 2500})
      rows.push_back({.rule = {.scale = 0.1f, .top_k = top_k, .top_p = 0.97f, .coin = ~0ull / 3}});
    rows.push_back({.rule = {.scale = 1e-4f, .top_k = 4500, .top_p = 0.97f, .coin = ~0ull / 3}});
    Run({logits}, rows);
  }
}

// Lists of few tokens, of thousands, and of more than a block keeps in shared memory, all of them its own; by one block for
// each row, and by several.
TEST_F(SampleTest, CutsOfLists) {
  std::vector<float> logits = Logits(9000, 1);
  for (int32_t id = 0; id < kSliceUnit; ++id) logits[id] += 6;
  std::vector<SampleRowParams> rows;
  for (const SamplingRule& rule :
       std::vector<SamplingRule>{{.top_k = 20},
                                 {.top_k = 20, .top_p = 0.6f},
                                 {.top_k = 300, .top_p = 0.95f, .min_p_offset = -1},
                                 {.top_k = 1700},
                                 {.top_k = 1700, .top_p = 0.6f, .min_p_offset = -2},
                                 {.top_k = 1900},
                                 {.top_p = 0.6f},
                                 {.top_p = 0.95f, .min_p_offset = -2},
                                 {.top_p = 0.9999f}})
    for (const float scale : {2.0f, 0.3f}) {
      rows.push_back({.rule = rule});
      rows.back().rule.scale = scale;
      rows.back().rule.coin = scale > 1 ? ~0ull / 7 : ~0ull;
    }
  const std::vector<std::vector<LogitChange>> changes(rows.size());
  for (const int processors : {1, 3 * static_cast<int>(rows.size())})
    RunOn(processors, {logits}, rows, changes, 4, {}, nullptr);
}

// A shortlist takes 2048 tokens.
TEST_F(SampleTest, CutsAboutTheLengthOfAShortlist) {
  constexpr int32_t kLength = 2048;
  std::vector<float> equal(2300, -9), steps(2300);
  for (int32_t i = 0; i < 2300; ++i) steps[i] = -static_cast<float>((i * 7) % 2300) / 512;
  for (int32_t i = 0; i < kLength + 1; ++i) equal[i + 100] = 1;
  std::vector<SampleRowParams> rows;
  for (const int32_t logit_row : {0, 1, 2})
    for (const int32_t top_k : {kLength - 1, kLength, kLength + 1, kLength + 2})
      for (const float top_p : {1.0f, 0.999f})
        rows.push_back({.logit_row = logit_row, .rule = {.top_k = top_k, .top_p = top_p, .coin = ~0ull - 1}});
  std::vector<float> fitting = equal;
  fitting[100] = -9;
  Run({equal, fitting, steps}, rows);
}

TEST_F(SampleTest, EveryCutAmongMaskedLogits) {
  std::vector<float> logits = Logits(600, 1);
  for (size_t i = 0; i < logits.size(); ++i)
    if (i % 7 != 3) logits[i] = -kInfinity;
  Run({logits}, AllCuts(600));
}

TEST_F(SampleTest, CoinsAtBothEnds) {
  const uint64_t last = std::numeric_limits<uint64_t>::max();
  Run({Logits(700, 1), std::vector<float>(700, 0)},
      {{.logit_row = 0, .rule = {.coin = 0}},
       {.logit_row = 0, .rule = {.coin = last}},
       {.logit_row = 1, .rule = {.coin = 0}},
       {.logit_row = 1, .rule = {.coin = last}},
       {.logit_row = 0, .rule = {.scale = std::numeric_limits<float>::max(), .coin = last}},
       {.logit_row = 0, .rule = {.scale = 1e-30f, .coin = last / 2}}});
}

// 64 equal weights: coins at the first and the last of each token's.
TEST_F(SampleTest, CoinsAtTheBoundsOfTokens) {
  std::vector<SampleRowParams> rows;
  for (uint64_t token : {1, 2, 31, 32, 62, 63})
    for (uint64_t coin : {token << 58, (token << 58) - 1}) rows.push_back({.rule = {.coin = coin}});
  const std::vector<float> logits(64, 2.5f);
  EXPECT_EQ(Chosen(logits, rows[6].rule), 32);
  EXPECT_EQ(Chosen(logits, rows[7].rule), 31);
  Run({logits}, rows);
}

TEST_F(SampleTest, ChangesComeFirstAndLeaveTheLogitsOfOthers) {
  const std::vector<float> logits = Logits(900, 2);
  std::vector<LogitChange> changes;
  for (int32_t token = 3; token < 900; token += 5)
    changes.push_back({.token = token,
                       .bias = static_cast<float>(token % 3) * 0.7f,
                       .occurrences = token % 4,
                       .seen = token % 2 == 0,
                       .masked = token % 11 == 0});
  const int32_t best = Sorted(logits)[0];
  const std::vector<LogitChange> mask = {{.token = best, .masked = true}},
                                 seen = {{.token = best, .seen = true}};
  Run({logits},
      {{.rule = {.scale = 0, .repetition = 1.3f, .presence = 0.3f, .frequency = 0.25f}},
       {.rule = {.scale = 0}},
       {.rule = {.repetition = 1.3f, .frequency = -0.1f, .coin = 99}},
       {.num_logprobs = 2, .rule = {.scale = 0}},
       {.num_logprobs = 3, .rule = {.repetition = 1e-38f, .coin = ~0ull}}},
      {changes, {}, changes, mask, seen}, 4);
}

TEST_F(SampleTest, ChangesOfRowsThatBlocksShare) {
  const std::vector<float> logits = Logits(9001, 1);
  std::vector<LogitChange> changes;
  for (int32_t token = 0; token < 9001; token += 97)
    changes.push_back({.token = token, .bias = 5, .seen = true});
  const std::vector<int32_t> token_ids = {8999, 97 * 60};
  std::vector<LogitChange> unnamed = changes, named = changes;
  unnamed.push_back(WithOccurrence({.token = token_ids[0]}));
  named[60] = WithOccurrence(named[60]);
  const SamplingRule greedy = {.scale = 0, .repetition = 0.25f, .presence = 1},
                     drawn = {.top_p = 0.9f, .repetition = 0.25f, .coin = ~0ull / 3};
  const std::vector<std::vector<LogitChange>> counted = {changes, unnamed, named, {}};
  Run({logits},
      {{.rule = greedy}, {.uncounted = 0, .rule = greedy}, {.uncounted = 1, .rule = drawn}, {.rule = drawn}},
      {changes, changes, changes, {}}, 4, token_ids, &counted);
}

// The last token of each answer is known on the device alone: as if the changes had counted it.
TEST_F(SampleTest, AnUncountedTokenIsCounted) {
  const std::vector<float> logits = Logits(700, 1);
  const std::vector<int32_t> token_ids = {Sorted(logits)[0], Sorted(logits)[1], 699, 0};
  const SamplingRule greedy = {.scale = 0, .repetition = 2, .presence = 0.5f, .frequency = 1.5f};
  std::vector<SampleRowParams> rows;
  std::vector<std::vector<LogitChange>> known, all;
  for (int32_t i = 0; i < 4; ++i) {
    const std::vector<LogitChange> others = {{.token = 5, .occurrences = 2, .seen = true},
                                             {.token = 9, .bias = 3}};
    for (const bool is_named : {false, true}) {
      std::vector<LogitChange>& changes = known.emplace_back(i == 3 ? std::vector<LogitChange>() : others);
      if (is_named)
        changes.push_back({.token = token_ids[i], .bias = 0.25f, .occurrences = i, .masked = i == 2});
      all.push_back(changes);
      if (is_named)
        all.back().back() = WithOccurrence(all.back().back());
      else
        all.back().push_back(WithOccurrence({.token = token_ids[i]}));
      rows.push_back({.num_logprobs = 1, .uncounted = i, .rule = greedy});
      if (i % 2 == 1) rows.back().rule.scale = 1, rows.back().rule.coin = uint64_t{77} << 56;
    }
  }
  Run({logits}, rows, known, 4, token_ids, &all);
}

TEST_F(SampleTest, LogProbabilities) {
  for (int32_t vocab_size : {3, 2049}) {
    Run({Logits(vocab_size, 3), Coarse(vocab_size)},
        {{.logit_row = 0, .num_logprobs = 0, .rule = {.coin = 1ull << 63}},
         {.logit_row = 0, .num_logprobs = 20, .rule = {.scale = 0}},
         {.logit_row = 1, .num_logprobs = 20, .rule = {.coin = 1ull << 62}},
         {.logit_row = 1}},
        std::vector<std::vector<LogitChange>>(4), 20);
  }
}

TEST_F(SampleTest, LogProbabilitiesOfManyAmongEqualsAndOthers) {
  std::vector<float> few = Logits(3000, 1);
  std::fill(few.begin() + 9, few.end(), -kInfinity);
  Run({Logits(5000, 2)},
      {{.logit_row = 0, .num_logprobs = kMaxTop, .rule = {.top_k = 40, .top_p = 0.9f, .coin = 1ull << 63}},
       {.logit_row = 0, .num_logprobs = 1, .rule = {.scale = 0}}},
      std::vector<std::vector<LogitChange>>(2), kMaxTop);
  for (const auto& logits : {Coarse(13000), few})
    Run({logits},
        {{.num_logprobs = kMaxTop, .rule = {.scale = 0}}, {.num_logprobs = 3, .rule = {.top_p = 0.3f}}},
        std::vector<std::vector<LogitChange>>(2), kMaxTop);
}

TEST_F(SampleTest, LogitsThatSayNothingChooseNothing) {
  std::vector<float> nan = Logits(50, 1), infinite = nan, none(50, -kInfinity);
  nan[17] = -kNaN;
  infinite[49] = kInfinity;
  Run({nan, infinite, none}, {{.logit_row = 0, .num_logprobs = 2, .rule = {.scale = 0}},
                              {.logit_row = 1, .num_logprobs = 2},
                              {.logit_row = 2, .rule = {.top_p = 0.5f}},
                              {.logit_row = 2, .num_logprobs = 1, .rule = {.scale = 0}}});
}

// What the device is held against draws by probability itself: shares within five standard deviations.
TEST(ChosenTest, DrawsByProbability) {
  constexpr int kDraws = 20000;
  std::mt19937 random(7);
  const std::vector<float> logits = {0, 1, -1, 2, 0.5f};
  std::vector<int> counts(logits.size());
  for (int i = 0; i < kDraws; ++i) ++counts[Chosen(logits, {.coin = uint64_t{random()} << 32 | random()})];
  double sum = 0;
  for (float x : logits) sum += std::exp(x);
  for (size_t i = 0; i < logits.size(); ++i) {
    const double share = std::exp(logits[i]) / sum;
    EXPECT_NEAR(counts[i], kDraws * share, 5 * std::sqrt(kDraws * share * (1 - share))) << i;
  }
}

TEST_F(SampleTest, ScoresGivenTokens) {
  for (int32_t vocab_size : {2, 1500}) {
    std::vector<std::vector<float>> logits = {Logits(vocab_size, 2), Coarse(vocab_size),
                                              Logits(vocab_size, 9)};
    logits.push_back(logits[0]);
    logits[3][1] = kNaN;
    constexpr int kTop = 7;
    std::vector<float> all;
    for (const auto& row : logits) all.insert(all.end(), row.begin(), row.end());
    // Rows in another order than their logits, one asked twice, with fewer of the likeliest than there is
    // room.
    const std::vector<ScoreRowParams> rows = {{.logit_row = 2, .token = vocab_size - 1, .num_logprobs = kTop},
                                              {.logit_row = 0, .token = 0, .num_logprobs = 3},
                                              {.logit_row = 3, .token = vocab_size / 2, .num_logprobs = kTop},
                                              {.logit_row = 1, .token = 1, .num_logprobs = 0},
                                              {.logit_row = 2, .token = 1, .num_logprobs = 1}};
    const size_t count = rows.size();
    float* logprobs = Allocate<float>(count);
    int32_t* top_tokens = Upload(std::vector<int32_t>(count * kTop, -7));
    float* top_logprobs = Allocate<float>(count * kTop);
    Check(Score({.logits = Upload(all),
                 .logit_stride = vocab_size,
                 .vocab_size = vocab_size,
                 .rows = Upload(rows),
                 .num_rows = static_cast<int>(count),
                 .logprobs = logprobs,
                 .top_tokens = top_tokens,
                 .top_logprobs = top_logprobs,
                 .max_top = kTop},
                stream()));
    const std::vector<float> got = Download(logprobs, count), got_top = Download(top_logprobs, count * kTop);
    const std::vector<int32_t> got_tokens = Download(top_tokens, count * kTop);
    for (size_t row = 0; row < count; ++row) {
      const int32_t asked = rows[row].num_logprobs;
      const Scores expected = Scored(logits[rows[row].logit_row], rows[row].token, asked);
      ExpectSame(got[row], expected.chosen, "given");
      for (int i = asked; i < kTop; ++i) EXPECT_EQ(got_tokens[row * kTop + i], -7) << "not asked for";
      for (int i = 0; i < asked; ++i) {
        EXPECT_EQ(got_tokens[row * kTop + i], expected.tokens[i]) << row << " " << i;
        ExpectSame(got_top[row * kTop + i], expected.logprobs[i], "top");
      }
    }
  }
}

}  // namespace
}  // namespace ropeway::cuda
