// Texts of SentencePiece models against the ids of the library itself: tests/golden/unigram/make_sentencepiece_golden.py.
#include "engine/text/sentencepiece_normalizer.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "engine/text/hf/sentencepiece_model.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/gzip_file.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

TEST(SentencePieceGoldenTest, EveryWayOfNormalisingGivesTheIdsOfTheLibrary) {
  ASSERT_OK_AND_ASSIGN(const std::string text,
                       ::ropeway::testing::ReadGzipFile("tests/golden/unigram/sentencepiece.json.gz"));
  const nlohmann::json golden = nlohmann::json::parse(text);
  ASSERT_EQ(golden["models"].size(), 5u);
  ASSERT_GT(golden["texts"].size(), 300u);
  for (const auto& [name, model] : golden["models"].items()) {
    SCOPED_TRACE(name);
    std::string bytes;
    ASSERT_TRUE(absl::Base64Unescape(model["model"].get<std::string>(), &bytes));
    ASSERT_OK_AND_ASSIGN(const Metadata metadata, hf::ReadSentencePieceModel(bytes, "", {}, {}));
    ASSERT_OK_AND_ASSIGN(const auto tokenizer, MakeTokenizer(metadata));
    for (size_t i = 0; i < golden["texts"].size(); ++i) {
      ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer->Encode(golden["texts"][i].get<std::string>(),
                                                             {.parse_special = false, .add_special = false}));
      EXPECT_EQ(ids, model["ids"][i].get<std::vector<TokenId>>()) << golden["texts"][i].dump();
    }
  }
}

absl::StatusOr<SentencePieceNormalizer> With(const std::vector<std::pair<std::string, MetadataValue>>& keys) {
  Metadata metadata;
  for (const auto& [key, value] : keys) EXPECT_OK(metadata.Add(key, value));
  return SentencePieceNormalizer::Read(metadata);
}

TEST(SentencePieceNormalizerTest, SpacesAreAsTheKeysSay) {
  const struct {
    bool prefix, removes;
    const char *text, *expected;
  } kCases[] = {{true, false, "  a  b ", "▁▁▁a▁▁b▁"},
                {true, true, "  a  b ", "▁a▁b"},
                {false, true, "  a  b ", "a▁b"},
                {false, false, "  a", "▁▁a"},
                {true, false, "", ""},
                {true, false, " ", "▁▁"},
                {true, true, "   ", ""},
                {true, true, "a▁", "▁a"}};
  for (const auto& test : kCases) {
    ASSERT_OK_AND_ASSIGN(const SentencePieceNormalizer normalizer,
                         With({{kSpacePrefixKey, test.prefix}, {kExtraSpacesKey, test.removes}}));
    ASSERT_OK_AND_ASSIGN(const std::string out, normalizer.Apply(test.text));
    EXPECT_EQ(out, test.expected) << test.text;
  }
}

TEST(SentencePieceNormalizerTest, WrongKeysAreNamed) {
  const auto code = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(With({{kCharsmapKey, std::vector<int64_t>{1, 2, 300}}}).status(),
              StatusIs(code, HasSubstr("precompiled_charsmap' must hold bytes, holds 300")));
  EXPECT_THAT(With({{kCharsmapKey, std::vector<int64_t>{8, 0, 0, 0, 1}}}).status(),
              StatusIs(code, HasSubstr("precompiled_charsmap' has a trie of 8 bytes, of 1")));
  EXPECT_THAT(With({{kCharsmapKey, std::string("x")}}).status(),
              StatusIs(code, HasSubstr("must be an array of integers")));
  EXPECT_THAT(With({{kExtraSpacesKey, int64_t{1}}}).status(), StatusIs(code, HasSubstr("must be a bool")));
}

}  // namespace
}  // namespace ropeway
