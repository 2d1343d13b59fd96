// Tiny checkpoints of every supported family, read from folders in both spellings and from GGUF files,
// against the logits and greedy tokens that Hugging Face transformers computes
// (tests/golden/models/README.md): on every kernel set of the CPU, and on the CUDA executor, whose kernels are
// executed on the CPU. Prints the table of docs/models.md.
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/engine/exec/executor_runs.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kGoldenPositions = 8;  // logits are given of the last ones

enum class Source { kFolder, kOlderFolder, kGguf, kOlderGguf };

const char* NameOf(Source source) {
  switch (source) {
    case Source::kFolder:
      return "folder";
    case Source::kOlderFolder:
      return "older_folder";
    case Source::kGguf:
      return "gguf";
    case Source::kOlderGguf:
      return "older_gguf";
  }
  return "";
}

// The name of CUDA's column, beside those of kernel sets.
constexpr char kCuda[] = "cuda";

// A model on a kernel set of the CPU, or on a CUDA device.
struct OpenedCase {
  std::unique_ptr<CpuExecutor> cpu;
  std::unique_ptr<CudaExecutor> cuda;

  LogitSource source() const { return cpu != nullptr ? LogitSource(*cpu) : LogitSource(*cuda); }
  const Executor& executor() const { return cpu != nullptr ? static_cast<const Executor&>(*cpu) : *cuda; }
};

// Writes the case into `folder`, and gives the path of what is to be opened.
absl::StatusOr<std::string> WriteCase(const std::string& name, Source source, const TempFolder& folder) {
  std::string path = folder.path();
  RETURN_IF_ERROR(
      WriteTinyModel(name, path,
                     {.spelling = source == Source::kOlderFolder ? ConfigSpelling::kRopeTheta
                                                                 : ConfigSpelling::kRopeParameters}));
  if (source == Source::kGguf || source == Source::kOlderGguf) {
    path = folder.File("model.gguf");
    const std::string command = absl::StrCat("python3 tests/tools/folder_to_gguf.py ", folder.path(), " ",
                                             path, source == Source::kOlderGguf ? " --older" : "");
    if (std::system(command.c_str()) != 0) return absl::InternalError(absl::StrCat(command, " failed"));
  }
  return path;
}

absl::StatusOr<OpenedCase> OpenCase(const std::string& path, const std::string& kernels) {
  OpenedCase opened;
  if (kernels != kCuda) {
    ASSIGN_OR_RETURN(opened.cpu, OpenExecutor(path, {.kv_type = kernels::KvType::kF32,
                                                     .kernels = kernels,
                                                     .threads = 2,
                                                     .kv_cache_bytes = 8 << 20}));
    return opened;
  }
  ASSIGN_OR_RETURN(const OpenedModel model, OpenModel(path));
  ASSIGN_OR_RETURN(opened.cuda, CudaExecutor::Make(model, cuda::emulation::EmulatedBackend(cuda::Kernels()),
                                                   {.element = cuda::Element::kF32,
                                                    .kv_cache_bytes = 8 << 20,
                                                    .max_tokens_per_step = 64,
                                                    .max_rows_per_step = 4}));
  return opened;
}

TEST(DifferenceTest, IsLargerThanAnyToleranceWhereNoNumber) {
  EXPECT_EQ(DifferenceOf(1, 3), 2);
  EXPECT_GT(std::max(0.0f, DifferenceOf(std::numeric_limits<float>::quiet_NaN(), 1)), 1e30f);
  EXPECT_GT(std::max(0.0f, DifferenceOf(1, std::numeric_limits<float>::quiet_NaN())), 1e30f);
}

using Param = std::tuple<std::string, Source>;
class TinyGoldenTest : public ::testing::TestWithParam<Param> {};

// A sequence of a golden file, whose logits are those of its last positions.
struct GoldenSequence {
  std::vector<TokenId> ids, greedy;
  std::vector<float> margins;
  absl::Span<const float> logits;  // [kGoldenPositions, V]

  size_t length() const { return ids.size(); }
  size_t first() const { return ids.size() - kGoldenPositions; }
  size_t vocabulary() const { return logits.size() / kGoldenPositions; }
};

GoldenSequence SequenceOf(const Json& json, absl::Span<const float> logits) {
  EXPECT_EQ(json["first_logits_position"].get<size_t>() + kGoldenPositions, json["input_ids"].size());
  return {.ids = json["input_ids"].get<std::vector<TokenId>>(),
          .greedy = json["greedy"]["token_ids"].get<std::vector<TokenId>>(),
          .margins = json["greedy"]["margins"].get<std::vector<float>>(),
          .logits = logits};
}

