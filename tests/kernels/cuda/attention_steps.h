// Steps of attention on a device, for tests: rows of tokens, how their work is divided, and the bytes of each token.
#ifndef ROPEWAY_TESTS_KERNELS_CUDA_ATTENTION_STEPS_H_
#define ROPEWAY_TESTS_KERNELS_CUDA_ATTENTION_STEPS_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/launchers.h"
#include "tests/kernels/cuda/attention_problem.h"
#include "tests/kernels/cuda/device_test.h"

namespace ropeway::cuda {

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
  int window = -1;               // that the plan knows; -1: the kernel's
  bool warpgroup_items = false;  // wide items of as many pairs as the kernel of warpgroups takes
  bool warpgroups = false;       // and that kernel
};

using Token = std::pair<int, int>;  // sequence, position
using Outputs = std::map<Token, std::vector<uint8_t>>;

class AttentionTest : public DeviceTest {
 protected:
  explicit AttentionTest(TestDevice device = TestDevice::kAny) : DeviceTest(device) {}
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
    num_pages_ = static_cast<int64_t>(problem.page_tables().size());
    brought_.clear();
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

  // In front of the steps that follow a kernel brings these pages.
  void Bring(const AttentionProblem& problem) { brought_ = problem.PageBytes(); }
  // Whether another one, the last in front of each step, brings its queries.
  void BringQueries(bool brings) { brings_queries_ = brings; }

  // The output of every token of a step; those of padding are checked to be zero.
  Outputs Run(const std::vector<Row>& rows, const Division& division) {
    const Step step = MakeStep(rows, division);
    uint8_t* const queries = UploadQueries(step);
    args_.page_tables = Upload(step.page_tables);
    const int32_t* counts = Upload(step.counts);
    args_.narrow = {Upload(plan_.narrow), counts, division.blocks};
    args_.wide = {Upload(plan_.wide), counts + 1, plan_.wide.empty() ? 0 : division.blocks};
    if (division.warpgroups) Check(MakeKvMaps(runtime(), args_.kv, num_pages_, &maps_));
    args_.maps = division.warpgroups ? &maps_ : nullptr;
    args_.merges = Upload(plan_.merges);
    const std::vector<int32_t> none(plan_.merges.size() * step.shape.num_kv_heads);
    args_.arrivals = Upload(none);
    args_.workspace = Allocate<float>(AttentionWorkspaceFloats(step.shape, plan_.num_partials) + 4);
    auto* out = Allocate<uint8_t>(step.tokens.size() * RowBytes());
    args_.out = out;
    if (!brought_.empty()) CopyByKernel(args_.kv.data, brought_);
    if (brings_queries_) CopyByKernel(queries, step.queries);
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
                        .warpgroups = division.warpgroup_items,
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

  uint8_t* UploadQueries(const Step& step) {
    const std::vector<uint8_t> no_numbers(step.queries.size(), 0xFF);
    uint8_t* const queries = Upload(brings_queries_ ? no_numbers : step.queries);
    args_.queries = queries;
    if (args_.modifier.zone == 0) return queries;
    args_.previous_queries = Upload(step.previous_queries);
    args_.older_queries = Upload(step.older_queries);
    return queries;
  }

  void CopyByKernel(uint8_t* to, const std::vector<uint8_t>& bytes) {
    Check(
        CopyBytes({.to = to, .from = Upload(bytes), .bytes = static_cast<int64_t>(bytes.size())}, stream()));
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
  int64_t num_pages_ = 0;
  std::vector<uint8_t> brought_;
  bool brings_queries_ = false;
  KvMaps maps_;
  AttentionArgs args_;
};

// The last tokens of every sequence, as prompts; padding between them.
inline std::vector<Row> Prompts(const AttentionProblem& problem, int tokens) {
  std::vector<Row> rows;
  for (size_t s = 0; s < problem.shape().lengths.size(); ++s) {
    const int length = problem.shape().lengths[s], count = std::min(tokens, length);
    rows.push_back({static_cast<int>(s), length - count, count});
    rows.push_back({-1, 0, 1 + static_cast<int>(s)});
  }
  return rows;
}

inline void ExpectNear(const AttentionProblem& problem, const Outputs& outputs) {
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

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_KERNELS_CUDA_ATTENTION_STEPS_H_
