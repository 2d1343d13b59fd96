#include "engine/text/tokenizer.h"

#include <cstdio>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "engine/text/detokenizer.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6;

struct Token {
  std::string text;
  int64_t type = kNormal;
  double score = 0;
};

Metadata Vocabulary(const std::string& model, const std::vector<Token>& tokens,
                    std::vector<std::string> merges = {}) {
  Metadata metadata;
  std::vector<std::string> texts;
  std::vector<int64_t> types;
  std::vector<double> scores;
  for (const Token& token : tokens) {
    texts.push_back(token.text);
    types.push_back(token.type);
    scores.push_back(token.score);
  }
  EXPECT_OK(metadata.Add("tokenizer.ggml.model", model));
  if (model == "gpt2") {
    EXPECT_OK(metadata.Add("tokenizer.ggml.pre", std::string("gpt-2")));
  }
  EXPECT_OK(metadata.Add("tokenizer.ggml.tokens", texts));
  EXPECT_OK(metadata.Add("tokenizer.ggml.token_type", types));
  EXPECT_OK(metadata.Add("tokenizer.ggml.scores", scores));
  if (model == "gpt2" || model == "gemma4") {
    EXPECT_OK(metadata.Add("tokenizer.ggml.merges", std::move(merges)));
  }
  return metadata;
}

Metadata Gpt2() {
  return Vocabulary("gpt2",
                    {{"a"},
                     {"b"},
                     {"ab"},
                     {"<|x|>", kControl},
                     {"<tool>", kUserDefined},
                     {"Ġ"},
                     {"<"},
                     {"|"},
                     {"x"},
                     {">"}},
                    {"a b"});
}

const EncodeOptions kPlain{.parse_special = false, .add_special = false};
const EncodeOptions kSpecial{.parse_special = true, .add_special = false};

// A byte token whose digits are none stands for no byte.
TEST(TokenizerTest, TakesOnlyHexadecimalByteTokens) {
  std::vector<Token> tokens = {{"a"}, {"<unk>", kUnknown}};
  for (const char* spelling : {"<0x-1>", "<0x+1>", "<0x 1>", "<0xG1>", "<0x41>", "<0x4b>"})
    tokens.push_back({spelling, kByte});
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, MakeTokenizer(Vocabulary("llama", tokens)));
  EXPECT_EQ(tokenizer->TokenBytes(6), "A");
  EXPECT_EQ(tokenizer->TokenBytes(7), "K");
  EXPECT_EQ(tokenizer->Encode("A", kPlain)->back(), 6);
}

TEST(TokenizerTest, ControlTokensAreReadOnlyOnRequestUserDefinedOnesAlways) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, MakeTokenizer(Gpt2()));
  EXPECT_THAT(*tokenizer->Encode("ab<|x|>", kPlain), ElementsAre(2, 6, 7, 8, 7, 9));
  EXPECT_THAT(*tokenizer->Encode("ab<|x|>", kSpecial), ElementsAre(2, 3));
  EXPECT_THAT(*tokenizer->Encode("a<tool>b", kPlain), ElementsAre(0, 4, 1));
}

TEST(TokenizerTest, ControlTokensAreNotReadInUntrustedText) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, MakeTokenizer(Gpt2()));
  const std::vector<TextSegment> segments = {{"<|x|>", true}, {"<|x|>", false}, {"<|x", true}, {"|>", false}};
  EXPECT_THAT(*tokenizer->Encode(segments, kSpecial), ElementsAre(3, 6, 7, 8, 7, 9, 6, 7, 8, 7, 9));
  // Trusted neighbours are one text.
  const std::vector<TextSegment> split = {{"<|", true}, {"", false}, {"x|>", true}};
  EXPECT_THAT(*tokenizer->Encode(split, kSpecial), ElementsAre(3));
}

TEST(TokenizerTest, RefusesInvalidUtf8WithItsPlace) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, MakeTokenizer(Gpt2()));
  for (const char* text : {"ab\xC0\x80", "ab\xED\xA0\x80", "ab\xF4\x90\x80\x80", "ab\xE2\x82", "ab\xFF"})
    EXPECT_THAT(tokenizer->Encode(text, kPlain),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not at byte 2")));
}

