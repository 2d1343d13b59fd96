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

#include "engine/kernels/cuda/launchers.h"
#include "tests/kernels/cuda/attention_problem.h"
#include "tests/kernels/cuda/device_test.h"

namespace ropeway::cuda {
namespace {

// Consecutive tokens of one sequence; sequence -1 is padding.
struct Row {
  int sequence;
  int first_position;
  int tokens;
};

// How a step is divided.
struct Division {
  int processors = 1;
  bool split = false;  // whether there is a workspace
  int blocks = 3;
  int window = -1;  // that the plan knows; -1: the kernel's
};

using Token = std::pair<int, int>;  // sequence, position
using Outputs = std::map<Token, std::vector<uint8_t>>;

class AttentionTest : public DeviceTest {
 protected:
  void SetUp() override { DeviceTest::SetUp(); }

  // Uploads what stays from step to step.
  void Load(const AttentionProblem& problem) {
    problem_ = &problem;
    const AttentionCase& c = problem.shape();
    args_ = {.element = c.element,
             .kv = problem.pages(),
             .num_heads = problem.num_heads(),
             .scale = problem.scale(),
             .max_pages = problem.max_pages()};
    args_.kv.data = Upload(problem.PageBytes());
    args_.kv.scales = Upload(problem.PageScales());
    args_.modifier = problem.modifier().Moved([&](const float* table, int64_t floats) {
      return Upload(std::vector<float>(table, table + floats));
    });
    if (!c.modifier.empty()) return;
    args_.modifier = {.softcap = c.softcap, .window = c.window};
    if (c.alibi)
      args_.modifier.bias = {.kind = kernels::BiasKind::kSlope, .slopes = Upload(problem.slopes())};
    if (c.sinks) args_.modifier.sinks = Upload(problem.sinks());
  }

  // The output of every token of a step; those of padding are checked to be zero.
  Outputs Run(const std::vector<Row>& rows, const Division& division) {
    const Step step = MakeStep(rows, division);
    UploadQueries(step);
    args_.page_tables = Upload(step.page_tables);
    const int32_t* counts = Upload(step.counts);
    args_.narrow = {Upload(plan_.narrow), counts, division.blocks};
    args_.wide = {Upload(plan_.wide), counts + 1, plan_.wide.empty() ? 0 : division.blocks};
    args_.merges = Upload(plan_.merges);
    const std::vector<int32_t> none(plan_.merges.size() * step.shape.num_kv_heads);
    args_.arrivals = Upload(none);
    args_.workspace = Allocate<float>(AttentionWorkspaceFloats(step.shape, plan_.num_partials) + 4);
    auto* out = Allocate<uint8_t>(step.tokens.size() * RowBytes());
    args_.out = out;
    Check(Attention(args_, stream()));
    EXPECT_EQ(Download(args_.arrivals, none.size()), none) << "the next step counts from zero";
    return Read(step, out);
  }

  // The outputs of steps of as many tokens each, none of them more than a narrow item: the first is captured,
  // and replayed for all.
  std::vector<Outputs> Replay(const std::vector<std::vector<Row>>& steps, const Division& division) {
    constexpr size_t kMaxItems = 64, kMaxPartials = 256;
    const Step first = MakeStep(steps[0], division);
    auto* queries = Upload(first.queries);
    auto* page_tables = Upload(first.page_tables);
    auto* counts = Upload(first.counts);
    auto* narrow = Allocate<AttentionItem>(kMaxItems);
    auto* merges = Allocate<AttentionMerge>(kMaxItems);
    auto* out = Allocate<uint8_t>(first.tokens.size() * RowBytes());
    args_.queries = queries;
    args_.page_tables = page_tables;
    args_.narrow = {narrow, counts, division.blocks};
    args_.wide = {};
    args_.merges = merges;
    args_.arrivals = Upload(std::vector<int32_t>(kMaxItems * first.shape.num_kv_heads));
    args_.workspace = Allocate<float>(AttentionWorkspaceFloats(first.shape, kMaxPartials));
    args_.out = out;
    Graph graph;
    Check(runtime().BeginCapture(stream()));
    Check(Attention(args_, stream()));
    Check(runtime().EndCapture(stream(), &graph));
    std::vector<Outputs> outputs;
    for (const std::vector<Row>& rows : steps) {
      const Step step = MakeStep(rows, division);
      EXPECT_TRUE(plan_.wide.empty() && plan_.narrow.size() <= kMaxItems);
      EXPECT_LE(plan_.num_partials, static_cast<int32_t>(kMaxPartials));
      Write(step.queries, queries);
      Write(step.page_tables, page_tables);
      Write(step.counts, counts);
      Write(plan_.narrow, narrow);
      Write(plan_.merges, merges);
      Check(runtime().Launch(graph, stream()));
      outputs.push_back(Read(step, out));
    }
    Check(runtime().DestroyGraph(graph));
    return outputs;
  }

