// The text side of whole folders, written into a temporary one.
#include "engine/text/hf/folder.h"

#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/gzip_file.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::hf {
namespace {

using Json = nlohmann::ordered_json;
using ::ropeway::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

class FolderTest : public ::testing::Test {
 protected:
  FolderTest()
      : folder_(std::filesystem::temp_directory_path() /
                ("ropeway_folder_" + std::to_string(getpid()) + "_" +
                 ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::create_directories(folder_);
  }
  ~FolderTest() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  void Write(const std::string& name, const Json& json) const { Write(name, json.dump()); }

  void WriteTokenizer() const {
    const Json vocab = {{"a", 0}, {"b", 1}, {"<s>", 2}, {"</s>", 3}, {"<e>", 4}};
    Json added = Json::array();
    for (const char* token : {"<s>", "</s>", "<e>"}) {
      added.push_back({{"id", vocab[token]}, {"content", token}, {"special", true}});
    }
    Write("tokenizer.json",
          Json({{"added_tokens", added},
                {"decoder", {{"type", "ByteLevel"}}},
                {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}}));
  }

  absl::StatusOr<FolderText> Read(int32_t vocab_size = 0) const {
    return ReadFolderText(folder_.string(), vocab_size);
  }

  const std::filesystem::path folder_;
};

std::vector<TokenId> Encode(const FolderText& text, const std::string& prompt) {
  const auto ids = text.tokenizer->Encode(prompt, {});
  EXPECT_OK(ids);
  return ids.ok() ? *ids : std::vector<TokenId>();
}

TEST_F(FolderTest, TokensAndFlagsComeFromTheConfigurations) {
  WriteTokenizer();
  Write("tokenizer_config.json", Json({{"bos_token", {{"content", "<s>"}, {"lstrip", false}}},
                                       {"eos_token", "</s>"},
                                       {"add_bos_token", true}}));
  Write("generation_config.json", Json({{"eos_token_id", {3, 4}}}));
  ASSERT_OK_AND_ASSIGN(const FolderText text, Read(6));
  EXPECT_THAT(Encode(text, "ab"), ElementsAre(2, 0, 1));
  EXPECT_EQ(text.tokenizer->vocab_size(), 6);
  EXPECT_EQ(text.tokenizer->eos_id(), 3);
  EXPECT_TRUE(text.tokenizer->IsEndOfGeneration(3));
  EXPECT_TRUE(text.tokenizer->IsEndOfGeneration(4));
  EXPECT_TRUE(text.chat_templates.empty());
}

TEST_F(FolderTest, SomeClassesFrameATextByTheirFlagsAlone) {
  WriteTokenizer();
  Json config = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"tokenizer_class", "LlamaTokenizerFast"}};
  Write("tokenizer_config.json", config);
  EXPECT_THAT(Encode(*Read(), "a"), ElementsAre(2, 0));
  config["add_bos_token"] = false;
  config["add_eos_token"] = true;
  Write("tokenizer_config.json", config);
  EXPECT_THAT(Encode(*Read(), "a"), ElementsAre(0, 3));
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config.erase("add_eos_token");
  Write("tokenizer_config.json", config);
  EXPECT_THAT(Encode(*Read(), "a"), ElementsAre(0));
}

TEST_F(FolderTest, TheModelsConfigurationNamesTheEndWhereNothingElseDoes) {
  WriteTokenizer();
  Write("special_tokens_map.json", Json({{"bos_token", "<s>"}}));
  Write("config.json", Json({{"eos_token_id", 4}}));
  ASSERT_OK_AND_ASSIGN(const FolderText text, Read());
  EXPECT_EQ(text.tokenizer->bos_id(), 2);
  EXPECT_TRUE(text.tokenizer->IsEndOfGeneration(4));
}

TEST_F(FolderTest, SamplingDefaults) {
  WriteTokenizer();
  Write(
      "generation_config.json",
      Json(
          {{"temperature", 0.6}, {"top_k", 20}, {"top_p", 0.95}, {"min_p", 0}, {"repetition_penalty", 1.1}}));
  ASSERT_OK_AND_ASSIGN(const FolderText text, Read());
  EXPECT_EQ(text.sampling.temperature, 0.6f);
  EXPECT_EQ(text.sampling.top_k, 20);
  EXPECT_EQ(text.sampling.top_p, 0.95f);
  EXPECT_EQ(text.sampling.min_p, 0);
  EXPECT_EQ(text.sampling.repetition_penalty, 1.1f);
  Write("generation_config.json", Json({{"temperature", 0.6}, {"do_sample", false}}));
  ASSERT_OK_AND_ASSIGN(const FolderText greedy, Read());
  EXPECT_EQ(greedy.sampling.temperature, 0);
  EXPECT_EQ(greedy.sampling.top_k, std::nullopt);
}

