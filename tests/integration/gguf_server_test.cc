// GGUF files served as their users do it, one or several, with their tokenizer and their defaults of sampling.
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/ropeway_client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/server.h"
#include "tests/integration/model_server.h"
#include "tests/testing/gguf_writer.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

server::Config ConfigOf(const std::string& path) {
  return {.model = path,
          .listen = "127.0.0.1:0",
          .metrics_listen = "",
          .device = server::Device::kCpu,
          .threads = 1,
          .kv_cache_mb = 8};
}

// A tiny model with a vocabulary of bytes and fillers.
GgufModel ModelWithVocabulary() {
  constexpr int64_t kUnknown = 2, kControl = 3, kUnused = 5, kByte = 6;
  constexpr size_t kVocabulary = 320;
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int64_t> types = {kUnknown, kControl, kControl};
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(absl::StrFormat("<0x%02X>", byte));
    types.push_back(kByte);
  }
  while (tokens.size() < kVocabulary) {
    tokens.push_back(absl::StrCat("filler ", tokens.size()));
    types.push_back(kUnused);
  }
  absl::StatusOr<GgufModel> model = MakeTinyGguf("llama_base");
  EXPECT_OK(model);
  (*model)["tokenizer.ggml.model"] = std::string("llama");
  (*model)["tokenizer.ggml.scores"] = std::vector<double>(kVocabulary, 0.0);
  (*model)["tokenizer.ggml.tokens"] = std::move(tokens);
  (*model)["tokenizer.ggml.token_type"] = std::move(types);
  (*model)["tokenizer.ggml.bos_token_id"] = int64_t{1};
  (*model)["tokenizer.ggml.eos_token_id"] = int64_t{2};
  return *std::move(model);
}

std::vector<int32_t> GreedyAnswer(client::Client& client) {
  const client::Answer answer = client.Generate({.prompt = client::TokenPrompt{.ids = {10, 20, 30, 40}},
                                                 .sampling = {.temperature = 0},
                                                 .stopping = {.max_tokens = 16, .ignore_eos = true}});
  EXPECT_OK(answer.status);
  return answer.samples.empty() ? std::vector<int32_t>() : answer.samples[0].token_ids;
}

TEST(GgufServerTest, SeveralFilesAnswerAsOne) {
  const TempFolder folder;
  const GgufModel model = ModelWithVocabulary();
  ModelServer whole(ConfigOf(folder.Write("m.gguf", GgufBytes(model))));
  ModelServer split(ConfigOf(WriteSplitGguf(SplitGguf(model, 3), folder)));
  const auto one = client::Client::Create({.server = whole.address()}),
             several = client::Client::Create({.server = split.address()});
  const std::vector<int32_t> ids = GreedyAnswer(*one);
  EXPECT_EQ(ids.size(), 16u);
  EXPECT_EQ(GreedyAnswer(*several), ids);
  ASSERT_OK_AND_ASSIGN(const client::ModelInfo info, several->GetModelInfo());
  EXPECT_EQ(info.name, "m");
}

// Weights are known by their bytes, in however many files those are.
TEST(GgufServerTest, SeveralFilesShareThePackCacheWithOne) {
  const TempFolder folder;
  const GgufModel model = ModelWithVocabulary();
  server::Config config = ConfigOf(folder.Write("m.gguf", GgufBytes(model)));
  config.pack_cache = folder.File("cache");
  {
    ASSERT_OK_AND_ASSIGN(const server::ModelBundle whole, server::LoadModel(config));
    EXPECT_GT(whole.pack_cache.packed, 0);
  }
  config.model = WriteSplitGguf(SplitGguf(model, 3), folder);
  ASSERT_OK_AND_ASSIGN(const server::ModelBundle split, server::LoadModel(config));
  EXPECT_GT(split.pack_cache.read, 0);
  EXPECT_EQ(split.pack_cache.packed, 0);
}

TEST(GgufServerTest, SamplesAsTheFileSays) {
  const TempFolder folder;
  GgufModel model = ModelWithVocabulary();
  model["general.sampling.temp"] = 0.5;
  model["general.sampling.top_k"] = int64_t{1};
  ModelServer served(ConfigOf(folder.Write("m.gguf", GgufBytes(model))));
  const auto client = client::Client::Create({.server = served.address()});
  ASSERT_OK_AND_ASSIGN(const client::ModelInfo info, client->GetModelInfo());
  EXPECT_EQ(info.sampling_defaults.temperature, 0.5f);
  EXPECT_EQ(info.sampling_defaults.top_k, 1);
  EXPECT_FALSE(info.sampling_defaults.top_p.has_value());
  // Of one token, the likeliest is chosen.
  const client::Answer answer = client->Generate({.prompt = client::TokenPrompt{.ids = {10, 20, 30, 40}},
                                                  .stopping = {.max_tokens = 16, .ignore_eos = true}});
  ASSERT_OK(answer.status);
  EXPECT_EQ(answer.samples[0].token_ids, GreedyAnswer(*client));
  model["general.sampling.top_p"] = 1.5;
  const server::Log log(server::LogLevel::kError);
  const std::string path = folder.Write("wrong.gguf", GgufBytes(model));
  EXPECT_THAT(
      server::Server::Start(ConfigOf(path), log).status(),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr(path), HasSubstr("'general.sampling.top_p' must be in (0, 1], is 1.5"))));
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// What stands between `begin` and `end`.
std::string Between(const std::string& text, const std::string& begin, const std::string& end) {
  const size_t first = text.find(begin);
  if (first == std::string::npos) return "";
  const size_t from = first + begin.size();
  return text.substr(from, text.find(end, from) - from);
}

// The first that a newcomer sees, with whatever rounding the kernels of the machine have.
TEST(GgufServerTest, TheQuickstartIsAnsweredAsTheReadmeSays) {
  const std::string script = ReadFile("deploy/quickstart.sh");
  const std::string prompt = Between(script, "\nprompt=\"", "\""),
                    system = Between(script, "\nsystem=\"", "\"");
  ASSERT_FALSE(prompt.empty() || system.empty());
  const std::string told = Between(ReadFile("README.md"), "    > " + prompt + "\n    ", "\n");
  ASSERT_FALSE(told.empty());
  for (const server::KernelSet kernels : {server::KernelSet::kAuto, server::KernelSet::kRef}) {
    server::Config config = SmallConfig();
    config.kernels = kernels;
    ModelServer served(config);
    const client::Answer answer =
        client::Client::Create({.server = served.address()})
            ->Generate({.prompt = client::ChatPrompt{.messages = {{.role = "system", .text = system},
                                                                  {.role = "user", .text = prompt}}},
                        .sampling = {.temperature = 0},
                        .stopping = {.max_tokens = 128}});
    ASSERT_OK(answer.status);
    EXPECT_EQ(answer.samples[0].text, told) << WordOf(kernels);
  }
}

}  // namespace
}  // namespace ropeway::testing