  AttentionPlan plan_;

 private:
  // What a step puts on the device, beside plan_.
  struct Step {
    std::vector<Token> tokens;
    std::vector<uint8_t> queries, previous_queries, older_queries;
    std::vector<int32_t> page_tables, counts;
    AttentionShape shape;
  };

  Step MakeStep(const std::vector<Row>& rows, const Division& division) {
    Step step{.shape = {.num_heads = args_.num_heads,
                        .num_kv_heads = args_.kv.num_kv_heads,
                        .head_dim = args_.kv.head_dim,
                        .value_dim = args_.kv.value_dim,
                        .processors = division.processors,
                        .max_partials = division.split ? 1 << 20 : 0}};
    std::vector<int32_t> row_starts = {0}, positions;
    for (const Row& row : rows) {
      for (int t = 0; t < row.tokens; ++t) {
        const int position = row.sequence < 0 ? -1 : row.first_position + t;
        positions.push_back(position);
        step.tokens.push_back({row.sequence, position});
        int zone = 0;
        for (std::vector<uint8_t>* bytes : {&step.queries, &step.previous_queries, &step.older_queries}) {
          const std::vector<uint8_t> query = problem_->QueryBytes(row.sequence, position, zone++);
          bytes->insert(bytes->end(), query.begin(), query.end());
        }
      }
      row_starts.push_back(static_cast<int32_t>(positions.size()));
      const auto table = problem_->page_tables().begin() + std::max(0, row.sequence) * args_.max_pages;
      step.page_tables.insert(step.page_tables.end(), table, table + args_.max_pages);
    }
    const int32_t window = std::max(args_.modifier.window, args_.modifier.chunk);
    PlanAttention(step.shape, row_starts, positions, division.window < 0 ? window : division.window, plan_);
    step.counts = {static_cast<int32_t>(plan_.narrow.size()), static_cast<int32_t>(plan_.wide.size()),
                   static_cast<int32_t>(plan_.merges.size())};
    return step;
  }

  void UploadQueries(const Step& step) {
    args_.queries = Upload(step.queries);
    if (args_.modifier.zone == 0) return;
    args_.previous_queries = Upload(step.previous_queries);
    args_.older_queries = Upload(step.older_queries);
  }

  int64_t RowBytes() const { return int64_t{args_.num_heads} * args_.kv.value_dim * BytesOf(args_.element); }

  Outputs Read(const Step& step, const uint8_t* out) {
    const int64_t row_bytes = RowBytes();
    const std::vector<uint8_t> bytes = Download(out, step.tokens.size() * row_bytes);
    Outputs outputs;
    for (size_t i = 0; i < step.tokens.size(); ++i) {
      const std::vector<uint8_t> row(&bytes[i * row_bytes], &bytes[i * row_bytes] + row_bytes);
      if (step.tokens[i].first < 0)
        EXPECT_EQ(row, std::vector<uint8_t>(row_bytes)) << "padding gives zeros";
      else
        outputs[step.tokens[i]] = row;
    }
    return outputs;
  }

  const AttentionProblem* problem_ = nullptr;
  AttentionArgs args_;
};

// The last tokens of every sequence, as prompts; padding between them.
std::vector<Row> Prompts(const AttentionProblem& problem, int tokens) {
  std::vector<Row> rows;
  for (size_t s = 0; s < problem.shape().lengths.size(); ++s) {
    const int length = problem.shape().lengths[s], count = std::min(tokens, length);
    rows.push_back({static_cast<int>(s), length - count, count});
    rows.push_back({-1, 0, 1 + static_cast<int>(s)});
  }
  return rows;
}

void ExpectNear(const AttentionProblem& problem, const Outputs& outputs) {
  for (const auto& [token, bytes] : outputs) {
    const std::vector<float> out = FromBytes(problem.shape().element, bytes);
    for (int head = 0; head < problem.num_heads(); ++head) {
      const AttentionProblem::Expected expected = problem.Attend(token.first, token.second, head);
      ASSERT_LT(expected.tolerance, 0.1) << "values go from -1 to 1: such a tolerance checks nothing";
      for (int d = 0; d < problem.shape().value_dim; ++d) {
        const float got = out[head * problem.shape().value_dim + d];
        ASSERT_NEAR(got, expected.out[d], expected.tolerance)
            << "sequence " << token.first << " position " << token.second << " head " << head << " column "
            << d;
      }
    }
  }
}

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
