#include "engine/inspect/text_commands.h"

#include "gtest/gtest.h"
#include "tests/testing/byte_tokenizer.h"

namespace ropeway {
namespace {

TEST(TextCommandsTest, AnswerEveryLineWithOneLine) {
  const testing::ByteTokenizer tokenizer;
  EXPECT_EQ(TokenizeLine(tokenizer, R"({"text": "ab", "add_special": false})"), R"({"ids":[97,98]})");
  EXPECT_EQ(DetokenizeLine(tokenizer, R"({"ids": [195, 169, 226]})"),
            R"({"flush":"�","stream":["","é",""]})");
  EXPECT_EQ(TokenizeLine(tokenizer, "not json"), R"({"error":"the line must be a JSON object"})");
  EXPECT_EQ(TokenizeLine(tokenizer, R"({"text": 5})"), R"({"error":"text must be a string"})");
  EXPECT_EQ(TokenizeLine(tokenizer, R"({"text": "", "parse_special": 1})"),
            R"({"error":"parse_special must be true or false"})");
  EXPECT_EQ(TokenizeLine(tokenizer, R"({"text": "\ud800"})"),
            R"({"error":"the line must be a JSON object"})");
  EXPECT_EQ(TokenizeLine(tokenizer, "\xFF"), R"({"error":"the line must be a JSON object"})");
  const std::string deep = "[" + std::string(100'000, '[') + std::string(100'000, ']') + "]";
  for (const std::string& ids : {std::string("[-1]"), std::string("[99999]"), std::string("[1.5]"),
                                 std::string("[\"a\"]"), std::string("[99999999999999999999]"), deep})
    EXPECT_NE(DetokenizeLine(tokenizer, "{\"ids\": " + ids + "}").find("ids must be integers in [0, "),
              std::string::npos);
}

}  // namespace
}  // namespace ropeway
