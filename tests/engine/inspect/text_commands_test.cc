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
  for (const char* ids : {"[-1]", "[99999]", "[1.5]", "[\"a\"]", "[99999999999999999999]"})
    EXPECT_NE(
        DetokenizeLine(tokenizer, std::string("{\"ids\": ") + ids + "}").find("ids must be integers in [0, "),
        std::string::npos);
}

}  // namespace
}  // namespace ropeway
