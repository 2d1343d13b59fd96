// Every position scheme in whole models: the golden models of the ropeway architecture on every kernel set of
// the CPU and on the CUDA executor, whose kernels are executed on the CPU, against logits and greedy tokens of
// a float64 reference that shares nothing with the engine. One prefill, token by token, over shuffled pages
// and in uneven pieces must give the same bytes, and AVX2 those of AVX-512. Prints the table of
// docs/positions.md.
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "engine/base/status_macros.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/engine/exec/executor_runs.h"
#include "tests/testing/patience.h"
#include "tests/testing/ropeway_models.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;
using Logits = std::vector<float>;

constexpr int kWhole = 1024;  // longer than any sequence

// How a sequence is brought to the executor.
struct Way {
  const char* name;
  int chunk;
  bool shuffled_pages;
  bool decodes_answer = false;  // what follows the prompt comes token by token
};
constexpr Way kWays[] = {
    {"prefill", kWhole, false}, {"decode", 1, false}, {"paged", kWhole, true}, {"chunked", 7, false}};
// The last three at once.
constexpr Way kShortcut[] = {{"prefill", kWhole, false}, {"mixed", 100, true, true}};

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
Logits LogitsBy(const LogitSource& executor, const Sequence& sequence, const Way& way) {
  std::vector<PageId> pages = PagesFrom(0, sequence.ids.size());
  if (way.shuffled_pages) pages = Shuffled(pages);
  const auto prompt_length = static_cast<int32_t>(sequence.prompt_length);
  return LogitsOf(executor, sequence.ids, pages, way.chunk, prompt_length - 1, sequence.lengths,
                  way.decodes_answer ? prompt_length : INT32_MAX);
}

// The largest difference at the end of the prompt; greedy tokens are compared up to the first whose margin a
// difference within the tolerance could turn.
float Compare(const Sequence& sequence, const Logits& logits, float tolerance) {
  const size_t vocabulary = sequence.last_logits.size();
  float worst = 0;
  for (size_t v = 0; v < vocabulary; ++v)
    worst = std::max(worst, DifferenceOf(logits[v], sequence.last_logits[v]));
  for (size_t step = 0; step < sequence.greedy.size(); ++step) {
    if (sequence.margins[step] < 2 * tolerance) break;
    EXPECT_EQ(Likeliest(absl::MakeConstSpan(logits).subspan(step * vocabulary, vocabulary)),
              sequence.greedy[step])
        << "step " << step;
  }
  return worst;
}

absl::StatusOr<std::unique_ptr<CudaExecutor>> OpenCuda(const std::string& path,
                                                       const cuda::KernelTable& kernels, int ranks = 1) {
  ASSIGN_OR_RETURN(const OpenedModel model, OpenModel(path));
  return CudaExecutor::Make(model, cuda::emulation::EmulatedBackend(kernels),
                            {.element = cuda::Element::kF32,
                             .tensor_parallel = ranks,
                             .kv_cache_bytes = 16 << 20,
                             .max_tokens_per_step = kWhole,
                             .max_rows_per_step = 4});
}

// A column of the table: an executor that a model is opened on, and what came of the model there.
struct Column {
  std::string name;
  std::unique_ptr<CpuExecutor> cpu;
  std::unique_ptr<CudaExecutor> cuda;
  std::vector<Logits> all;      // of the sequences, when computed in one prefill
  std::string passed = "++++";  // a mark for each of kWays
  float worst = 0;              // difference to the reference

  LogitSource source() const { return cpu != nullptr ? LogitSource(*cpu) : LogitSource(*cuda); }
};

// The kernel sets of this processor, and the kernels that a CUDA device gets, executed lane by lane.
std::vector<Column> OpenColumns(const std::string& path) {
  std::vector<Column> columns;
  for (const std::string& kernels : UsableKernels()) {
    auto executor = OpenExecutor(path, {.kv_type = kernels::KvType::kF32,
                                        .kernels = kernels,
                                        .threads = 2,
                                        .kv_cache_bytes = 16 << 20,
                                        .max_tokens_per_step = kWhole});
    EXPECT_THAT(executor.status(), IsOk()) << kernels;
    if (executor.ok()) columns.push_back({.name = kernels, .cpu = *std::move(executor)});
  }
  if (kWatchesThreads) return columns;
  auto executor = OpenCuda(path, cuda::Kernels());
  EXPECT_THAT(executor.status(), IsOk());
  if (executor.ok()) columns.push_back({.name = "cuda", .cuda = *std::move(executor)});
  return columns;
}

