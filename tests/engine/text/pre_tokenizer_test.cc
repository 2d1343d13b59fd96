// Splits against those of the models' own patterns: tests/golden/tokenizers/make_split_golden.py.
#include "engine/text/pre_tokenizer.h"

#include <set>
#include <string>

#include "engine/base/utf8.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/gzip_file.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

int CountCodePoints(std::string_view text) {
  int count = 0;
  for (size_t i = 0; i < text.size(); i += Utf8Length(text[i])) ++count;
  return count;
}

TEST(PreTokenizerTest, SplitsAsTheModelsOwnTokenizers) {
  ASSERT_OK_AND_ASSIGN(const std::string text,
                       testing::ReadGzipFile("tests/golden/tokenizers/splits.json.gz"));
  const nlohmann::json golden = nlohmann::json::parse(text);
  // These have goldens of ids, see tokenizer_golden_test.cc.
  std::set<std::string> proven = {"falcon", "deepseek-llm", "deepseek-coder", "qwen35"};
  for (const auto& scheme : golden["schemes"]) {
    for (const std::string name : scheme["names"]) {
      SCOPED_TRACE(name);
      proven.insert(name);
      ASSERT_OK_AND_ASSIGN(const PreTokenizer pre_tokenizer, PreTokenizer::Make(name));
      for (size_t i = 0; i < golden["texts"].size(); ++i) {
        const std::string sample = golden["texts"][i];
        SCOPED_TRACE(sample);
        std::vector<std::string_view> pieces;
        ASSERT_OK(pre_tokenizer.Split(sample, pieces));
        std::vector<int> lengths;
        for (const std::string_view piece : pieces) lengths.push_back(CountCodePoints(piece));
        ASSERT_EQ(lengths, scheme["lengths"][i].get<std::vector<int>>());
      }
    }
  }
  const std::vector<std::string> names = PreTokenizer::Names();
  EXPECT_EQ(proven, std::set<std::string>(names.begin(), names.end()));
}

TEST(PreTokenizerTest, NamesThatSayNothingAreRefusedWithTheList) {
  const auto code = absl::StatusCode::kUnimplemented;
  EXPECT_THAT(PreTokenizer::Make(""), StatusIs(code, HasSubstr("is missing, so that")));
  EXPECT_THAT(PreTokenizer::Make("default"), StatusIs(code, HasSubstr("is 'default', which does not say")));
  EXPECT_THAT(PreTokenizer::Make("x\n"),
              StatusIs(code, HasSubstr("is 'x\\x0a', which is not supported; supported are "
                                       "gpt-2, phi-2")));
}

std::vector<std::string> Matches(const std::string& pattern, const std::string& text) {
  std::vector<std::string> found;
  const auto regex = Regex::Compile(pattern);
  EXPECT_OK(regex);
  if (regex.ok()) {
    EXPECT_OK(regex->ForEachMatch(
        text, [&](size_t begin, size_t end) { found.push_back(text.substr(begin, end - begin)); }));
  }
  return found;
}

TEST(RegexTest, ReadsOnigurumasSyntax) {
  EXPECT_THAT(Matches("\\s", "a\u0085\u00A0\u200B\x1C\u180E b"), ElementsAre("\u0085", "\u00A0", " "));
  EXPECT_THAT(Matches("[^\\S\\n]+", "a \n\tb"), ElementsAre(" ", "\t"));
  EXPECT_THAT(Matches("\\w+", "a_e\u0301-½"), ElementsAre("a_e\u0301", "½"));
  EXPECT_THAT(Matches("\\d", "1½٣"), ElementsAre("1", "٣"));
  EXPECT_THAT(Matches("[a[bc]d]+", "xabcdx"), ElementsAre("abcd"));
  EXPECT_THAT(Matches("a{,2}b", "aaab"), ElementsAre("aab"));
  EXPECT_THAT(Matches("a$", "a\na"), ElementsAre("a", "a"));
  EXPECT_THAT(Matches("\\u00e9|(?i:S)", "éſ"), ElementsAre("é", "ſ"));
}

