// Attention over pages: against a plain computation in double precision, and, byte for byte, against itself
// with the work cut in other ways.
#include "engine/kernels/cuda/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/kernels/cuda/attention_steps.h"

namespace ropeway::cuda {
namespace {

// Few tokens of few heads: the emulation executes every lane of them.
std::vector<AttentionCase> Cases() {
  std::vector<AttentionCase> cases;
  for (int length : {1, 15, 16, 17, 255, 256, 257, 700}) cases.push_back({.lengths = {length}});
  for (int group : {1, 3, 4, 7, 8, 17}) cases.push_back({.kv_heads = 1, .group = group, .lengths = {33, 5}});
  for (int dim : {8, 72, 80, 96, 128, 256})
    cases.push_back({.head_dim = dim, .value_dim = dim, .lengths = {270}});
  cases.push_back({.head_dim = 192, .value_dim = 128, .lengths = {40}});
  cases.push_back({.head_dim = 64, .value_dim = 96, .lengths = {40}});
  for (int window : {1, 20, 31, 300}) cases.push_back({.lengths = {600, 19}, .window = window});
  for (int dim : {64, 128})
    cases.push_back({.element = Element::kF16,
                     .kv = KvElement::kF16,
                     .head_dim = dim,
                     .value_dim = dim,
                     .lengths = {150}});
  for (Element element : {Element::kF16, Element::kBF16})
    for (KvElement kv : {KvElement::kFp8E4M3, KvElement::kInt8})
      cases.push_back({.element = element, .kv = kv, .lengths = {290, 18}});
  for (int dim : {80, 128, 256})
    cases.push_back(
        {.kv = KvElement::kInt8, .kv_heads = 1, .head_dim = dim, .value_dim = dim, .lengths = {50}});
  for (int dim : {1, 16, 20, 24, 40})
    cases.push_back({.element = Element::kF32,
                     .kv = KvElement::kF32,
                     .group = 3,
                     .head_dim = dim,
                     .value_dim = dim,
                     .lengths = {260}});
  for (KvElement kv : {KvElement::kF16, KvElement::kBF16, KvElement::kFp8E4M3, KvElement::kInt8})
    cases.push_back({.element = Element::kF32, .kv = kv, .head_dim = 20, .value_dim = 12, .lengths = {50}});
  // Of 16 bits that tensor cores do not take.
  cases.push_back({.head_dim = 20, .value_dim = 12, .lengths = {270}});
  cases.push_back({.kv_heads = 1, .head_dim = 264, .value_dim = 8, .lengths = {40}});
  for (KvElement kv : {KvElement::kFp8E4M3, KvElement::kInt8})
    cases.push_back({.element = Element::kF16, .kv = kv, .head_dim = 24, .value_dim = 24, .lengths = {50}});
  // Partial results wider than any tile of tensor cores, and the widest heads that a model may have.
  cases.push_back({.element = Element::kF32,
                   .kv = KvElement::kF32,
                   .kv_heads = 1,
                   .group = 5,
                   .head_dim = 9,
                   .value_dim = 301,
                   .lengths = {265}});
  cases.push_back({.element = Element::kF32,
                   .kv = KvElement::kInt8,
                   .kv_heads = 1,
                   .group = 1,
                   .head_dim = 1024,
                   .value_dim = 1024,
                   .lengths = {18}});
  cases.push_back({.element = Element::kF32,
                   .kv = KvElement::kF32,
                   .head_dim = 24,
                   .value_dim = 32,
                   .lengths = {600},
                   .window = 40});
  return cases;
}

// Score modifiers alone, by twos and all together. Scores are spread widely enough for the cap to matter, and
// sequences of one and two tokens give a sink a share that shows.
std::vector<AttentionCase> ModifierCases() {
  std::vector<AttentionCase> cases;
  const auto add = [&](Element element, KvElement kv, const std::vector<int>& choices) {
    for (int on : choices)
      cases.push_back({.element = element,
                       .kv = kv,
                       .lengths = {270, 2, 1},
                       .softcap = on & 1 ? 1.5f : 0,
                       .window = on & 2 ? 20 : 0,
                       .alibi = (on & 4) != 0,
                       .sinks = (on & 8) != 0,
                       .spread = 6});
  };
  add(Element::kBF16, KvElement::kBF16, {1, 2, 4, 8, 1 | 2, 1 | 4, 1 | 8, 2 | 4, 2 | 8, 4 | 8, 15});
  add(Element::kF16, KvElement::kInt8, {1, 2, 4, 8, 15});
  add(Element::kF32, KvElement::kF32, {1, 2, 4, 8, 15});
  return cases;
}

// Modifiers of every kind, in turn on the element types.
std::vector<AttentionCase> SchemeCases() {
  std::vector<AttentionCase> cases;
  for (const std::string& name : kernels::ModifierNames()) {
    const std::vector<std::pair<Element, KvElement>> types = {{Element::kF32, KvElement::kF32},
                                                              {Element::kBF16, KvElement::kBF16},
                                                              {Element::kF16, KvElement::kInt8}};
    for (size_t i = 0; i < (cases.size() < 9 ? types.size() : 1); ++i)
      cases.push_back({.element = types[(i + cases.size()) % 3].first,
                       .kv = types[(i + cases.size()) % 3].second,
                       .group = 3,
                       .head_dim = 32,
                       .value_dim = 48,
                       .lengths = {262, 2},
                       .modifier = name});
  }
  return cases;
}

class AttentionCaseTest : public AttentionTest, public testing::WithParamInterface<AttentionCase> {};

TEST_P(AttentionCaseTest, AgainstThePlainComputation) {
  const AttentionProblem problem(GetParam());
  Load(problem);
  ExpectNear(problem, Run(Prompts(problem, 9), {}));
}

// A prompt in one piece, in pieces, and token by token; by one block, by few, and split into all its chunks.
TEST_P(AttentionCaseTest, SameBytesHoweverCut) {
  const AttentionProblem problem(GetParam());
  Load(problem);
  const std::vector<Row> whole = Prompts(problem, 9);
  const Outputs expected = Run(whole, {});
  std::vector<Row> pieces, tokens;
  for (const Row& row : whole) {
    if (row.sequence < 0) continue;
    const int half = row.tokens / 2;
    if (half > 0) pieces.push_back({row.sequence, row.first_position, half});
    pieces.insert(pieces.begin(), {row.sequence, row.first_position + half, row.tokens - half});
    for (int t = 0; t < row.tokens; t += 4) tokens.push_back({row.sequence, row.first_position + t, 1});
  }
  EXPECT_EQ(Run(pieces, {.blocks = 1}), expected);
  for (const Division& division : {Division{.processors = 1000, .split = true, .window = 0}, Division{}}) {
    const Outputs decoded = Run(tokens, division);
    for (const auto& [token, bytes] : decoded)
      EXPECT_EQ(bytes, expected.at(token)) << "sequence " << token.first << " position " << token.second;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, AttentionCaseTest, testing::ValuesIn(Cases()));
INSTANTIATE_TEST_SUITE_P(Modifiers, AttentionCaseTest, testing::ValuesIn(ModifierCases()));
INSTANTIATE_TEST_SUITE_P(Schemes, AttentionCaseTest, testing::ValuesIn(SchemeCases()));

// Wide tiles, too, are split, and give the same bytes.
TEST_F(AttentionTest, WideTilesAreSplit) {
  for (KvElement kv : {KvElement::kBF16, KvElement::kInt8}) {
    const AttentionProblem problem({.kv = kv, .kv_heads = 1, .lengths = {530}, .window = 200});
    Load(problem);
    const std::vector<Row> rows = {{0, 500, 30}};
    const Outputs expected = Run(rows, {});
    ASSERT_TRUE(plan_.merges.empty());
    EXPECT_EQ(Run(rows, {.processors = 1000, .split = true, .window = 0}), expected);
    EXPECT_EQ(plan_.num_partials, 3 * 60);
    EXPECT_GT(plan_.wide.size(), 1u);
  }
}

// What differs between two decode steps of as many rows lies in device memory alone.
TEST_F(AttentionTest, AGraphReplaysOtherTablesAndLengths) {
  for (Element element : {Element::kF32, Element::kBF16}) {
    const KvElement kv = element == Element::kF32 ? KvElement::kF32 : KvElement::kInt8;
    const AttentionProblem problem({.element = element, .kv = kv, .lengths = {600, 90, 300}, .sinks = true});
    Load(problem);
    const std::vector<std::vector<Row>> steps = {{{0, 599, 1}, {1, 80, 1}, {2, 299, 1}},
                                                 {{2, 10, 1}, {0, 300, 1}, {1, 89, 1}},
                                                 {{-1, 0, 1}, {1, 0, 1}, {2, 270, 1}}};
    const Division division{.processors = 1000, .split = true};
    const std::vector<Outputs> replayed = Replay(steps, division);
    for (size_t i = 0; i < steps.size(); ++i) {
      SCOPED_TRACE(i);
      ExpectNear(problem, replayed[i]);
      EXPECT_EQ(replayed[i], Run(steps[i], {}));
    }
  }
}

// A key that is no number shows in the tokens that see it, and in no other.
TEST_F(AttentionTest, NotANumberStaysVisible) {
  for (Element element : {Element::kF32, Element::kBF16}) {
    const KvElement kv = element == Element::kF32 ? KvElement::kF32 : KvElement::kBF16;
    AttentionProblem problem({.element = element, .kv = kv, .kv_heads = 1, .lengths = {300}});
    Load(problem);
    const std::vector<Row> rows = {{0, 275, 9}};
    const Outputs clean = Run(rows, {});
    problem.PoisonKey(0, 279);
    Load(problem);
    for (bool split : {false, true})
      for (const auto& [token, bytes] : Run(rows, {.processors = 1000, .split = split})) {
        if (token.second < 279)
          EXPECT_EQ(bytes, clean.at(token));
        else
          for (float x : FromBytes(element, bytes)) EXPECT_TRUE(std::isnan(x)) << "position " << token.second;
      }
  }
}

}  // namespace
}  // namespace ropeway::cuda
