#include "client/cli/parse_messages.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::client {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ParseMessagesTest, ContentIsATextOrPartsOrNothing) {
  ASSERT_OK_AND_ASSIGN(const std::vector<ChatMessage> messages, ParseMessages(R"([
      {"role": "system", "content": "be brief"},
      {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": ""}]},
      {"role": "assistant", "content": null},
      {"role": "assistant"}])"));
  ASSERT_EQ(messages.size(), 4);
  EXPECT_EQ(messages[0].text, "be brief");
  EXPECT_THAT(messages[0].parts, IsEmpty());
  EXPECT_FALSE(messages[1].text);
  EXPECT_THAT(messages[1].parts, ElementsAre("one", ""));
  for (int i : {2, 3}) {
    EXPECT_FALSE(messages[i].text);
    EXPECT_THAT(messages[i].parts, IsEmpty());
  }
}

TEST(ParseMessagesTest, ToolCallsKeepTheirArguments) {
  ASSERT_OK_AND_ASSIGN(const std::vector<ChatMessage> messages, ParseMessages(R"([
      {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{\"z\": 1}"}}]},
      {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"z": 1, "a": [2.5]}}}]},
      {"role": "tool", "tool_call_id": "a", "name": "f", "content": "4", "refusal": null}])"));
  ASSERT_EQ(messages.size(), 3);
  EXPECT_EQ(messages[0].tool_calls_json, R"([{"id":"a","function":{"name":"f","arguments":"{\"z\": 1}"}}])");
  EXPECT_EQ(messages[1].tool_calls_json, R"([{"function":{"name":"f","arguments":{"z":1,"a":[2.5]}}}])");
  EXPECT_EQ(messages[2].tool_call_id, "a");
  EXPECT_EQ(messages[2].name, "f");
}

TEST(ParseMessagesTest, WhatIsWrongIsNamed) {
  for (const auto& [json, why] :
       {std::pair{"", "not valid JSON at byte 1"},
        {"not json", "not valid JSON at byte"},
        {"[", "not valid JSON at byte"},
        {"[] []", "not valid JSON at byte"},
        {"{}", "must be an array of messages, is object"},
        {"3", "must be an array of messages, is number"},
        {"[3]", "message 0: must be an object, is number"},
        {R"([{"role": "user"}, {"content": "x"}])", "message 1: \"role\" is missing"},
        {R"([{"role": 3}])", "message 0: \"role\" must be a string, is number"},
        {R"([{"role": "user", "name": ["x"]}])", "\"name\" must be a string, is array"},
        {R"([{"role": "user", "content": 3}])", "\"content\" must be a string or an array"},
        {R"([{"role": "user", "content": {"type": "text"}}])", "\"content\" must be a string or an array"},
        {R"([{"role": "user", "content": []}])", "at least one part"},
        {R"([{"role": "user", "content": ["x"]}])", "\"content\"[0]: must be an object, is string"},
        {R"([{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url"}]}])",
         "message 0: \"content\"[1]: \"type\" must be \"text\", is image_url"},
        {R"([{"role": "user", "content": [{"text": "x"}]}])", "\"type\" must be \"text\", is ''"},
        {R"([{"role": "user", "content": [{"type": "text"}]}])", "\"text\" must be a string"},
        {R"([{"role": "user", "content": [{"type": "text", "text": 3}]}])", "\"text\" must be a string"}}) {
    EXPECT_THAT(ParseMessages(json), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why))) << json;
  }
}

TEST(ParseMessagesTest, IntegersOfMoreThan64BitsAreRefused) {
  const auto with = [](const std::string& number) {
    return ParseMessages(
        absl::StrCat(R"([{"role": "assistant", "tool_calls": [{"arguments": {"n": )", number, "}}]}]"));
  };
  for (const char* number : {"18446744073709551615", "-9223372036854775808"}) {
    ASSERT_OK_AND_ASSIGN(const std::vector<ChatMessage> messages, with(number));
    EXPECT_THAT(messages[0].tool_calls_json, HasSubstr(number));
  }
  for (const char* number :
       {"18446744073709551616", "-9223372036854775809", "100000000000000000000000000000"}) {
    EXPECT_THAT(with(number), StatusIs(absl::StatusCode::kInvalidArgument,
                                       HasSubstr(absl::StrCat("more than 64 bits, ", number))));
  }
  EXPECT_THAT(with("1e999"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not valid JSON")));
}

TEST(ParseMessagesTest, DepthIsBounded) {
  const auto nested = [](int depth) {
    return ParseMessages(absl::StrCat(R"([{"role": "assistant", "tool_calls": )", std::string(depth, '['),
                                      std::string(depth, ']'), "}]"));
  };
  ASSERT_OK_AND_ASSIGN(const std::vector<ChatMessage> messages, nested(kMaxMessageDepth - 2));
  EXPECT_EQ(messages[0].tool_calls_json.size(), 2 * (kMaxMessageDepth - 2));
  for (const int depth : {kMaxMessageDepth - 1, 1'000'000}) {
    EXPECT_THAT(nested(depth), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than 64 deep")));
  }
}

}  // namespace
}  // namespace ropeway::client