TEST_F(FolderTest, TellsWhatSamplingNoRequestCanHave) {
  WriteTokenizer();
  Write("generation_config.json", Json({{"num_beams", 1},
                                        {"typical_p", 1.0},
                                        {"no_repeat_ngram_size", 0},
                                        {"guidance_scale", nullptr},
                                        {"temperature", 0.5}}));
  ASSERT_OK_AND_ASSIGN(const FolderText usual, Read());
  EXPECT_THAT(usual.sampling.not_followed, IsEmpty());
  Write("generation_config.json", Json({{"num_beams", 4}, {"typical_p", 0.5}, {"bad_words_ids", {{1, 2}}}}));
  ASSERT_OK_AND_ASSIGN(const FolderText more, Read());
  EXPECT_THAT(more.sampling.not_followed,
              ElementsAre("generation_config.json: num_beams = 4", "generation_config.json: typical_p = 0.5",
                          "generation_config.json: bad_words_ids"));
}

TEST_F(FolderTest, TemplatesOfAllKindsOfFiles) {
  WriteTokenizer();
  const auto names = [&] {
    const auto text = Read();
    EXPECT_OK(text);
    return text.ok() ? text->chat_templates.names() : std::vector<std::string>();
  };
  Write("tokenizer_config.json", Json({{"chat_template", "x"}}));
  EXPECT_THAT(names(), ElementsAre("default"));
  Write("tokenizer_config.json",
        Json({{"chat_template",
               {{{"name", "default"}, {"template", "d"}}, {{"name", "tool_use"}, {"template", "t"}}}}}));
  EXPECT_THAT(names(), ElementsAre("default", "tool_use"));
  Write("chat_template.json", Json({{"chat_template", "j"}}));
  EXPECT_THAT(names(), ElementsAre("default"));
  Write("additional_chat_templates/rag.jinja", std::string("r"));
  EXPECT_THAT(names(), ElementsAre("rag"));
  Write("chat_template.jinja", std::string("f"));
  EXPECT_THAT(names(), ElementsAre("default", "rag"));
  EXPECT_EQ(Read()->chat_templates.default_source(), "f");
}

TEST_F(FolderTest, WrongFilesAreNamed) {
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kNotFound,
                               HasSubstr("the folder has no tokenizer: neither tokenizer.json")));
  Write("tokenizer_config.json",
        Json({{"auto_map", {{"AutoTokenizer", "x.Y"}}}, {"tokenizer_class", "Odd"}}));
  EXPECT_THAT(Read(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("code of the folder's own (Odd)")));
  WriteTokenizer();
  struct Wrong {
    std::string file, text, message;
  };
  for (const Wrong& wrong : std::vector<Wrong>{
           {"tokenizer_config.json", "{", "tokenizer_config.json: not valid JSON at byte"},
           {"tokenizer_config.json", "[]", "tokenizer_config.json must be an object"},
           {"tokenizer_config.json", R"({"bos_token": 1})",
            "tokenizer_config.json: bos_token must be an object"},
           {"tokenizer_config.json", R"({"bos_token": "?"})", "bos_token '?' is not in the vocabulary"},
           {"tokenizer_config.json", R"({"add_bos_token": "yes"})", "add_bos_token must be true or false"},
           {"tokenizer_config.json", R"({"chat_template": 1})", "chat_template must be a string"},
           {"tokenizer_config.json", R"({"chat_template": [{"name": "x"}]})",
            "chat_template[0].template is missing"},
           {"generation_config.json", R"({"eos_token_id": "x"})",
            "generation_config.json: eos_token_id must be an integer"},
           {"generation_config.json", R"({"eos_token_id": 5})", "eos_token_id must be in [0, 5), is 5"},
           {"generation_config.json", R"({"top_p": 1.5})",
            "generation_config.json: top_p must be a number in (0, 1]"},
           // As floats they are 0 and 1, which no request may say.
           {"generation_config.json", R"({"top_p": 1e-60})", "top_p must be a number in (0, 1]"},
           {"generation_config.json", R"({"min_p": 0.999999999})", "min_p must be a number in [0, 1)"},
           {"generation_config.json", R"({"repetition_penalty": 1e-60})",
            "repetition_penalty must be a number in (0, 100]"},
           {"generation_config.json", R"({"top_k": 1.5})", "top_k must be an integer of 64 bits"},
           {"generation_config.json", R"({"temperature": "hot"})", "temperature must be a number"},
       }) {
    Write(wrong.file, wrong.text);
    EXPECT_THAT(Read(), StatusIs(kInvalid, HasSubstr(wrong.message)));
    Write(wrong.file, std::string("{}"));
  }
}

