// Hugging Face folders served as their users do it: every supported family and the ropeway architecture, with a
// tokenizer, chat template and generation_config.json beside the weights, asked over gRPC.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/ropeway_client.h"
#include "engine/base/check.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/server.h"
#include "tests/integration/model_server.h"
#include "tests/testing/folder_text.h"
#include "tests/testing/ropeway_models.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

server::Config ConfigOf(const std::string& folder) {
  return {.model = folder,
          .listen = "127.0.0.1:0",
          .metrics_listen = "",
          .device = server::Device::kCpu,
          .kernels = server::KernelSet::kRef,
          .threads = 1,
          .kv_cache_mb = 8,
          .kv_type = server::KvCacheType::kF32};
}

std::unique_ptr<client::Client> Connect(const ModelServer& served) {
  return client::Client::Create({.server = served.address()});
}

client::Request Greedy(std::vector<int32_t> ids, int32_t max_tokens) {
  return {.prompt = client::TokenPrompt{.ids = std::move(ids)},
          .sampling = {.temperature = 0},
          .stopping = {.max_tokens = max_tokens, .ignore_eos = true}};
}

// Golden tokens up to the first choice that a difference within the tolerance can turn.
void ExpectGreedy(client::Client& client, const std::vector<int32_t>& prompt, const Json& greedy,
                  float tolerance) {
  const auto golden = greedy["token_ids"].get<std::vector<int32_t>>();
  const auto margins = greedy["margins"].get<std::vector<float>>();
  size_t sure = 0;
  while (sure < golden.size() && margins[sure] > 2 * tolerance) ++sure;
  const client::Answer answer = client.Generate(Greedy(prompt, static_cast<int32_t>(golden.size())));
  ASSERT_OK(answer.status);
  std::vector<int32_t> ids = answer.samples[0].token_ids;
  ASSERT_EQ(ids.size(), golden.size());
  EXPECT_GT(sure, 0u);
  ids.resize(sure);
  EXPECT_EQ(ids, std::vector<int32_t>(golden.begin(), golden.begin() + static_cast<long>(sure)));
}

class FamilyTest : public ::testing::TestWithParam<std::string> {};

TEST_P(FamilyTest, AnswersWithTheGoldenTokens) {
  const std::string& name = GetParam();
  const TempFolder folder;
  ASSERT_OK(WriteTinyModel(name, folder.path(), {.num_shards = 2}));
  WriteFolderText(folder);
  ASSERT_OK_AND_ASSIGN(const Json golden, ReadTinyGolden(name));
  ModelServer served(ConfigOf(folder.path()));
  const auto client = Connect(served);
  const Json& sequence = golden["sequences"][0];
  ExpectGreedy(*client, sequence["input_ids"].get<std::vector<int32_t>>(), sequence["greedy"],
               golden["suggested_max_abs_error"]);
  ASSERT_OK_AND_ASSIGN(const client::ModelInfo info, client->GetModelInfo());
  EXPECT_EQ(info.architecture, golden["config"]["model_type"]);
  const Json& config = golden["config"];
  EXPECT_EQ(info.quantization, config.contains("quantization_config") ? "MXFP4" : "F32");
  EXPECT_EQ(info.vocab_size,
            config.contains("vocab_size") ? config["vocab_size"] : config["padded_vocab_size"]);
}

INSTANTIATE_TEST_SUITE_P(Folders, FamilyTest, ::testing::ValuesIn(SupportedTinyCases()),
                         [](const auto& info) { return info.param; });

class FolderTest : public ::testing::Test {
 protected:
  FolderTest() {
    ROPEWAY_CHECK(WriteTinyModel("llama_base", folder_.path()).ok());
    WriteFolderText(folder_);
  }

  // Why a server does not start with the folder as it is.
  std::string WhyNot(server::Config config) const {
    const server::Log log(server::LogLevel::kError);
    return std::string(server::Server::Start(config, log).status().message());
  }
  std::string WhyNot() const { return WhyNot(ConfigOf(folder_.path())); }