void CheckSequence(const Sequence& sequence, absl::Span<const Way> ways, float tolerance, Column& column) {
  Logits first;
  for (size_t i = 0; i < ways.size(); ++i) {
    const Logits logits = LogitsBy(column.source(), sequence, ways[i]);
    const bool same = first.empty() || logits == first;
    EXPECT_TRUE(same) << ways[i].name << " has other bytes than prefill";
    if (first.empty()) first = logits;
    const float worst = Compare(sequence, logits, tolerance);
    EXPECT_LE(worst, tolerance) << ways[i].name;
    column.worst = std::max(column.worst, worst);
    if (same && worst <= tolerance) continue;
    const size_t last = i + 1 == ways.size() ? std::size(kWays) : i + 1;
    for (size_t mark = i; mark < last; ++mark) column.passed[mark] = '-';
  }
  column.all.push_back(first);
}

// Kernels executed lane by lane take their time: the second sequence, which is long, comes in fewer ways, and
// not at all in slow builds.
void CheckSequences(const Json& sequences, float tolerance, Column& column) {
  const bool by_lanes = column.cuda != nullptr;
  for (const Json& golden : sequences) {
    const bool shortcut = by_lanes && (kSlowBuild || !column.all.empty());
    CheckSequence(Sequence(golden), shortcut ? absl::MakeConstSpan(kShortcut) : absl::MakeConstSpan(kWays),
                  tolerance, column);
    if (by_lanes && kSlowBuild) return;
  }
}

class RopewayGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK_AND_ASSIGN(models_, ReadRopewayModels()); }

  std::string WriteModel(const std::string& name) {
    const Json& model = models_[name];
    EXPECT_THAT(WriteRopewayModel(model["config"], MakeRopewayTensors(model), folder_.path()), IsOk());
    return folder_.path();
  }

  void CheckModel(const std::string& name, const Json& model) {
    SCOPED_TRACE(name);
    const float tolerance = model["suggested_max_abs_error"];
    std::vector<Column> columns = OpenColumns(WriteModel(name));
    std::printf("| %s | %.1e |", name.c_str(), static_cast<double>(tolerance));
    std::map<std::string, std::vector<Logits>> by_name;
    for (Column& column : columns) {
      SCOPED_TRACE(column.name);
      CheckSequences(model["sequences"], tolerance, column);
      std::printf(" %.1e %s |", static_cast<double>(column.worst), column.passed.c_str());
      by_name[column.name] = column.all;
    }
    std::printf("\n");
    std::fflush(stdout);
    if (by_name.contains("avx2") && by_name.contains("avx512")) {
      EXPECT_EQ(by_name["avx2"], by_name["avx512"]);
    }
  }

  const TempFolder folder_;
  Json models_;
};

// Each cell: the largest difference to the reference, and a mark for each way.
TEST_F(RopewayGoldenTest, EverySchemeOnEveryKernelSet) {
  std::printf("| model | bound |");
  for (const std::string& kernels : UsableKernels()) std::printf(" %s |", kernels.c_str());
  std::printf(" cuda |\n|---|---|---|---|---|---|\n");
  for (const auto& [name, model] : models_.items()) CheckModel(name, model);
}

// The logits of one sequence of rows that are computed together, each as long as the others.
std::vector<Logits> LogitsTogether(CudaExecutor& executor, std::vector<RunRow> rows, int chunk,
                                   int32_t decode_from) {
  std::vector<Logits> all(rows.size());
  const std::vector<RunRow> whole = rows;
  const auto length = static_cast<int32_t>(whole[0].ids.size());
  for (int32_t first = 0, last = 0; first < length; first = last) {
    last = first < decode_from ? std::min(first + chunk, decode_from) : first + 1;
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].ids = whole[i].ids.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first));
      rows[i].first_position = first;
    }
    std::vector<int32_t> indices(rows.size() * static_cast<size_t>(last - first));
    std::iota(indices.begin(), indices.end(), 0);
    EXPECT_THAT(executor.VisitLogits(PlanOf(rows), indices,
                                     [&](int32_t index, absl::Span<const float> logits) {
                                       Logits& of_row = all[static_cast<size_t>(index / (last - first))];
                                       of_row.insert(of_row.end(), logits.begin(), logits.end());
                                     }),
                IsOk());
  }
  return all;
}