TEST_F(FolderTest, APipeIsNotWaitedFor) {
  WriteTokenizer();
  ASSERT_EQ(mkfifo((folder_ / "chat_template.jinja").c_str(), 0600), 0);
  EXPECT_THAT(Read(), StatusIs(kInvalid, HasSubstr("not a regular file")));
}

// A field of a protocol buffer.
std::string Blob(int field, const std::string& bytes) {
  std::string size;
  for (size_t n = bytes.size();; n >>= 7) {
    size += static_cast<char>((n & 0x7F) | (n > 0x7F ? 0x80 : 0));
    if (n <= 0x7F) break;
  }
  return std::string(1, static_cast<char>(field << 3 | 2)) + size + bytes;
}
std::string Number(int field, int value) { return {static_cast<char>(field << 3), static_cast<char>(value)}; }
std::string Piece(const std::string& text, float score, int type) {
  std::string bits(4, '\0');
  std::memcpy(bits.data(), &score, 4);
  return Blob(1, Blob(1, text) + std::string(1, static_cast<char>(2 << 3 | 5)) + bits + Number(3, type));
}

std::string SentencePieceModel(const std::string& normalizer) {
  std::string model = Piece("<unk>", 0, 2) + Piece("<s>", 0, 3) + Piece("</s>", 0, 3);
  for (int byte = 0; byte < 256; ++byte) {
    char spelling[8];
    std::snprintf(spelling, sizeof spelling, "<0x%02X>", byte);
    model += Piece(spelling, 0, 6);
  }
  model += Piece("▁a", -1, 1) + Piece("▁", -2, 1) + Piece("a", -3, 1);
  return model + Blob(2, Number(3, 2)) + Blob(3, normalizer);
}

TEST_F(FolderTest, SentencePieceModels) {
  Write("tokenizer.model", SentencePieceModel(Number(3, 1) + Number(4, 0)));
  Write("tokenizer_config.json",
        Json({{"added_tokens_decoder", {{"262", {{"content", "<t>"}, {"special", true}}}}},
              {"eos_token", "<t>"}}));
  ASSERT_OK_AND_ASSIGN(const FolderText text, Read(264));
  EXPECT_EQ(text.tokenizer->vocab_size(), 264);
  EXPECT_EQ(text.tokenizer->eos_id(), 262);
  EXPECT_THAT(Encode(text, "a a\xC3\x9F"), ElementsAre(1, 259, 259, 3 + 0xC3, 3 + 0x9F));
  EXPECT_TRUE(text.tokenizer->strips_leading_space());
}

TEST_F(FolderTest, AddedTokensWithoutARowAreText) {
  Write("tokenizer.model", SentencePieceModel(Number(3, 0) + Number(4, 0)));
  const Json token = {{"content", "aa"}, {"special", true}};
  Write("tokenizer_config.json",
        Json({{"added_tokens_decoder", {{"262", token}}}, {"add_bos_token", false}}));
  ASSERT_OK_AND_ASSIGN(const FolderText model, Read(262));
  EXPECT_EQ(model.tokenizer->vocab_size(), 262);
  EXPECT_THAT(Encode(model, "aa"), ElementsAre(261, 261));
  Write("tokenizer.json",
        Json({{"added_tokens", {{{"id", 2}, {"content", "ab"}, {"special", true}}}},
              {"decoder", {{"type", "ByteLevel"}}},
              {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}}}, {"merges", Json::array()}}}}));
  ASSERT_OK_AND_ASSIGN(const FolderText json, Read(2));
  EXPECT_EQ(json.tokenizer->vocab_size(), 2);
  EXPECT_THAT(Encode(json, "ab"), ElementsAre(0, 1));
}

TEST_F(FolderTest, TheModelsConfigurationNamesTheBeginningWhereNothingElseDoes) {
  WriteTokenizer();
  Write("config.json", Json({{"bos_token_id", 4}}));
  ASSERT_OK_AND_ASSIGN(const FolderText text, Read());
  EXPECT_EQ(text.tokenizer->bos_id(), 4);
  Write("tokenizer_config.json", Json({{"bos_token", "<s>"}}));
  ASSERT_OK_AND_ASSIGN(const FolderText named, Read());
  EXPECT_EQ(named.tokenizer->bos_id(), 2);
  Write("tokenizer_config.json", Json::object());
  Write("config.json", Json({{"bos_token_id", 5}}));
  EXPECT_THAT(Read().status(), StatusIs(kInvalid, HasSubstr("bos_token_id must be in [0, 5), is 5")));
  Write("config.json", Json({{"bos_token_id", "x"}}));
  EXPECT_THAT(Read().status(), StatusIs(kInvalid, HasSubstr("bos_token_id")));
}