  void Edit(const std::string& file, const std::function<void(Json&)>& edit) const {
    std::ifstream in(folder_.File(file));
    Json json = Json::parse(in);
    edit(json);
    folder_.Write(file, json.dump());
  }

  const TempFolder folder_;
};

TEST_F(FolderTest, TellsWhatItsFilesSay) {
  ModelServer served(ConfigOf(folder_.path()));
  const auto client = Connect(served);
  ASSERT_OK_AND_ASSIGN(const client::ModelInfo info, client->GetModelInfo());
  EXPECT_EQ(info.bos_token_id, kBos);
  EXPECT_EQ(info.eos_token_id, kEos);
  EXPECT_THAT(info.end_token_ids, ElementsAre(kPad, kEos));
  EXPECT_EQ(info.sampling_defaults.temperature, 0.5f);
  EXPECT_EQ(info.sampling_defaults.top_k, 7);
  EXPECT_EQ(info.rope_scaling, "none");
  EXPECT_EQ(info.file_quantization, "F32");
  ASSERT_OK_AND_ASSIGN(const client::Tokens tokens, client->Tokenize(client::TextPrompt{.text = "he h"}));
  EXPECT_THAT(tokens.ids, ElementsAre(kMerged, kFirstByte + ' ', kFirstByte + 'h'));
  const client::ChatPrompt chat{.messages = {{.role = "user", .text = "hi"}}};
  ASSERT_OK_AND_ASSIGN(const std::string rendered, client->RenderChat(chat));
  EXPECT_EQ(rendered, "[user] hi>");
  EXPECT_OK(client->Generate({.prompt = chat, .stopping = {.max_tokens = 4}}).status);
}

TEST_F(FolderTest, EndsAtWhatTheFolderCallsAnEnd) {
  ModelServer unlimited(ConfigOf(folder_.path()));
  const std::vector<int32_t> prompt = {10, 20, 30, 40};
  const std::vector<int32_t> all = Connect(unlimited)->Generate(Greedy(prompt, 12)).samples[0].token_ids;
  ASSERT_EQ(all.size(), 12u);
  Edit("generation_config.json", [&](Json& json) { json["eos_token_id"] = all[5]; });
  ModelServer served(ConfigOf(folder_.path()));
  client::Request request = Greedy(prompt, 12);
  request.stopping.ignore_eos = false;
  const client::Answer answer = Connect(served)->Generate(request);
  ASSERT_OK(answer.status);
  const auto first = std::find(all.begin(), all.end(), all[5]);
  EXPECT_EQ(answer.samples[0].token_ids.size(), static_cast<size_t>(first - all.begin()) + 1);
}

TEST_F(FolderTest, IsNamedAsItsFolder) {
  const std::string name = folder_.path().substr(folder_.path().rfind('/') + 1);
  for (const char* suffix : {"", "/", "//", "/.", "/../"}) {
    std::string path = absl::StrCat(folder_.path(), suffix);
    if (path.ends_with("/../")) path += name;
    EXPECT_EQ(server::ModelName({.model = path}), name) << path;
  }
  EXPECT_EQ(server::ModelName({.model = "models/a.b.gguf"}), "a.b");
  EXPECT_EQ(server::ModelName({.model = "models/a.b-00001-of-00002.gguf"}), "a.b");
}

TEST_F(FolderTest, PacksWeightsWhereToldTo) {
  server::Config config = ConfigOf(folder_.path());
  config.weights = server::WeightPacking::kQ8_0;
  ModelServer packed(config), plain(ConfigOf(folder_.path()));
  ASSERT_OK_AND_ASSIGN(const client::ModelInfo info, Connect(packed)->GetModelInfo());
  EXPECT_EQ(info.quantization, "Q8_0");
  EXPECT_EQ(info.file_quantization, "F32");
  client::Request request = Greedy({10, 20, 30, 40}, 1);
  request.output.logprobs = 0;
  const client::Answer one = Connect(packed)->Generate(request), other = Connect(plain)->Generate(request);
  ASSERT_OK(one.status);
  ASSERT_OK(other.status);
  const float difference =
      one.samples[0].logprobs[0].chosen.logprob - other.samples[0].logprobs[0].chosen.logprob;
  EXPECT_NE(difference, 0);
  EXPECT_LT(std::fabs(difference), 0.2f);
}

