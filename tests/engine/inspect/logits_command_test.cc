#include "engine/inspect/logits_command.h"

#include <cmath>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/testing/gguf_writer.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;
using ::ropeway::testing::TempFolder;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class LogitsCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(ropeway::testing::WriteTinyModel("qwen3", folder_.path()));
    ASSERT_OK_AND_ASSIGN(probe_, ModelProbe::Open({.model = folder_.path(), .kernels = "ref", .threads = 2}));
    ASSERT_OK_AND_ASSIGN(golden_, ropeway::testing::ReadTinyGolden("qwen3"));
  }

  Json Logits(const Json& line) { return Json::parse(LogitsLine(*probe_, line.dump())); }
  Json Generate(const Json& line) { return Json::parse(GenerateLine(*probe_, line.dump())); }

  const TempFolder folder_;
  std::unique_ptr<ModelProbe> probe_;
  nlohmann::ordered_json golden_;
};

TEST_F(LogitsCommandTest, AnswersWithTheLastRowsAndAllLogprobs) {
  const Json ids = golden_["sequences"][0]["input_ids"];
  const Json answer = Logits({{"ids", ids}, {"last", 8}});
  ASSERT_EQ(answer["logits"].size(), 8u);
  ASSERT_EQ(answer["logprobs"].size(), ids.size() - 1);
  ASSERT_OK_AND_ASSIGN(const std::vector<float> golden, ropeway::testing::ReadTinyLogits("qwen3"));
  for (size_t row = 0; row < 8; ++row)
    for (size_t i = 0; i < 320; ++i)
      ASSERT_NEAR(answer["logits"][row][i].get<float>(), golden[row * 320 + i], 2e-4) << row << " " << i;
  // The log-probability of the last id follows from the row before the last.
  double sum = 0;
  for (const Json& logit : answer["logits"][6]) sum += std::exp(logit.get<double>());
  EXPECT_NEAR(answer["logprobs"].back(),
              answer["logits"][6][ids.back().get<size_t>()].get<double>() - std::log(sum), 1e-5);
}

TEST_F(LogitsCommandTest, GivesOneRowUnlessAskedForOthers) {
  EXPECT_EQ(Logits({{"ids", {5, 6, 7}}})["logits"].size(), 1u);
  EXPECT_EQ(Logits({{"ids", {5, 6, 7}}, {"last", 99}})["logits"].size(), 3u);
  EXPECT_EQ(Logits({{"ids", {5, 6, 7}}, {"last", 0}})["logits"].size(), 0u);
  EXPECT_EQ(Logits({{"ids", {5}}})["logprobs"].size(), 0u);
}

TEST_F(LogitsCommandTest, ContinuesGreedily) {
  const auto& sequence = golden_["sequences"][1];
  const Json answer = Generate({{"ids", sequence["input_ids"]}, {"max_tokens", 24}, {"ignore_eos", true}});
  EXPECT_EQ(answer["ids"], Json(sequence["greedy"]["token_ids"]));
  for (size_t i = 0; i < 24; ++i)
    EXPECT_NEAR(answer["margins"][i].get<double>(), sequence["greedy"]["margins"][i].get<double>(), 4e-4);
  EXPECT_EQ(Generate({{"ids", {5}}})["ids"].size(), 16u);
  EXPECT_EQ(Generate({{"ids", {5}}, {"max_tokens", 0}}), Json::parse(R"({"ids": [], "margins": []})"));
}