// What a request for the sequence and `steps` of its greedy tokens as prompt would be admitted with.
AdmittedLengths LengthsOf(const GoldenSequence& sequence, size_t steps) {
  return {.prompt_length = static_cast<int32_t>(sequence.length() + steps),
          .max_new_tokens = static_cast<int32_t>(sequence.greedy.size() - steps)};
}

// One pass over a sequence with `steps` golden tokens behind it: the logits at its end, and the greedy choices
// from step `first_step` on that a difference within the tolerance cannot turn. Returns how many of them it
// compared.
size_t ExpectSteps(const OpenedCase& opened, const GoldenSequence& sequence, size_t first_step, size_t steps,
                   float tolerance) {
  std::vector<TokenId> ids = sequence.ids;
  ids.insert(ids.end(), sequence.greedy.begin(), sequence.greedy.begin() + static_cast<ptrdiff_t>(steps));
  const size_t length = sequence.length(), vocabulary = sequence.vocabulary();
  const size_t first = first_step == 0 ? sequence.first() : length + first_step - 1;
  float worst = 0;
  size_t compared = 0;
  RunSequence(
      opened.source(), ids, PagesFrom(0, ids.size()), 512, static_cast<int32_t>(first),
      [&](int32_t position, absl::Span<const float> logits) {
        const size_t at = static_cast<size_t>(position);
        ASSERT_EQ(logits.size(), vocabulary);
        if (at < length)
          for (size_t v = 0; v < vocabulary; ++v)
            worst = std::max(
                worst, DifferenceOf(logits[v], sequence.logits[(at - sequence.first()) * vocabulary + v]));
        if (at + 1 < length) return;
        const size_t step = at + 1 - length;
        if (sequence.margins[step] < 2 * tolerance) return;
        EXPECT_EQ(Likeliest(logits), sequence.greedy[step]) << "step " << step;
        ++compared;
      },
      LengthsOf(sequence, first_step));
  EXPECT_LE(worst, tolerance);
  return compared;
}

// Where the rotation depends on the prompt's length, the golden file has each greedy token as that of a prompt
// of its own.
void ExpectGolden(const OpenedCase& opened, const GoldenSequence& sequence, float tolerance) {
  const size_t steps = sequence.greedy.size() - 1;
  const Executor& executor = opened.executor();
  const bool grows = executor.RotationChoices(LengthsOf(sequence, 0)) !=
                     executor.RotationChoices(LengthsOf(sequence, steps));
  size_t compared = 0;
  if (!grows) compared = ExpectSteps(opened, sequence, 0, steps, tolerance);
  for (size_t step = 0; grows && step <= steps; ++step)
    compared += ExpectSteps(opened, sequence, step, step, tolerance);
  EXPECT_GE(compared, sequence.greedy.size() - 4);
}

// What comes token by token, in decode steps that become a graph, has the bytes it has in one prompt.
void ExpectDecodeAsPrefill(const OpenedCase& opened, const GoldenSequence& sequence) {
  const auto first = static_cast<int32_t>(sequence.first());
  const std::vector<PageId> pages = PagesFrom(0, sequence.length());
  const AdmittedLengths lengths = LengthsOf(sequence, 0);
  EXPECT_EQ(LogitsOf(opened.source(), sequence.ids, pages, 64, first, lengths, first),
            LogitsOf(opened.source(), sequence.ids, pages, 64, first, lengths));
}

// Sets that round what packed weights multiply, against logits that were computed so. A rounding that float32 turns may turn a
// choice of experts, so that greedy tokens say little.
void ExpectRounded(const OpenedCase& opened, const GoldenSequence& sequence, float tolerance) {
  float worst = 0;
  RunSequence(
      opened.source(), sequence.ids, PagesFrom(0, sequence.length()), 512,
      static_cast<int32_t>(sequence.first()),
      [&](int32_t position, absl::Span<const float> logits) {
        const size_t at = static_cast<size_t>(position) - sequence.first();
        ASSERT_EQ(logits.size(), sequence.vocabulary());
        for (size_t v = 0; v < logits.size(); ++v)
          worst = std::max(worst, DifferenceOf(logits[v], sequence.logits[at * logits.size() + v]));
      },
      LengthsOf(sequence, 0));
  EXPECT_LE(worst, tolerance);
}

// What held, by case, source and kernel set: printed as a table (docs/models.md) when all tests are over.
class Agreement : public ::testing::Environment {
 public:
  void Note(const std::string& name, Source source, const std::string& kernels, bool held) {
    held_[name][NameOf(source) + (" " + kernels)] = held;
    columns_.insert(NameOf(source) + (" " + kernels));
  }

