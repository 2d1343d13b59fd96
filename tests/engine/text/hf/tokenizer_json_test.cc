// Components of tokenizer.json one by one, and files that are wrong. Whole files are held to golden ids by
// tokenizer_golden_test.cc.
#include "engine/text/hf/tokenizer_json.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/utf8.h"
#include "engine/text/detokenizer.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/status_matchers.h"

namespace ropeway::hf {
namespace {

using Json = nlohmann::ordered_json;
using ::ropeway::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Every printable ASCII character, "é", "▁", and some words, as a token of its own; no merges but those
// given.
Json Document(const std::vector<std::pair<std::string, std::string>>& merges = {}) {
  Json vocab = Json::object();
  const auto add = [&](const std::string& token) {
    if (!vocab.contains(token)) vocab[token] = vocab.size();
  };
  add("<unk>");
  for (char c = 0x20; c < 0x7F; ++c) add(std::string(1, c));
  add("é");
  add("▁");
  Json pairs = Json::array();
  for (const auto& [left, right] : merges) {
    add(left + right);
    pairs.push_back({left, right});
  }
  return {{"added_tokens", Json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", nullptr},
          {"post_processor", nullptr},
          {"decoder", {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "never"}}},
          {"model", {{"type", "BPE"}, {"unk_token", "<unk>"}, {"vocab", vocab}, {"merges", pairs}}}};
}

Json With(Json document, const std::string& pointer, const Json& value) {
  document[Json::json_pointer(pointer)] = value;
  return document;
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> Make(const Json& document, TokenizerSettings settings = {}) {
  return MakeTokenizerFromJson(document.dump(), settings);
}

// The spellings of the tokens of `text`.
std::vector<std::string> Tokens(const Json& document, const std::string& text, EncodeOptions options = {},
                                const TokenizerSettings& settings = {}) {
  const auto tokenizer = Make(document, settings);
  EXPECT_OK(tokenizer);
  if (!tokenizer.ok()) return {};
  const auto ids = (*tokenizer)->Encode(text, options);
  EXPECT_OK(ids);
  std::vector<std::string> tokens;
  if (ids.ok()) {
    for (const TokenId id : *ids) tokens.emplace_back((*tokenizer)->TokenText(id));
  }
  return tokens;
}

Json Added(int id, const std::string& content, bool special, const Json& more = Json::object()) {
  Json token = {{"id", id}, {"content", content}, {"special", special}, {"normalized", false}};
  token.update(more);
  return token;
}

std::vector<std::string> Normalized(const Json& normalizer, const std::string& text) {
  return Tokens(With(Document(), "/normalizer", normalizer), text);
}

TEST(TokenizerJsonTest, Normalizers) {
  EXPECT_THAT(Normalized({{"type", "NFC"}}, "e\u0301"), ElementsAre("é"));
  EXPECT_THAT(Normalized({{"type", "NFKC"}}, "ﬁ"), ElementsAre("f", "i"));
  EXPECT_THAT(Normalized({{"type", "NFD"}}, "é"), ElementsAre("e", "<unk>"));
  EXPECT_THAT(Normalized({{"type", "Lowercase"}}, "AB"), ElementsAre("a", "b"));
  EXPECT_THAT(Normalized({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}}, " \na\u3000"),
              ElementsAre("a"));
  EXPECT_THAT(Normalized({{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}}, " a "),
              ElementsAre(" ", "a"));
  EXPECT_THAT(Normalized({{"type", "Prepend"}, {"prepend", "▁"}}, "a"), ElementsAre("▁", "a"));
  EXPECT_THAT(Normalized({{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}}, "a   b"),
              ElementsAre("a", " ", "b"));
  EXPECT_THAT(Normalized({{"type", "Replace"}, {"pattern", {{"String", "."}}}, {"content", "▁"}}, "a.b"),
              ElementsAre("a", "▁", "b"));
  const Json sequence = {
      {"type", "Sequence"},
      {"normalizers", {{{"type", "NFD"}}, {{"type", "StripAccents"}}, {{"type", "Lowercase"}}}}};
  EXPECT_THAT(Normalized(sequence, "É"), ElementsAre("e"));
}

// Where the pieces of `text` end: merges join all letters of a piece.
std::string Cut(const Json& pre_tokenizer, const std::string& text) {
  const auto tokenizer = Make(With(Document(), "/pre_tokenizer", pre_tokenizer));
  EXPECT_OK(tokenizer);
  if (!tokenizer.ok()) return "";
  // Without merges every character is a token; borders show by what merges could not cross, so that words are
  // tokens here and taken whole.
  Json document = With(Document(), "/pre_tokenizer", pre_tokenizer);
  document["model"]["ignore_merges"] = true;
  Json& vocab = document["model"]["vocab"];
  for (size_t begin = 0; begin < text.size(); ++begin) {
    for (size_t length = 2; begin + length <= text.size(); ++length) {
      const std::string part = text.substr(begin, length);
      if (FindInvalidUtf8(part) != std::string_view::npos) continue;
      if (!vocab.contains(part)) vocab[part] = vocab.size();
    }
  }
  std::string cut;
  for (const std::string& token : Tokens(document, text)) cut += (cut.empty() ? "" : "|") + token;
  return cut;
}

TEST(TokenizerJsonTest, PreTokenizers) {
  EXPECT_EQ(Cut({{"type", "Whitespace"}}, "ab cd!? e"), "ab|cd|!?|e");
  EXPECT_EQ(Cut({{"type", "Whitespace"}}, "a²½\u200Dé‿"), "a|²½|\u200Dé‿");
  EXPECT_EQ(Cut({{"type", "WhitespaceSplit"}}, "ab! cd"), "ab!|cd");
  EXPECT_EQ(Cut({{"type", "Digits"}, {"individual_digits", true}}, "a12b"), "a|1|2|b");
  EXPECT_EQ(Cut({{"type", "Digits"}, {"individual_digits", false}}, "a12b"), "a|12|b");
  EXPECT_EQ(Cut({{"type", "Punctuation"}, {"behavior", "Isolated"}}, "a!?b"), "a|!|?|b");
  EXPECT_EQ(Cut({{"type", "Punctuation"}, {"behavior", "Contiguous"}}, "a!?b"), "a|!?|b");
  EXPECT_EQ(Cut({{"type", "CharDelimiterSplit"}, {"delimiter", "-"}}, "a-b"), "a|b");
  const auto split = [](const std::string& behavior, bool invert, const std::string& text) {
    return Cut(
        {{"type", "Split"}, {"pattern", {{"String", "-"}}}, {"behavior", behavior}, {"invert", invert}},
        text);
  };
  EXPECT_EQ(split("Isolated", false, "a--b"), "a|-|-|b");
  EXPECT_EQ(split("Removed", false, "a--b"), "a|b");
  EXPECT_EQ(split("Removed", true, "a--b"), "-|-");
  EXPECT_EQ(split("MergedWithPrevious", false, "the-final--countdown"), "the-|final-|-|countdown");
  EXPECT_EQ(split("MergedWithNext", false, "the-final--countdown"), "the|-final|-|-countdown");
  EXPECT_EQ(split("Contiguous", false, "the-final--countdown"), "the|-|final|--|countdown");
  const Json sequence = {
      {"type", "Sequence"},
      {"pretokenizers", {{{"type", "WhitespaceSplit"}}, {{"type", "Digits"}, {"individual_digits", true}}}}};
  EXPECT_EQ(Cut(sequence, "a1 b2"), "a|1|b|2");
}

TEST(TokenizerJsonTest, MetaspacePrefixesTheTextOrEachFragment) {
  const auto tokens = [](const std::string& scheme) {
    Json document =
        With(Document({{"▁", "a"}}), "/pre_tokenizer",
             {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", true}});
    document["added_tokens"] = Json::array({Added(200, "<t>", false)});
    return Tokens(document, "a<t>a a");
  };
  EXPECT_THAT(tokens("always"), ElementsAre("▁a", "<t>", "▁a", "▁a"));
  EXPECT_THAT(tokens("first"), ElementsAre("▁a", "<t>", "a", "▁a"));
  EXPECT_THAT(tokens("never"), ElementsAre("a", "<t>", "a", "▁a"));
}

TEST(TokenizerJsonTest, AddedTokensTakeSpaceAndMindWords) {
  Json document = Document();
  document["added_tokens"] = {Added(200, "<l>", false, {{"lstrip", true}}),
                              Added(201, "<r>", false, {{"rstrip", true}}),
                              Added(202, "wd", false, {{"single_word", true}}), Added(203, "<c>", true)};
  EXPECT_THAT(Tokens(document, "a \n<l> b"), ElementsAre("a", "<l>", " ", "b"));
  EXPECT_THAT(Tokens(document, "a <r>\u3000 b"), ElementsAre("a", " ", "<r>", "b"));
  EXPECT_THAT(Tokens(document, "wd,awd"), ElementsAre("wd", ",", "a", "w", "d"));
  EXPECT_THAT(Tokens(document, "<c>"), ElementsAre("<", "c", ">"));
  EXPECT_THAT(Tokens(document, "<c>", {.parse_special = true}), ElementsAre("<c>"));
}

// What the tokenizers library finds.
TEST(TokenizerJsonTest, WordsBesideAddedTokens) {
  for (const bool normalized : {false, true}) {
    Json document = Document();
    document["added_tokens"] = {
        Added(200, "wd", false, {{"single_word", true}, {"normalized", normalized}}),
        Added(201, "<l>", false, {{"lstrip", true}, {"rstrip", true}, {"normalized", normalized}})};
    const auto has = [&](const std::string& text) {
      const std::vector<std::string> tokens = Tokens(document, text);
      return std::count(tokens.begin(), tokens.end(), "wd") == 1;
    };
    for (const char* beside : {"", " ", "-", "²", "½", "①", "\u00A0"}) {
      EXPECT_TRUE(has(absl::StrCat(beside, "wd", beside))) << beside;
    }
    for (const char* beside : {"a", "é", "7", "_", "‿", "\u0301", "Ⅳ", "Ⓐ", "語", "\u200D"}) {
      EXPECT_FALSE(has(absl::StrCat("wd", beside))) << beside;
      EXPECT_FALSE(has(absl::StrCat(beside, "wd"))) << beside;
    }
    EXPECT_THAT(Tokens(document, "a  <l> b"), ElementsAre("a", "<l>", "b"));
  }
}

// They are found where they are spelt, and nowhere else: a word of which one is a part stays what the model makes of it.
TEST(TokenizerJsonTest, AddedTokensAreNoPiecesOfTheModel) {
  Json bpe = Document();
  bpe["model"]["ignore_merges"] = true;
  bpe["added_tokens"] = {Added(200, "wd", false, {{"single_word", true}}),
                         Added(201, "ß", false, {{"single_word", true}})};
  bpe["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Isolated"}};
  EXPECT_THAT(Tokens(bpe, "awd"), ElementsAre("a", "w", "d"));
  EXPECT_THAT(Tokens(bpe, "aß"), ElementsAre("a", "<unk>"));
  Json unigram = Document();
  unigram["model"] = {{"type", "Unigram"},
                      {"unk_id", 0},
                      {"vocab", Json::parse(R"([["<unk>", 0], ["a", -1], ["w", -2], ["d", -3]])")}};
  unigram["added_tokens"] = Json::array({Added(4, "wd", false, {{"single_word", true}})});
  EXPECT_THAT(Tokens(unigram, "awd"), ElementsAre("a", "w", "d"));
  EXPECT_THAT(Tokens(unigram, "wd"), ElementsAre("wd"));
}

TEST(TokenizerJsonTest, NormalizedTokensAreFoundInNormalizedText) {
  Json document = With(Document(), "/normalizer", {{"type", "Lowercase"}});
  document["added_tokens"] = {Added(200, "ABC", false, {{"normalized", true}}), Added(201, "XY", false)};
  EXPECT_THAT(Tokens(document, "aBcXYxy"), ElementsAre("ABC", "XY", "x", "y"));
}

TEST(TokenizerJsonTest, ControlTokensNeverComeOutOfMerges) {
  Json document = Document({{"<", "s"}, {"<s", ">"}});
  document["added_tokens"] = Json::array({Added(document["model"]["vocab"]["<s>"], "<s>", true)});
  EXPECT_THAT(Tokens(document, "<s>"), ElementsAre("<s", ">"));
  document["model"]["ignore_merges"] = true;
  EXPECT_THAT(Tokens(document, "<s>"), ElementsAre("<s", ">"));
}

TEST(TokenizerJsonTest, UnknownCharacters) {
  EXPECT_THAT(Tokens(Document(), "aßßb"), ElementsAre("a", "<unk>", "<unk>", "b"));
  EXPECT_THAT(Tokens(With(Document(), "/model/fuse_unk", true), "aßßb"), ElementsAre("a", "<unk>", "b"));
  EXPECT_THAT(Tokens(With(Document(), "/model/unk_token", nullptr), "aßb"), ElementsAre("a", "b"));
  Json bytes = With(Document(), "/model/byte_fallback", true);
  bytes["model"]["vocab"]["<0xC3>"] = 200;
  bytes["model"]["vocab"]["<0x9F>"] = 201;
  EXPECT_THAT(Tokens(bytes, "ß"), ElementsAre("<0xC3>", "<0x9F>"));
  EXPECT_THAT(Tokens(bytes, "ä"), ElementsAre("<unk>"));
}

TEST(TokenizerJsonTest, PostProcessorsFrameATextWhereAskedFor) {
  Json document = Document();
  document["added_tokens"] = {Added(200, "<s>", true), Added(201, "</s>", true)};
  const Json template_processing = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
        {{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}}}},
      {"special_tokens",
       {{"<s>", {{"id", "<s>"}, {"ids", {200}}}}, {"</s>", {{"id", "</s>"}, {"ids", {201}}}}}}};
  const Json framed = With(document, "/post_processor", template_processing);
  EXPECT_THAT(Tokens(framed, "a"), ElementsAre("<s>", "a", "</s>"));
  EXPECT_THAT(Tokens(framed, ""), ElementsAre("<s>", "</s>"));
  EXPECT_THAT(Tokens(framed, "a", {.add_special = false}), ElementsAre("a"));
  const Json sequence = {{"type", "Sequence"},
                         {"processors", {{{"type", "ByteLevel"}}, template_processing}}};
  EXPECT_THAT(Tokens(With(document, "/post_processor", sequence), "a"), ElementsAre("<s>", "a", "</s>"));
  const Json roberta = {{"type", "RobertaProcessing"}, {"sep", {"</s>", 201}}, {"cls", {"<s>", 200}}};
  EXPECT_THAT(Tokens(With(document, "/post_processor", roberta), "a"), ElementsAre("<s>", "a", "</s>"));
  EXPECT_THAT(Tokens(document, "a", {}, {.bos_token = "<s>", .add_bos = true}), ElementsAre("<s>", "a"));
  EXPECT_THAT(Tokens(framed, "a", {}, {.bos_token = "<s>", .add_bos = false}),
              ElementsAre("<s>", "a", "</s>"));
}