// Requests of one text, admitted with different lengths: what they are turned by is their own, in prompts and
// in decode steps, which are padded and replayed as a graph.
TEST_F(RopewayGoldenTest, ABatchTurnsEachRequestAsItWasAdmitted) {
  if (kWatchesThreads) GTEST_SKIP() << "whole models on the shipped kernels";
  constexpr size_t kTokens = 40;
  constexpr int32_t kDecodeFrom = 32;
  const AdmittedLengths lengths[] = {{37, 3}, {600, 100}, {150, 3}};
  for (const char* name : {"rope_dynamic", "rope_dynamic_qwen1", "rope_longrope", "rope_longrope_crossing"}) {
    SCOPED_TRACE(name);
    const std::string path = WriteModel(name);
    ASSERT_OK_AND_ASSIGN(const auto executor, OpenCuda(path, cuda::Kernels()));
    ASSERT_OK_AND_ASSIGN(const auto cpu, OpenExecutor(path, {.kv_cache_bytes = 1 << 20}));
    std::vector<TokenId> ids = Sequence(models_[name]["sequences"][1]).ids;
    ids.resize(kTokens);
    std::vector<std::vector<PageId>> pages;
    for (PageId first : {0, 8, 16}) pages.push_back(PagesFrom(first, kTokens));
    std::vector<RunRow> rows;
    std::vector<Logits> alone;
    for (size_t i = 0; i < pages.size(); ++i) {
      rows.push_back({.ids = ids, .pages = pages[i], .lengths = lengths[i]});
      alone.push_back(LogitsOf(*executor, ids, pages[i], kWhole, 0, lengths[i]));
      EXPECT_FALSE(executor->RotationChoices(lengths[i]).empty());
      EXPECT_EQ(executor->RotationChoices(lengths[i]), cpu->RotationChoices(lengths[i]));
    }
    EXPECT_NE(alone[0], alone[1]);
    EXPECT_EQ(LogitsTogether(*executor, rows, 7, kDecodeFrom), alone);
  }
}

// A long row that is decoded alone is shared out by spans of positions, but not where all heads are mixed: with one KV
// head, too.
TEST_F(RopewayGoldenTest, AMixerOfOneKvHeadGivesALongRowTheBytesOfItsPrompt) {
  constexpr size_t kTokens = 1100;
  Json model = models_["dape_nope"];
  model["config"]["num_key_value_heads"] = 1;
  model["config"]["max_position_embeddings"] = kTokens;
  for (auto& [name, fill] : model["fills"].items())
    if (absl::StrContains(name, "k_proj") || absl::StrContains(name, "v_proj")) fill[0] = {16, 96};
  ASSERT_THAT(WriteRopewayModel(model["config"], MakeRopewayTensors(model), folder_.path()), IsOk());
  ASSERT_OK_AND_ASSIGN(const auto executor,
                       OpenExecutor(folder_.path(), {.threads = 2, .kv_cache_bytes = 16 << 20}));
  std::vector<TokenId> ids(kTokens);
  for (size_t i = 0; i < kTokens; ++i) ids[i] = static_cast<TokenId>(3 + i * 53 % 300);
  const std::vector<PageId> pages = PagesFrom(0, kTokens);
  const auto last = static_cast<int32_t>(kTokens) - 2;
  EXPECT_EQ(LogitsOf(*executor, ids, pages, 64, last, {}, last), LogitsOf(*executor, ids, pages, 64, last));
}

// Each rank has its heads' part of tables, slopes and sinks; what ranks cannot share is refused by name.
TEST_F(RopewayGoldenTest, RanksShareEveryScheme) {
  int shared = 0;
  for (const auto& [name, model] : models_.items()) {
    SCOPED_TRACE(name);
    const auto executor = OpenCuda(WriteModel(name), cuda::emulation::HostKernels(), 2);
    if (!executor.ok()) {
      EXPECT_THAT(executor.status(), AnyOf(StatusIs(absl::StatusCode::kUnimplemented,
                                                    HasSubstr("whose positions mix heads, is 2")),
                                           StatusIs(absl::StatusCode::kInvalidArgument,
                                                    HasSubstr("must divide the model's 1 KV heads, is 2"))));
      continue;
    }
    ++shared;
    const float tolerance = model["suggested_max_abs_error"];
    const Sequence sequence(model["sequences"][0]);
    EXPECT_LE(Compare(sequence, LogitsBy(**executor, sequence, kWays[0]), tolerance), tolerance);
  }
  EXPECT_EQ(shared, 59);
}

}  // namespace
}  // namespace ropeway::testing