  void TearDown() override {
    std::cout << "| model |";
    for (const std::string& column : columns_) std::cout << " " << column << " |";
    std::cout << "\n|---|"
              << absl::StrCat(absl::StrJoin(std::vector<std::string>(columns_.size(), "---|"), "")) << "\n";
    for (const auto& [name, held] : held_) {
      std::cout << "| " << name << " |";
      for (const std::string& column : columns_) {
        const auto cell = held.find(column);
        std::cout << (cell == held.end() ? " - |" : cell->second ? " agrees |" : " DIFFERS |");
      }
      std::cout << "\n";
    }
  }

 private:
  std::map<std::string, std::map<std::string, bool>> held_;
  std::set<std::string> columns_;
};

Agreement& TableOfAgreement() {
  static Agreement* const table = static_cast<Agreement*>(::testing::AddGlobalTestEnvironment(new Agreement));
  return *table;
}

TEST_P(TinyGoldenTest, LogitsAndGreedyTokensAreThoseOfTransformers) {
  const auto& [name, source] = GetParam();
  ASSERT_OK_AND_ASSIGN(const Json golden, ReadTinyGolden(name));
  if (source == Source::kOlderFolder && golden["config_v4"].is_null())
    GTEST_SKIP() << "the family's config has one spelling alone";
  ASSERT_OK_AND_ASSIGN(const std::vector<float> exact, ReadTinyLogits(name));
  const TempFolder folder;
  ASSERT_OK_AND_ASSIGN(const std::string path, WriteCase(name, source, folder));
  std::vector<std::string> columns = UsableKernels();
  // The second spelling of a config is a matter of reading.
  if (source != Source::kOlderFolder && !kSlowBuild) columns.push_back(kCuda);
  for (const std::string& kernels : columns) {
    SCOPED_TRACE(kernels);
    ASSERT_OK_AND_ASSIGN(const OpenedCase opened, OpenCase(path, kernels));
    const bool rounds = golden.contains("int8_max_abs_error") && kernels != "ref" && kernels != kCuda;
    std::vector<float> logits = exact;
    if (rounds) {
      ASSERT_OK_AND_ASSIGN(logits, ReadTinyLogits(name + "_int8"));
    }
    const size_t size = logits.size() / 2;
    // Kernels that are executed lane by lane take their time: the shorter sequence is theirs.
    for (size_t i = 0; i < (kernels == kCuda ? 1 : 2); ++i) {
      const GoldenSequence sequence =
          SequenceOf(golden["sequences"][i], absl::MakeConstSpan(logits).subspan(i * size, size));
      if (rounds)
        ExpectRounded(opened, sequence, golden["int8_max_abs_error"]);
      else
        ExpectGolden(opened, sequence, golden["suggested_max_abs_error"]);
      if (kernels == kCuda) ExpectDecodeAsPrefill(opened, sequence);
    }
    TableOfAgreement().Note(name, source, kernels, !HasFailure());
  }
}

// Before the first test begins, as environments must be.
[[maybe_unused]] const Agreement& registered = TableOfAgreement();

std::string TestName(const ::testing::TestParamInfo<Param>& info) {
  return std::get<0>(info.param) + "_" + NameOf(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Folders, TinyGoldenTest,
                         ::testing::Combine(::testing::ValuesIn(SupportedTinyCases()),
                                            ::testing::Values(Source::kFolder, Source::kOlderFolder)),
                         TestName);

// Cases of architectures that GGUF knows, whose settings it has keys for.
std::vector<std::string> GgufCases() {
  const std::set<std::string> others = {
      // No such architecture.
      "biogpt", "codegen", "gpt_neo", "gptj", "helium", "opt", "opt_post_norm", "persimmon", "xglm",
      // No key: dynamic rotations, Falcon's ALiBi, windows or scales of some layers, norms of Phi's heads and of
      // BLOOM's stream.
      "bloom_pow2", "falcon_rw", "gpt2_scaled", "llama_rope_dynamic", "phi_qk_layernorm", "qwen2_window",
      "deepseek_v3_plain",
      // No key: ALiBi in other than 40 layers, layer norms of ChatGLM, Qwen's rotations and scales of long prompts.
      "baichuan_alibi", "chatglm_layernorm", "qwen"};
  std::vector<std::string> cases;
  for (const std::string& name : SupportedTinyCases())
    if (!others.contains(name)) cases.push_back(name);
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Gguf, TinyGoldenTest,
                         ::testing::Combine(::testing::ValuesIn(GgufCases()),
                                            ::testing::Values(Source::kGguf)),
                         TestName);

// Files that converters write otherwise today.
INSTANTIATE_TEST_SUITE_P(OlderGguf, TinyGoldenTest,
                         ::testing::Combine(::testing::Values("deepseek_v3"),
                                            ::testing::Values(Source::kOlderGguf)),
                         TestName);

}  // namespace
}  // namespace ropeway::testing