TEST(TokenizerJsonTest, SettingsNameEndsAndPadTheVocabulary) {
  Json document = Document();
  document["added_tokens"] = {Added(150, "<e>", true), Added(151, "<f>", true)};
  ASSERT_OK_AND_ASSIGN(const auto tokenizer,
                       Make(document, {.eos_token = "<e>", .end_token_ids = {151}, .rows = 160}));
  EXPECT_EQ(tokenizer->vocab_size(), 160);
  EXPECT_EQ(tokenizer->eos_id(), 150);
  EXPECT_TRUE(tokenizer->IsEndOfGeneration(150));
  EXPECT_TRUE(tokenizer->IsEndOfGeneration(151));
  EXPECT_FALSE(tokenizer->IsEndOfGeneration(152));
  EXPECT_EQ(tokenizer->TokenText(159), "[PAD159]");
  EXPECT_EQ(tokenizer->TokenBytes(150), "");
}

struct Wrong {
  std::string pointer;
  Json value;
  std::string message;
};

TEST(TokenizerJsonTest, WrongFilesAreRefusedByName) {
  const std::vector<Wrong> cases = {
      {"/model/type", "WordPiece",
       "tokenizer.json: model.type is 'WordPiece', which is not supported; supported are BPE"},
      {"/model/vocab", {1, 2}, "tokenizer.json: model.vocab must be an object"},
      {"/model/vocab/a", "x", "tokenizer.json: model.vocab.a must be an integer"},
      {"/model/vocab/a", -1, "must be in [0, 4194304), is -1"},
      {"/model/vocab/a", 1e300, "must be an integer"},
      {"/model/vocab/a", 3, "gives id"},
      {"/model/unk_token", "nope", "model.unk_token 'nope' is not in the vocabulary"},
      {"/model/merges", nullptr, "model.merges is missing"},
      {"/model/merges", {"ab"}, "must hold pairs of tokens, does not at 0"},
      {"/model/merges", {"a b c"}, "does not at 0"},
      {"/model/merges", Json::array({Json::array({"a", 1})}), "does not at 0"},
      {"/model/merges", Json::array({Json::array({"a", "b"})}), "names at 0 what is not in the vocabulary"},
      {"/model/dropout", 0.1, "model.dropout is for training"},
      {"/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix is not supported"},
      {"/model/byte_fallback", 1, "model.byte_fallback must be true or false"},
      {"/normalizer", {{"type", "BertNormalizer"}}, "normalizer.type is 'BertNormalizer'"},
      {"/normalizer", {{"type", "Replace"}, {"content", ""}}, "normalizer.pattern is missing"},
      {"/normalizer",
       {{"type", "Replace"}, {"pattern", {{"Regex", "("}}}, {"content", ""}},
       "not a regular expression"},
      {"/pre_tokenizer", {{"type", "BertPreTokenizer"}}, "pre_tokenizer.type is 'BertPreTokenizer'"},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"pattern", {{"Regex", "[a&&b]"}}}},
       "intersection && with what is no set at byte 2 is not supported"},
      {"/pre_tokenizer",
       {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Digits"}}, {{"type", "X\n"}}}}},
       "pre_tokenizer.pretokenizers[1].type is 'X\\x0a'"},
      {"/pre_tokenizer", {{"type", "Metaspace"}, {"prepend_scheme", "last"}}, "prepend_scheme is 'last'"},
      {"/decoder", nullptr, "tokenizer.json: decoder is missing"},
      {"/decoder", {{"type", "WordPiece"}}, "decoder.type is 'WordPiece'"},
      {"/decoder", {{"type", "Strip"}, {"content", " "}, {"start", 2}}, "must take off one leading space"},
      {"/post_processor", {{"type", "Nope"}}, "post_processor.type is 'Nope'"},
      {"/post_processor",
       {{"type", "RobertaProcessing"}, {"cls", {"<s>", 999999}}, {"sep", {"<s>", 0}}},
       "must hold ids in [0, "},
      {"/post_processor",
       {{"type", "TemplateProcessing"}, {"single", Json::array()}},
       "must hold a Sequence"},
      {"/added_tokens", {{{"content", "x"}}}, "added_tokens[0].id is missing"},
      {"/added_tokens", Json::array({Added(5000000, "x", true)}),
       "added_tokens[0].id must be in [0, 4194304)"},
      {"/added_tokens", Json::array({Added(1, "new", true)}), "gives id 1 to 'new', which ' ' has"},
      {"/added_tokens", Json::array({Added(300, "a", true)}), "gives 'a' the id 300, it has "},
      {"/added_tokens", Json::array({Added(300, "", true)}), "must not be empty"},
  };
  for (const Wrong& wrong : cases) {
    const auto made = Make(With(Document(), wrong.pointer, wrong.value));
    EXPECT_FALSE(made.ok()) << wrong.pointer << " " << wrong.value;
    EXPECT_THAT(std::string(made.status().message()), HasSubstr(wrong.message));
  }
  EXPECT_THAT(MakeTokenizerFromJson("{", {}), StatusIs(absl::StatusCode::kInvalidArgument,
                                                       HasSubstr("tokenizer.json: not valid JSON at byte")));
  EXPECT_THAT(MakeTokenizerFromJson("[]", {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokenizer.json must be an object")));
  EXPECT_THAT(
      Make(Document(), {.bos_token = "nope"}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bos_token 'nope' is not in the vocabulary")));
  EXPECT_THAT(Make(Document(), {.end_token_ids = {-1}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("eos_token_id must be in [0, ")));
}

TEST(TokenizerJsonTest, ANormalizerThatGrowsTextsIsStopped) {
  const Json replace = {
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(1000, 'b')}};
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Make(With(Document(), "/normalizer", replace)));
  EXPECT_THAT(tokenizer->Encode(std::string(1000, 'a'), {}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("more than 32 times")));
}

TEST(TokenizerJsonTest, DecodersSpellBytes) {
  Json document = With(Document(), "/decoder",
                       {{"type", "Sequence"},
                        {"decoders",
                         {{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
                          {{"type", "ByteFallback"}},
                          {{"type", "Fuse"}},
                          {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}});
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Make(document));
  EXPECT_TRUE(tokenizer->strips_leading_space());
  ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer->Encode("▁", {}));
  EXPECT_EQ(tokenizer->TokenBytes(ids[0]), " ");
}

}  // namespace
}  // namespace ropeway::hf
