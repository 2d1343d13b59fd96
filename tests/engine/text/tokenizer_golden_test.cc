// Token ids of real vocabularies against those of the models' own tokenizers.
//
// tests/golden/tokenizers/<name>.{fuzz,special,detok}.jsonl.gz hold one case per line; the vocabularies are
// fetched by tests/golden/fetch_vocabularies.sh and deploy/fetch_model.sh.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/model/gguf_file.h"
#include "engine/text/detokenizer.h"
#include "engine/text/hf/tokenizer_json.h"
#include "engine/text/tokenizer.h"
#include "nlohmann/json.hpp"
#include "tests/engine/text/hf/twin_tokenizer_json.h"
#include "tests/testing/gzip_file.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

std::vector<Json> ReadLines(const std::string& path) {
  const auto content = testing::ReadGzipFile(path);
  EXPECT_OK(content);
  std::vector<Json> lines;
  if (!content.ok()) return lines;
  for (size_t start = 0; start < content->size();) {
    const size_t end = content->find('\n', start);
    lines.push_back(Json::parse(content->substr(start, end - start)));
    start = end == std::string::npos ? content->size() : end + 1;
  }
  return lines;
}

std::string FileOf(const std::string& name) {
  if (name == "smollm2-135m") return "models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (name == "gemma-3-270m") return "models/gemma-3-270m-q4_k_m.gguf";
  return "models/vocabularies/ggml-vocab-" + name + ".gguf";
}

// The same vocabulary from a tokenizer.json. ROPEWAY_TOKENIZER_JSON names a folder of such files, as the
// library saved them, to be read instead of those that are built here.
absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeTwin(const std::string& name, const Metadata& metadata) {
  std::string json = testing::TwinTokenizerJson(metadata);
  if (const char* folder = std::getenv("ROPEWAY_TOKENIZER_JSON")) {
    std::ifstream file(std::string(folder) + "/" + name + ".tokenizer.json", std::ios::binary);
    json.assign(std::istreambuf_iterator<char>(file), {});
  }
  ASSIGN_OR_RETURN(const auto from_gguf, MakeTokenizer(metadata));
  hf::TokenizerSettings settings;
  if (from_gguf->bos_id() != kNoToken) settings.bos_token = from_gguf->TokenText(from_gguf->bos_id());
  if (from_gguf->eos_id() != kNoToken) settings.eos_token = from_gguf->TokenText(from_gguf->eos_id());
  ASSIGN_OR_RETURN(const auto framed, from_gguf->Encode("", {}));
  settings.add_bos = !framed.empty();
  return hf::MakeTokenizerFromJson(json, settings);
}

// Each vocabulary from its GGUF file, and from a tokenizer.json.
class TokenizerGoldenTest : public ::testing::TestWithParam<std::pair<std::string, bool>> {
 protected:
  void SetUp() override {
    const auto& [name, from_json] = GetParam();
    const std::string path = FileOf(name);
    if (!std::filesystem::exists(path) && std::getenv("ROPEWAY_WITHOUT_MODELS") != nullptr)
      GTEST_SKIP() << "no vocabulary " << path;
    ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(path));
    const Metadata& metadata = file.content.metadata;
    ASSERT_OK_AND_ASSIGN(tokenizer_, from_json ? MakeTwin(name, metadata) : MakeTokenizer(metadata));
  }

  std::vector<Json> Cases(const std::string& kind) const {
    return ReadLines("tests/golden/tokenizers/" + GetParam().first + "." + kind + ".jsonl.gz");
  }

  std::unique_ptr<const Tokenizer> tokenizer_;
};

TEST_P(TokenizerGoldenTest, EncodesPlainText) {
  const std::vector<Json> cases = Cases("fuzz");
  ASSERT_FALSE(cases.empty());
  for (const Json& test : cases) {
    const auto text = test["text"].get<std::string>();
    ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer_->Encode(text, {.add_special = false}));
    EXPECT_EQ(ids, test["ids"].get<std::vector<TokenId>>()) << test["text"].dump();
  }
}