TEST_F(FolderTest, AddedTokensBesideASentencePieceModelTakeSpace) {
  Write("tokenizer.model", SentencePieceModel(Number(3, 0) + Number(4, 0)));
  const Json token = {{"content", "<t>"}, {"special", false}, {"rstrip", true}};
  Write("tokenizer_config.json",
        Json({{"added_tokens_decoder", {{"262", token}}}, {"add_bos_token", false}}));
  ASSERT_OK_AND_ASSIGN(const FolderText text, Read());
  EXPECT_THAT(Encode(text, "a<t>  a"), ElementsAre(261, 262, 261));
}

// All bytes, then the words of `more`.
std::string Tiktoken(const std::vector<std::string>& more) {
  std::string file;
  int rank = 0;
  const auto add = [&](const std::string& token) {
    file += absl::Base64Escape(token) + " " + std::to_string(rank++) + "\n";
  };
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
  for (const std::string& token : more) add(token);
  return file;
}

TEST_F(FolderTest, TiktokenFiles) {
  // Smaller ranks first, and the leftmost of equals.
  Write("qwen.tiktoken", Tiktoken({"aa", "aaa", "bc", "abc", "\xE4\xBD"}));
  Write("tokenizer_config.json", Json({{"tokenizer_class", "QWenTokenizer"}, {"auto_map", Json::object()}}));
  ASSERT_OK_AND_ASSIGN(const FolderText text, Read(500));
  EXPECT_EQ(text.tokenizer->vocab_size(), 500);
  EXPECT_EQ(text.tokenizer->eos_id(), 261);
  EXPECT_THAT(Encode(text, "aaaaa"), ElementsAre(256, 257));
  EXPECT_THAT(Encode(text, "abc"), ElementsAre(259));
  EXPECT_THAT(Encode(text, "\xE4\xBD\xA0"), ElementsAre(260, 0xA0));
  ASSERT_OK_AND_ASSIGN(const auto special,
                       text.tokenizer->Encode("<|im_start|><|extra_204|>", {.parse_special = true}));
  EXPECT_THAT(special, ElementsAre(262, 468));
}

TEST_F(FolderTest, EveryKindOfTokenizerEndsWhereTheFolderSays) {
  Write("generation_config.json", Json({{"eos_token_id", {260, 261}}}));
  Write("tokenizer.model", SentencePieceModel(Number(3, 0) + Number(4, 0)));
  ASSERT_OK_AND_ASSIGN(const FolderText model, Read());
  EXPECT_TRUE(model.tokenizer->IsEndOfGeneration(260) && model.tokenizer->IsEndOfGeneration(261));
  Write("tokenizer.model", Tiktoken({"aa", "bb"}));
  Write("tokenizer_config.json", Json({{"tokenizer_class", "QWenTokenizer"}}));
  ASSERT_OK_AND_ASSIGN(const FolderText tiktoken, Read());
  EXPECT_TRUE(tiktoken.tokenizer->IsEndOfGeneration(260) && tiktoken.tokenizer->IsEndOfGeneration(261));
  Write("generation_config.json", Json({{"eos_token_id", 100000}}));
  EXPECT_THAT(Read().status(), StatusIs(kInvalid, HasSubstr("eos_token_id must be in [0, ")));
}

// The code of the class puts two tokens in front of every text.
TEST_F(FolderTest, ChatGlm4BeginsEveryTextAsItsCodeDoes) {
  Write("tokenizer.model", Tiktoken({"aa"}));
  Write("tokenizer_config.json",
        Json({{"tokenizer_class", "ChatGLM4Tokenizer"}, {"auto_map", Json::object()}}));
  EXPECT_THAT(Read().status(), StatusIs(kInvalid, HasSubstr("added_tokens_decoder must have '[gMASK]'")));
  const auto special = [](const char* text) { return Json({{"content", text}, {"special", true}}); };
  Write("tokenizer_config.json",
        Json({{"tokenizer_class", "ChatGLM4Tokenizer"},
              {"added_tokens_decoder", {{"300", special("[gMASK]")}, {"302", special("<sop>")}}}}));
  ASSERT_OK_AND_ASSIGN(const FolderText text, Read());
  EXPECT_THAT(Encode(text, "aab"), ElementsAre(300, 302, 256, 'b'));
  ASSERT_OK_AND_ASSIGN(const auto bare, text.tokenizer->Encode("aab", {.add_special = false}));
  EXPECT_THAT(bare, ElementsAre(256, 'b'));
}

