// Every position scheme in whole models: the golden models of the ropeway architecture on every kernel set of
// the CPU, against logits and greedy tokens of a float64 reference that shares nothing with the engine. One
// prefill, token by token, in uneven pieces, and over shuffled pages must give the same bytes, and AVX2 those
// of AVX-512.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/engine/exec/executor_runs.h"
#include "tests/testing/ropeway_models.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::testing {
namespace {

using Json = nlohmann::ordered_json;
using Logits = std::vector<float>;

constexpr int kWhole = 1024;  // longer than any sequence

// How a sequence is brought to the executor.
struct Way {
  const char* name;
  int chunk;
  bool shuffled_pages;
};
constexpr Way kWays[] = {
    {"prefill", kWhole, false}, {"decode", 1, false}, {"paged", kWhole, true}, {"chunked", 7, false}};

// Pages in an order of their own, so that no slot is a position.
std::vector<PageId> Shuffled(std::vector<PageId> pages) {
  for (size_t i = 0; i + 1 < pages.size(); ++i)
    std::swap(pages[i], pages[i + (i * 7 + 3) % (pages.size() - i)]);
  return pages;
}

// A golden sequence with its greedy tokens behind it, the last apart.
struct Sequence {
  explicit Sequence(const Json& golden)
      : ids(golden["input_ids"].get<std::vector<TokenId>>()),
        prompt_length(ids.size()),
        last_logits(golden["last_logits"].get<Logits>()),
        greedy(golden["greedy"]["token_ids"].get<std::vector<TokenId>>()),
        margins(golden["greedy"]["margins"].get<std::vector<float>>()) {
    ids.insert(ids.end(), greedy.begin(), greedy.end() - 1);
    lengths = {.prompt_length = golden["admitted"]["prompt_length"],
               .max_new_tokens = golden["admitted"]["max_new_tokens"]};
  }

  std::vector<TokenId> ids;
  size_t prompt_length;
  AdmittedLengths lengths;
  Logits last_logits;
  std::vector<TokenId> greedy;
  std::vector<float> margins;
};

// From the end of the prompt on, [positions, V].
Logits LogitsBy(CpuExecutor& executor, const Sequence& sequence, const Way& way) {
  std::vector<PageId> pages = PagesFrom(0, sequence.ids.size());
  if (way.shuffled_pages) pages = Shuffled(pages);
  return LogitsOf(executor, sequence.ids, pages, way.chunk, static_cast<int32_t>(sequence.prompt_length) - 1,
                  sequence.lengths);
}

// The largest difference at the end of the prompt; greedy tokens are compared up to the first whose margin a
// difference within the tolerance could turn.
float Compare(const Sequence& sequence, const Logits& logits, float tolerance) {
  const size_t vocabulary = sequence.last_logits.size();
  float worst = 0;
  for (size_t v = 0; v < vocabulary; ++v)
    worst = std::max(worst, std::fabs(logits[v] - sequence.last_logits[v]));
  for (size_t step = 0; step < sequence.greedy.size(); ++step) {
    if (sequence.margins[step] < 2 * tolerance) break;
    EXPECT_EQ(Likeliest(absl::MakeConstSpan(logits).subspan(step * vocabulary, vocabulary)),
              sequence.greedy[step])
        << "step " << step;
  }
  return worst;
}

class RopewayGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK_AND_ASSIGN(models_, ReadRopewayModels()); }

  void CheckModel(const std::string& name, const Json& model) {
    SCOPED_TRACE(name);
    const TempFolder folder;
    ASSERT_OK(WriteRopewayModel(model["config"], MakeRopewayTensors(model), folder.path()));
    std::map<std::string, std::vector<Logits>> by_kernels;
    std::printf("%-28s", name.c_str());
    for (const std::string& kernels : UsableKernels()) {
      SCOPED_TRACE(kernels);
      ASSERT_OK_AND_ASSIGN(const auto executor, OpenExecutor(folder.path(), {.kv_type = kernels::KvType::kF32,
                                                                             .kernels = kernels,
                                                                             .threads = 2,
                                                                             .kv_cache_bytes = 16 << 20,
                                                                             .max_tokens_per_step = kWhole}));
      std::printf("  %s", kernels.c_str());
      for (const Json& golden : model["sequences"])
        CheckSequence(*executor, Sequence(golden), model["suggested_max_abs_error"], by_kernels[kernels]);
    }
    std::printf("\n");
    if (by_kernels.contains("avx2") && by_kernels.contains("avx512")) {
      EXPECT_EQ(by_kernels["avx2"], by_kernels["avx512"]);
    }
  }

  void CheckSequence(CpuExecutor& executor, const Sequence& sequence, float tolerance,
                     std::vector<Logits>& all) {
    Logits first;
    for (const Way& way : kWays) {
      const Logits logits = LogitsBy(executor, sequence, way);
      const bool same = first.empty() || logits == first;
      EXPECT_TRUE(same) << way.name << " has other bytes than prefill";
      if (first.empty()) first = logits;
      const float worst = Compare(sequence, logits, tolerance);
      EXPECT_LE(worst, tolerance) << way.name;
      std::printf(" %s", same && worst <= tolerance ? "ok" : way.name);
    }
    all.push_back(first);
  }

  Json models_;
};

TEST_F(RopewayGoldenTest, EverySchemeOnEveryKernelSet) {
  std::printf("each: prefill, decode, paged, chunked; of both sequences\n");
  for (const auto& [name, model] : models_.items()) CheckModel(name, model);
}

}  // namespace
}  // namespace ropeway::testing