TEST_F(FolderTest, ScalesRotationsWhereToldTo) {
  server::Config config = ConfigOf(folder_.path());
  config.rope_scaling = "linear:factor=4,original=64";
  ModelServer served(config);
  ASSERT_OK_AND_ASSIGN(const client::ModelInfo info, Connect(served)->GetModelInfo());
  EXPECT_EQ(info.rope_scaling, "linear:factor=4");
  EXPECT_EQ(info.max_model_len, 256);
  EXPECT_EQ(info.trained_context_len, 256);
  // The same weights under the config that says so: the case whose golden answers have this scaling.
  ASSERT_OK_AND_ASSIGN(const Json golden, ReadTinyGolden("llama_rope_linear"));
  const Json& rope = golden["config"]["rope_parameters"];
  ASSERT_EQ(rope["factor"], 4.0);
  const Json& sequence = golden["sequences"][1];
  ExpectGreedy(*Connect(served), sequence["input_ids"].get<std::vector<int32_t>>(), sequence["greedy"],
               golden["suggested_max_abs_error"]);
}

TEST_F(FolderTest, RefusesByNameWhatItCannotServe) {
  server::Config config = ConfigOf(folder_.path());
  config.rope_scaling = "yarn:factor=0.5";
  EXPECT_THAT(WhyNot(config), HasSubstr("--rope_scaling must have factor in [1, 1024], has \"0.5\""));
  Edit("config.json", [](Json& json) {
    json["model_type"] = "strange";
    json["auto_map"] = {{"AutoConfig", "configuration_strange.StrangeConfig"}};
  });
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("config.json"), HasSubstr("strange"), HasSubstr("never run")));
  ASSERT_OK(WriteTinyModel("llama_base", folder_.path()));
  std::filesystem::remove(folder_.File("tokenizer.json"));
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr(folder_.path()), HasSubstr("no tokenizer")));
  folder_.Write(
      "tokenizer_config.json",
      R"({"tokenizer_class": "StrangeTokenizer", "auto_map": {"AutoTokenizer": ["t.Strange", null]}})");
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("auto_map"), HasSubstr("StrangeTokenizer"), HasSubstr("never run")));
}

TEST(RopewayArchitectureTest, IsServedWithItsTokensOfTheConfig) {
  ASSERT_OK_AND_ASSIGN(const Json models, ReadRopewayModels());
  int served_models = 0;
  for (const auto& [name, model] : models.items()) {
    Json config = model["config"];
    // Byte tokens need this many rows.
    if (config["vocab_size"].get<int>() <= kMerged || served_models == 6) continue;
    ++served_models;
    config["eos_token_id"] = {5, 9};
    const TempFolder folder;
    ASSERT_OK(WriteRopewayModel(config, MakeRopewayTensors(model), folder.path()));
    WriteFolderText(folder);
    std::filesystem::remove(folder.File("generation_config.json"));
    ModelServer served(ConfigOf(folder.path()));
    const auto client = Connect(served);
    ASSERT_OK_AND_ASSIGN(const client::ModelInfo info, client->GetModelInfo());
    EXPECT_THAT(info.end_token_ids, ElementsAre(kEos, 5, 9)) << name;
    EXPECT_EQ(info.architecture, "ropeway");
    const Json& sequence = model["sequences"][0];
    SCOPED_TRACE(name);
    if (sequence["admitted"]["max_new_tokens"] != sequence["greedy"]["token_ids"].size()) continue;
    ExpectGreedy(*client, sequence["input_ids"].get<std::vector<int32_t>>(), sequence["greedy"],
                 model["suggested_max_abs_error"]);
  }
  EXPECT_GT(served_models, 0);
}

}  // namespace
}  // namespace ropeway::testing