TEST_F(FolderTest, CodeThatIsNotKnownIsRefusedByName) {
  Write("tokenizer.model", SentencePieceModel(Number(3, 1) + Number(4, 0)));
  const auto with_class = [&](const char* name) {
    Write("tokenizer_config.json", Json({{"tokenizer_class", name}, {"auto_map", Json::object()}}));
    return Read().status();
  };
  EXPECT_THAT(with_class("OddTokenizer"),
              StatusIs(absl::StatusCode::kUnimplemented,
                       AllOf(HasSubstr("auto_map"), HasSubstr("OddTokenizer"), HasSubstr("never run"))));
  EXPECT_OK(with_class("InternLM2Tokenizer"));
}

// Its first generations keep tokens in their code, behind those of a SentencePiece model, and two in front of every text.
TEST_F(FolderTest, ChatGlmHasTheTokensOfItsCode) {
  Write("tokenizer.model", SentencePieceModel(Number(3, 0) + Number(4, 0)));  // 262 pieces
  Write("tokenizer_config.json",
        Json({{"tokenizer_class", "ChatGLMTokenizer"}, {"auto_map", Json::object()}}));
  ASSERT_OK_AND_ASSIGN(const FolderText text, Read(280));
  EXPECT_EQ(text.tokenizer->vocab_size(), 280);
  EXPECT_THAT(Encode(text, "a"), ElementsAre(263, 265, 261));
  ASSERT_OK_AND_ASSIGN(
      const auto turns,
      text.tokenizer->Encode("<|user|>a<|assistant|>sop", {.parse_special = true, .add_special = false}));
  EXPECT_THAT(turns, ElementsAre(268, 261, 269, 265));
  EXPECT_TRUE(text.tokenizer->IsControl(266) && !text.tokenizer->IsControl(271));
  EXPECT_THAT(Read(264).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'sop' is not in the vocabulary")));
}

TEST_F(FolderTest, TiktokenFilesThatAreWrong) {
  const auto refused = [&](const std::string& file) {
    Write("qwen.tiktoken", file);
    return std::string(Read().status().message());
  };
  EXPECT_THAT(refused("YQ== 0\n"),
              HasSubstr("tokenizer_class is ''; with a tiktoken file QWenTokenizer and"));
  Write("tokenizer_config.json", Json({{"tokenizer_class", "QWenTokenizer"}}));
  EXPECT_THAT(refused("YQ== 0\nYQ=="), HasSubstr("line 2: must be a token in base64 and a rank"));
  EXPECT_THAT(refused("YQ== 0\n!! 1"), HasSubstr("line 2: must be a token in base64"));
  EXPECT_THAT(refused("YQ== -1"), HasSubstr("line 1: the rank must be in [0, 4194304)"));
  EXPECT_THAT(refused("YQ== 0\nYg== 0"), HasSubstr("line 2: the rank occurs twice"));
  EXPECT_THAT(refused("\n"), HasSubstr("there are no tokens"));
}

TEST_F(FolderTest, SentencePieceModelsThatAreWrongOrUnknown) {
  const auto refused = [&](const std::string& model) {
    Write("tokenizer.model", model);
    return std::string(Read().status().message());
  };
  EXPECT_THAT(refused("\x0A\xFF"), HasSubstr("not a SentencePiece model"));
  EXPECT_THAT(refused(""), HasSubstr("has no pieces"));
  EXPECT_THAT(refused(Piece("a", 0, 7)), HasSubstr("piece 0 has a type that must be in [1, 6], is 7"));
  EXPECT_THAT(refused(SentencePieceModel(Number(4, 0) + Blob(2, "x"))),
              HasSubstr("'tokenizer.ggml.precompiled_charsmap' is too short"));
  EXPECT_THAT(refused(SentencePieceModel(Number(4, 0)) + Blob(2, std::string("\xC0\x01\x01", 3))),
              HasSubstr("treat_whitespace_as_suffix = true is not supported"));
  EXPECT_THAT(refused(SentencePieceModel(Number(4, 0)) + Blob(2, Number(3, 3))),
              HasSubstr("words or characters"));
}

}  // namespace
}  // namespace ropeway::hf