// A quadratic algorithm would need hours for these; ctest's limit is the judge.
TEST(TokenizerTest, LongRunsTakeNearlyLinearTime) {
  ASSERT_OK_AND_ASSIGN(
      const auto gpt2,
      MakeTokenizer(Vocabulary("gpt2", {{"a"}, {"aa"}, {"aaaa"}, {"Ġ"}, {"ĠĠ"}}, {"a a", "aa aa", "Ġ Ġ"})));
  ASSERT_OK_AND_ASSIGN(
      const auto llama,
      MakeTokenizer(Vocabulary("llama", {{"a"}, {"aa", kNormal, -1}, {"▁"}, {"▁▁", kNormal, -2}})));
  ASSERT_OK_AND_ASSIGN(
      const auto t5,
      MakeTokenizer(Vocabulary("t5", {{"a", kNormal, -3}, {"aa", kNormal, -4}, {"▁", kNormal, -2}})));
  constexpr size_t kLength = 1 << 20;
  for (const auto* tokenizer : {gpt2.get(), llama.get(), t5.get()})
    for (char letter : {'a', ' '}) {
      ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer->Encode(std::string(kLength, letter), kPlain));
      EXPECT_GE(ids.size(), kLength / 4);
    }
}

TEST(TokenizerTest, SentencePieceMergesByScoreAndFallsBackToBytes) {
  std::vector<Token> tokens = {{"<unk>", kUnknown}, {"▁", kNormal, -9},  {"a", kNormal, -9},
                               {"b", kNormal, -9},  {"ab", kNormal, -2}, {"▁a", kNormal, -1}};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    tokens.push_back({name, kByte});
  }
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, MakeTokenizer(Vocabulary("llama", tokens)));
  EXPECT_THAT(*tokenizer->Encode("ab", kPlain), ElementsAre(5, 3));
  EXPECT_THAT(*tokenizer->Encode("é", kPlain), ElementsAre(1, 6 + 0xC3, 6 + 0xA9));
  Detokenizer detokenizer(*tokenizer);
  EXPECT_EQ(detokenizer.Push(5), " a");
  EXPECT_EQ(detokenizer.Push(6 + 0xC3), "");
  EXPECT_EQ(detokenizer.Push(6 + 0xA9), "é");
  EXPECT_EQ(detokenizer.Push(6 + 0xE2), "");
  EXPECT_EQ(detokenizer.Push(2), "\uFFFDa");
  EXPECT_EQ(detokenizer.Push(6 + 0xE2), "");
  EXPECT_EQ(detokenizer.Flush(), "\uFFFD");
  EXPECT_EQ(detokenizer.Flush(), "");
}

// The space in front of a text is SentencePiece's own; that of other tokenizers was in the text.
TEST(TokenizerTest, ALeadingSpaceIsTakenOffWhereItWasAdded) {
  ASSERT_OK_AND_ASSIGN(const auto llama, MakeTokenizer(Vocabulary("llama", {{"▁a"}, {"b"}})));
  ASSERT_OK_AND_ASSIGN(const auto gpt2, MakeTokenizer(Vocabulary("gpt2", {{"Ġa"}, {"b"}})));
  for (const auto* tokenizer : {llama.get(), gpt2.get()}) {
    const bool strips = tokenizer == llama.get();
    EXPECT_EQ(tokenizer->strips_leading_space(), strips);
    Detokenizer at_start(*tokenizer, /*at_start=*/true);
    EXPECT_EQ(at_start.Push(0), strips ? "a" : " a");
    EXPECT_EQ(at_start.Push(0), " a");
    Detokenizer within(*tokenizer);
    EXPECT_EQ(within.Push(0), " a");
  }
}