TEST_F(LogitsCommandTest, AnswersBadLinesWithAnError) {
  const struct {
    std::string line;
    const char* says;
  } cases[] = {
      {"", "not valid JSON"},
      {"\xFF", "not valid JSON"},
      {"[1]", "not a JSON object"},
      {"{}", "ids: not an array of at least one token id"},
      {R"({"ids": []})", "ids: not an array of at least one token id"},
      {R"({"ids": [5, 320]})", "ids[1]: must be an integer in [0, 320), is 320"},
      {R"({"ids": [-1]})", "ids[0]: must be an integer in [0, 320), is -1"},
      {R"({"ids": [1.0]})", "ids[0]: must be an integer in [0, 320), is 1.0"},
      {R"({"ids": ["5"]})", "ids[0]: must be an integer in [0, 320), is string"},
      {R"({"ids": [)" + std::string(100'000, '[') + std::string(100'000, ']') + "]}", "is array"},
      {R"({"ids": [5], "last": -1, "max_tokens": -1})", "must be in [0, 2^31), is -1"},
      {R"({"ids": [5], "last": 18446744073709551615, "max_tokens": 18446744073709551615})",
       "must be in [0, 2^31)"},
      {R"({"ids": [5], "last": "x", "max_tokens": 1.5})", "not an integer"},
  };
  for (const auto& [line, says] : cases)
    for (const std::string& answer : {LogitsLine(*probe_, line), GenerateLine(*probe_, line)}) {
      EXPECT_THAT(answer, StartsWith("{\"error\":"));
      EXPECT_THAT(answer, HasSubstr(says));
    }
  EXPECT_THAT(GenerateLine(*probe_, R"({"ids": [5], "ignore_eos": 1})"),
              HasSubstr("ignore_eos: not true or false"));
  EXPECT_THAT(GenerateLine(*probe_, R"({"ids": [5], "max_tokens": 300})"),
              HasSubstr("new ones are longer than the model's context of 256"));
}

// As on a GPU: the executor of CUDA on the emulated runtime.
TEST(LogitsCommandOnCudaTest, GivesTheSameLogits) {
  const TempFolder folder;
  ASSERT_OK(ropeway::testing::WriteTinyModel("qwen3", folder.path()));
  ASSERT_OK_AND_ASSIGN(const auto golden, ropeway::testing::ReadTinyGolden("qwen3"));
  ASSERT_OK_AND_ASSIGN(
      const auto probe,
      ModelProbe::Open({.model = folder.path(), .device = "cuda", .open_backend = [] {
                          return absl::StatusOr<const cuda::Backend*>(
                              &cuda::emulation::EmulatedBackend(cuda::emulation::HostKernels()));
                        }}));
  ASSERT_OK_AND_ASSIGN(const std::vector<float> expected, ropeway::testing::ReadTinyLogits("qwen3"));
  for (size_t i = 0; i < 2; ++i) {  // one shorter than a step, one longer
    const Json line = {{"ids", golden["sequences"][i]["input_ids"]}, {"last", 8}};
    const Json answer = Json::parse(LogitsLine(*probe, line.dump()));
    for (size_t row = 0; row < 8; ++row)
      for (size_t v = 0; v < 320; ++v)
        ASSERT_NEAR(answer["logits"][row][v].get<float>(), expected[(i * 8 + row) * 320 + v], 2e-4);
  }
  EXPECT_THAT(ModelProbe::Open({.model = folder.path(), .device = "tpu"}),
              ropeway::testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("device: must be cpu or cuda, is 'tpu'")));
}

// Weights are uploaded from several files as from one.
TEST(LogitsCommandOnCudaTest, GivesTheSameBytesForAModelInSeveralFiles) {
  for (const char* name : {"llama_base", "gemma3_text"}) {
    const TempFolder folder;
    ASSERT_OK_AND_ASSIGN(const ropeway::testing::GgufModel file, ropeway::testing::MakeTinyGguf(name));
    const std::string whole = folder.Write("whole.gguf", ropeway::testing::GgufBytes(file));
    const std::string first = ropeway::testing::WriteSplitGguf(ropeway::testing::SplitGguf(file, 5), folder);
    std::string answers[2];
    for (const bool split : {false, true}) {
      ASSERT_OK_AND_ASSIGN(
          const std::unique_ptr<ModelProbe> probe,
          ModelProbe::Open({.model = split ? first : whole, .device = "cuda", .open_backend = [] {
                              return absl::StatusOr<const cuda::Backend*>(
                                  &cuda::emulation::EmulatedBackend(cuda::emulation::HostKernels()));
                            }}));
      answers[split] = LogitsLine(*probe, R"({"ids": [5, 6, 7, 8, 9], "last": 5})");
      EXPECT_THAT(answers[split], HasSubstr("logprobs"));
    }
    EXPECT_EQ(answers[true], answers[false]) << name;
  }
}

TEST(GenerateCommandTest, EndsWithAnEndToken) {
  const TempFolder folder;
  ASSERT_OK_AND_ASSIGN(const auto golden, ropeway::testing::ReadTinyGolden("llama_base"));
  ASSERT_OK_AND_ASSIGN(ropeway::testing::GgufModel model, ropeway::testing::MakeTinyGguf("llama_base"));
  const auto& sequence = golden["sequences"][0];
  const auto greedy = sequence["greedy"]["token_ids"].get<std::vector<int64_t>>();
  model["tokenizer.ggml.eos_token_id"] = greedy[2];
  model["tokenizer.ggml.model"] = std::string("gpt2");
  std::vector<std::string> tokens;
  for (int i = 0; i < 320; ++i) tokens.push_back("token" + std::to_string(i));
  model["tokenizer.ggml.tokens"] = tokens;
  ASSERT_OK_AND_ASSIGN(const auto probe,
                       ModelProbe::Open({.model = folder.Write("m.gguf", ropeway::testing::GgufBytes(model)),
                                         .kernels = "ref",
                                         .threads = 1}));
  const Json line = {{"ids", sequence["input_ids"]}, {"max_tokens", 10}};
  const std::vector<int64_t> ids = Json::parse(GenerateLine(*probe, line.dump()))["ids"];
  EXPECT_EQ(ids, std::vector<int64_t>(greedy.begin(), greedy.begin() + 3));
}

TEST(ModelProbeTest, RefusesUnknownKernelsAndThreads) {
  using ::ropeway::testing::StatusIs;
  EXPECT_THAT(
      ModelProbe::Open({.model = "x", .kernels = "neon"}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must be one of auto, ref, avx2, avx512")));
  EXPECT_THAT(ModelProbe::Open({.model = "x", .threads = -1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("threads must be in [0, 1024], is -1")));
  EXPECT_THAT(ModelProbe::Open({.model = "/nowhere/x.gguf"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/x.gguf")));
}

}  // namespace
}  // namespace ropeway