// Each line is what Oniguruma finds, seen from outside by the tokenizers library.
TEST(RegexTest, WordsAndScriptsAreThoseOfOniguruma) {
  EXPECT_THAT(Matches("[\\w]", "a½²Ⅳ\u0301Ⓐ‿"), ElementsAre("a", "Ⅳ", "\u0301", "Ⓐ", "‿"));
  EXPECT_THAT(Matches("\\W", "a²①\u200D-"), ElementsAre("①", "\u200D", "-"));
  EXPECT_THAT(Matches("[[:alpha:]_]+|[[:punct:]]", "1ab_2$"), ElementsAre("ab_", "$"));
  EXPECT_THAT(Matches("[[:digit:][:upper:]]", "a٣ⅣB"), ElementsAre("٣", "Ⅳ", "B"));
  EXPECT_THAT(Matches("\\h+", "xyfegA0"), ElementsAre("fe", "A0"));
  EXPECT_THAT(Matches("\\p{Han}+", "漢字、「語」"), ElementsAre("漢字", "語"));
  EXPECT_THAT(Matches("[\\p{Greek}]", "α\u0345"), ElementsAre("α"));
  EXPECT_THAT(Matches("\\p{^Han}", "漢a"), ElementsAre("a"));
  EXPECT_THAT(Matches("[\\p{Lo}&&[^\\p{Han}]]+", "漢あい字"), ElementsAre("あい"));
  EXPECT_THAT(Matches("[a-z&&[^aeiou]]+x", "abcxe"), ElementsAre("bcx"));
}

// The text with | where a match begins or ends.
std::string Borders(const std::string& pattern, const std::string& text) {
  std::string cut;
  size_t at = 0;
  const auto regex = Regex::Compile(pattern);
  EXPECT_OK(regex);
  if (!regex.ok()) return "";
  EXPECT_OK(regex->ForEachMatch(text, [&](size_t begin, size_t end) {
    cut += text.substr(at, begin - at) + "<" + text.substr(begin, end - begin) + ">";
    at = end;
  }));
  return cut + text.substr(at);
}

TEST(RegexTest, MatchesOfNothingCountButBehindAMatch) {
  EXPECT_EQ(Borders("x*", "axxb"), "<>a<xx>b<>");
  EXPECT_EQ(Borders("(?=[A-Z])", "éBéC"), "é<>Bé<>C");
  EXPECT_EQ(Borders("\\b", "ab c²"), "<>ab<> <>c²<>");
  EXPECT_EQ(Borders("\\B", "ab"), "a<>b");
  EXPECT_EQ(Borders("$", "a\n"), "a<>\n<>");
  EXPECT_EQ(Borders("(?=(\\d{3})+(?!\\d))", "1234567 12"), "1<>234<>567 12");
  EXPECT_EQ(Borders("\\d{1,3}(?=(?:\\d{3})*\\b)", "1234567"), "<1><234><567>");
}

TEST(RegexTest, RefusesWhatItCannotTell) {
  const auto unimplemented = absl::StatusCode::kUnimplemented;
  for (const char* pattern :
       {"[a&&b]",  "[a&&[b]c]", "[^a&&[b]]", "[[:graph:]]", "[a[^b]]",  "\\R",   "\\Kx",
        "(a)\\1",  "a{1,2}+",   "(*FAIL)",   "(?<n>a)",     "[]a]",     "[\\b]", "(?R)",
        "\\Qa\\E", "[\\W]",     "\\X",       "a{2}?",       "a(?i)b|c", "\\pL",  "\\p{L&}"}) {
    EXPECT_THAT(Regex::Compile(pattern), StatusIs(unimplemented, HasSubstr("is not supported"))) << pattern;
  }
  const auto invalid = absl::StatusCode::kInvalidArgument;
  for (const char* pattern : {"", "(", "[a", "a\\", "*", "\\p{Nonsense}"}) {
    EXPECT_THAT(Regex::Compile(pattern), StatusIs(invalid, HasSubstr("regular expression"))) << pattern;
  }
}

TEST(RegexTest, EndsAHostilePattern) {
  ASSERT_OK_AND_ASSIGN(const Regex regex, Regex::Compile("(?:a+a+)+[bc]", {.max_steps = 100'000}));
  EXPECT_THAT(regex.ForEachMatch(std::string(200, 'a'), [](size_t, size_t) {}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("more than 100000 steps")));
  ASSERT_OK_AND_ASSIGN(const Regex by_text, Regex::Compile("(?:a+a+)+[bc]"));
  EXPECT_THAT(by_text.ForEachMatch(std::string(200, 'a'), [](size_t, size_t) {}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("more than 22800 steps")));
  // An honest one that gives back each character of a long run.
  ASSERT_OK_AND_ASSIGN(const Regex honest, Regex::Compile("[\\p{Lu}]*[\\p{Ll}]+|[\\p{Lu}]+[\\p{Ll}]*"));
  EXPECT_OK(honest.ForEachMatch(std::string(1'000'000, 'A'), [](size_t, size_t) {}));
}

}  // namespace
}  // namespace ropeway
