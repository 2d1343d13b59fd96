// What rounding activations to 8 bits per 32 columns changes on a real model, against plain float32. The
// bounds are twice what a simulation of the rounding found (tests/golden/models/README.md).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/engine/exec/executor_runs.h"
#include "tests/engine/exec/real_golden.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

constexpr double kMeanDivergence = 0.006, kLeastMeanDivergence = 0.0010, kHighDivergence = 0.04;  // KL
constexpr double kMeanLogprobLost = 0.015;
constexpr double kEqualShare = 0.95;
constexpr float kCertainMargin = 0.75f;
constexpr double kPerplexityTolerance = 1e-4;  // relative, of float32

// Chunks of this many tokens: their logits must fit memory.
constexpr int kChunk = 128;
constexpr size_t kTokens = kSlowBuild ? kChunk : 6 * kChunk;  // of the text

std::vector<float> ChunkLogits(CpuExecutor& executor, absl::Span<const TokenId> ids,
                               absl::Span<const PageId> pages, size_t first) {
  std::vector<int32_t> indices;
  const RunRow row{ids.subspan(first, kChunk), static_cast<int32_t>(first), pages};
  for (size_t i = 0; i < row.ids.size(); ++i) indices.push_back(static_cast<int32_t>(i));
  const auto vocabulary = static_cast<size_t>(executor.limits().vocab_size);
  std::vector<float> logits(indices.size() * vocabulary);
  executor.VisitLogits(PlanOf({row}), indices, [&](int32_t index, absl::Span<const float> values) {
    std::copy(values.begin(), values.end(), logits.begin() + index * static_cast<std::ptrdiff_t>(vocabulary));
  });
  return logits;
}

// What is counted over all positions.
struct Drift {
  std::vector<double> divergences;
  double logprob_lost = 0;
  int scored = 0, equal = 0, certain_changed = 0;

  void Add(absl::Span<const float> exact, absl::Span<const float> rounded, TokenId next) {
    const std::vector<double> p = LogProbabilities(exact), q = LogProbabilities(rounded);
    double divergence = 0;
    for (size_t i = 0; i < p.size(); ++i) divergence += std::exp(p[i]) * (p[i] - q[i]);
    divergences.push_back(divergence);
    const TokenId best = Likeliest(exact);
    float second = -INFINITY;
    for (size_t i = 0; i < exact.size(); ++i)
      if (static_cast<TokenId>(i) != best) second = std::max(second, exact[i]);
    const bool same = Likeliest(rounded) == best;
    equal += same;
    certain_changed += !same && exact[best] - second >= kCertainMargin;
    if (next == kNoToken) return;
    logprob_lost += p[next] - q[next];
    ++scored;
  }

  void ExpectSmall() {
    std::sort(divergences.begin(), divergences.end());
    double mean = 0;
    for (const double divergence : divergences) mean += divergence / static_cast<double>(divergences.size());
    EXPECT_LE(mean, kMeanDivergence);
    EXPECT_GE(mean, kLeastMeanDivergence) << "activations were not rounded";
    EXPECT_LE(divergences[divergences.size() * 99 / 100], kHighDivergence);
    // What a few tokens lose is chance.
    if (!kSlowBuild) {
      EXPECT_LE(logprob_lost / scored, kMeanLogprobLost);
    }
    EXPECT_GE(equal, kEqualShare * static_cast<double>(divergences.size()));
    EXPECT_EQ(certain_changed, 0);
    std::cout << "mean KL " << mean << ", 99th percentile " << divergences[divergences.size() * 99 / 100]
              << ", mean log-probability lost " << logprob_lost / scored << ", best token equal at " << equal
              << " of " << divergences.size() << " positions\n";
  }
};

class Int8GoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const std::string& name : UsableKernels()) {
      const bool exact = name == "ref";
      ASSERT_OK_AND_ASSIGN(auto executor,
                           OpenExecutor(RealModelPath(kSmolLm2),
                                        {.kv_type = exact ? kernels::KvType::kF32 : kernels::KvType::kBF16,
                                         .kernels = name,
                                         .kv_cache_bytes = 256 << 20}));
      (exact ? exact_ : fast_.emplace_back()) = std::move(executor);
    }
    if (fast_.empty()) GTEST_SKIP() << "this processor has neither AVX2 nor AVX-512";
  }

  std::unique_ptr<CpuExecutor> exact_;
  std::vector<std::unique_ptr<CpuExecutor>> fast_;
};

TEST_F(Int8GoldenTest, FastKernelsStayCloseAndGiveTheSameBytesAsEachOther) {
  ASSERT_OK_AND_ASSIGN(const GoldenText golden, ReadGoldenText(kSmolLm2));
  const auto ids = absl::MakeConstSpan(golden.ids).subspan(0, kTokens);
  const std::vector<PageId> pages = PagesFrom(0, ids.size());
  const auto vocabulary = static_cast<size_t>(exact_->limits().vocab_size);
  Drift drift;
  double loss = 0, golden_loss = 0;
  for (size_t first = 0; first < ids.size(); first += kChunk) {
    const std::vector<float> exact = ChunkLogits(*exact_, ids, pages, first);
    const std::vector<float> rounded = ChunkLogits(*fast_[0], ids, pages, first);
    for (size_t i = 1; i < fast_.size(); ++i) {
      const std::vector<float> other = ChunkLogits(*fast_[i], ids, pages, first);
      ASSERT_EQ(std::memcmp(other.data(), rounded.data(), rounded.size() * sizeof(float)), 0) << first;
    }
    for (size_t t = 0; t * vocabulary < exact.size(); ++t) {
      const size_t next = first + t + 1;
      const auto row = absl::MakeConstSpan(exact).subspan(t * vocabulary, vocabulary);
      drift.Add(row, absl::MakeConstSpan(rounded).subspan(t * vocabulary, vocabulary),
                next < ids.size() ? ids[next] : kNoToken);
      if (next == ids.size()) break;
      loss -= LogProbabilities(row)[ids[next]];
      golden_loss -= golden.logprobs[next];
    }
  }
  drift.ExpectSmall();
  const double count = static_cast<double>(ids.size()) - 1;
  EXPECT_NEAR(std::exp((loss - golden_loss) / count), 1, kPerplexityTolerance);
}

}  // namespace
}  // namespace ropeway::testing