TEST(TokenizerTest, RefusesVocabulariesThatContradictThemselves) {
  EXPECT_THAT(MakeTokenizer(Vocabulary("rwkv", {{"a"}})),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("supported are gpt2, llama, gemma4, t5")));
  EXPECT_THAT(MakeTokenizer(Vocabulary("gpt2", {})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokenizer.ggml.tokens")));
  EXPECT_THAT(MakeTokenizer(Vocabulary("llama", {{"a", 7}})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must be in [1, 6], is 7")));
  EXPECT_THAT(MakeTokenizer(Vocabulary("gpt2", {{"a"}}, {"ab"})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("merges: line 0")));
  Metadata no_pre;
  EXPECT_OK(no_pre.Add("tokenizer.ggml.model", std::string("gpt2")));
  EXPECT_OK(no_pre.Add("tokenizer.ggml.tokens", std::vector<std::string>{"a"}));
  EXPECT_THAT(MakeTokenizer(no_pre),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("tokenizer.ggml.pre")));
  Metadata bad_bos = Gpt2();
  EXPECT_OK(bad_bos.Add("tokenizer.ggml.bos_token_id", int64_t{10}));
  EXPECT_THAT(MakeTokenizer(bad_bos),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must be in [0, 10), is 10")));
  EXPECT_THAT(MakeTokenizer(Vocabulary("llama", {{"\xFF"}})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("token 0 is not valid UTF-8")));
  for (const double score : {1e300, -1e300, std::numeric_limits<double>::quiet_NaN()})
    EXPECT_THAT(MakeTokenizer(Vocabulary("llama", {{"a"}, {"b", kNormal, score}})),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("scores of token 1 must be finite as a float, is ")));
}

// Each array has an element for each token.
TEST(TokenizerTest, RefusesArraysOfOtherLengths) {
  for (const int types : {0, 1, 3})
    for (const int scores : {0, 1, 3}) {
      Metadata metadata;
      EXPECT_OK(metadata.Add("tokenizer.ggml.model", std::string("llama")));
      EXPECT_OK(metadata.Add("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"}));
      EXPECT_OK(metadata.Add("tokenizer.ggml.token_type", std::vector<int64_t>(types, kNormal)));
      EXPECT_OK(metadata.Add("tokenizer.ggml.scores", std::vector<double>(scores)));
      EXPECT_THAT(MakeTokenizer(metadata), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    HasSubstr("must have one element for each of 2 tokens")));
    }
}

// Files from before converters said how texts are split; "default" says as little as nothing.
TEST(TokenizerTest, ArchitecturesOfOneVocabularyImplyHowTextsAreSplit) {
  for (const char* pre : {"", "default"}) {
    const auto vocabulary_of = [&](const std::string& architecture) {
      Metadata metadata;
      EXPECT_OK(metadata.Add("general.architecture", architecture));
      EXPECT_OK(metadata.Add("tokenizer.ggml.model", std::string("gpt2")));
      if (*pre != 0) {
        EXPECT_OK(metadata.Add("tokenizer.ggml.pre", std::string(pre)));
      }
      EXPECT_OK(metadata.Add("tokenizer.ggml.tokens", std::vector<std::string>{"1", "2", "12"}));
      EXPECT_OK(metadata.Add("tokenizer.ggml.merges", std::vector<std::string>{"1 2"}));
      return metadata;
    };
    // GPT-2 keeps digits together, StarCoder and Qwen take them one by one.
    for (const char* architecture : {"gpt2", "starcoder", "qwen2"}) {
      ASSERT_OK_AND_ASSIGN(const auto tokenizer, MakeTokenizer(vocabulary_of(architecture)));
      ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> ids, tokenizer->Encode("12", {}));
      EXPECT_EQ(ids,
                architecture == std::string("gpt2") ? std::vector<TokenId>{2} : (std::vector<TokenId>{0, 1}))
          << architecture;
    }
    // Too many vocabularies come as this one.
    EXPECT_THAT(MakeTokenizer(vocabulary_of("llama")),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("tokenizer.ggml.pre")));
  }
}

TEST(TokenizerTest, FillersNeverMatchText) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer,
                       MakeTokenizer(Vocabulary(
                           "gpt2", {{"["}, {"P"}, {"A"}, {"D"}, {"5"}, {"[PAD5]", kUserDefined}, {"]"}})));
  EXPECT_THAT(*tokenizer->Encode("[PAD5]", kSpecial), ElementsAre(0, 1, 2, 3, 4, 6));
}

}  // namespace
}  // namespace ropeway