TEST_P(TokenizerGoldenTest, EncodesSpecialTokens) {
  const std::vector<Json> cases = Cases("special");
  ASSERT_FALSE(cases.empty());
  for (const Json& test : cases) {
    const EncodeOptions options{.parse_special = test["parse_special"], .add_special = test["add_special"]};
    ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer_->Encode(test["text"].get<std::string>(), options));
    EXPECT_EQ(ids, test["ids"].get<std::vector<TokenId>>()) << test.dump();
  }
}

TEST_P(TokenizerGoldenTest, DecodesPieceByPiece) {
  const std::vector<Json> cases = Cases("detok");
  ASSERT_FALSE(cases.empty());
  for (const Json& test : cases) {
    Detokenizer detokenizer(*tokenizer_);
    std::vector<std::string> stream;
    for (TokenId id : test["ids"].get<std::vector<TokenId>>()) stream.push_back(detokenizer.Push(id));
    EXPECT_EQ(stream, test["stream"].get<std::vector<std::string>>()) << test["ids"].dump();
    EXPECT_EQ(detokenizer.Flush(), test["flush"].get<std::string>()) << test["ids"].dump();
  }
}

std::vector<std::pair<std::string, bool>> Names() {
  std::vector<std::pair<std::string, bool>> names;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden/tokenizers")) {
    const std::string file = entry.path().filename();
    if (const size_t end = file.find(".fuzz."); end != std::string::npos)
      for (const bool from_json : {false, true}) names.emplace_back(file.substr(0, end), from_json);
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, TokenizerGoldenTest, ::testing::ValuesIn(Names()),
                         [](const auto& info) {
                           std::string name = info.param.first;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name + (info.param.second ? "_json" : "");
                         });

void ExpectUnigramGolden(const Tokenizer& tokenizer) {
  const std::vector<Json> cases = ReadLines("tests/golden/unigram/unigram.fuzz.jsonl.gz");
  ASSERT_FALSE(cases.empty());
  for (const Json& test : cases) {
    ASSERT_OK_AND_ASSIGN(const auto ids,
                         tokenizer.Encode(test["text"].get<std::string>(), {.add_special = false}));
    EXPECT_EQ(ids, test["ids"].get<std::vector<TokenId>>()) << test["text"].dump();
  }
}

TEST(UnigramGoldenTest, EncodesPlainTextFromTokenizerJson) {
  ASSERT_OK_AND_ASSIGN(const std::string json,
                       testing::ReadGzipFile("tests/golden/unigram/unigram.tokenizer.json.gz"));
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, hf::MakeTokenizerFromJson(json, {}));
  ExpectUnigramGolden(*tokenizer);
}

TEST(UnigramGoldenTest, EncodesPlainText) {
  ASSERT_OK_AND_ASSIGN(const std::string arrays,
                       testing::ReadGzipFile("tests/golden/unigram/unigram.json.gz"));
  const Json vocabulary = Json::parse(arrays);
  Metadata metadata;
  ASSERT_OK(metadata.Add("tokenizer.ggml.model", std::string("t5")));
  ASSERT_OK(metadata.Add("tokenizer.ggml.tokens", vocabulary["tokens"].get<std::vector<std::string>>()));
  ASSERT_OK(metadata.Add("tokenizer.ggml.scores", vocabulary["scores"].get<std::vector<double>>()));
  ASSERT_OK(metadata.Add("tokenizer.ggml.token_type", vocabulary["token_type"].get<std::vector<int64_t>>()));
  ASSERT_OK(metadata.Add("tokenizer.ggml.unknown_token_id", vocabulary["unk"].get<int64_t>()));
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, MakeTokenizer(metadata));
  ExpectUnigramGolden(*tokenizer);
}

}  // namespace
}  // namespace ropeway
