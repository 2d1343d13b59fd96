#include "engine/inspect/render_command.h"

#include <string>

#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

std::string Answer(const std::string& source, const std::string& line) {
  const absl::StatusOr<ChatTemplate> chat_template = ChatTemplate::Parse(source);
  if (!chat_template.ok()) return chat_template.status().ToString();
  return RenderLine(*chat_template, line, {{"bos_token", "<s>"}});
}

TEST(RenderCommandTest, AnswersWithTheText) {
  EXPECT_EQ(Answer("{{ bos_token }}{{ messages|tojson }}", R"({"messages": {"b": 1.0, "a": "\"é\n"}})"),
            R"({"text":"<s>{\"b\": 1.0, \"a\": \"\\\"é\\n\"}"})");
  EXPECT_EQ(Answer("{{ bos_token }}", R"({"bos_token": "<bos>"})"), R"({"text":"<bos>"})");
}

TEST(RenderCommandTest, TakesTheTimeFromTheLine) {
  for (const char* now : {"2026-01-02T03:04:05", "2026-01-02 03:04:05.678", "2026-01-02T03:04:05Z",
                          "2026-01-02T03:04:05+09:00"}) {
    EXPECT_EQ(Answer("{{ strftime_now('%d %b %Y %H:%M:%S') }}{{ now is defined }}",
                     std::string(R"({"now": ")") + now + "\"}"),
              R"({"text":"02 Jan 2026 03:04:05False"})");
  }
  EXPECT_EQ(Answer("{{ strftime_now('%d') }}", R"({"now": "2026-01-02"})"), R"({"text":"02"})");
  EXPECT_EQ(Answer("", R"({"now": "yesterday"})"), R"({"error":"now: not an ISO date and time: yesterday"})");
}

TEST(RenderCommandTest, AnswersWithTheError) {
  EXPECT_EQ(Answer("{{ raise_exception('no') }}", "{}"), R"({"error":"no"})");
  EXPECT_EQ(Answer("", "["), R"({"error":"not valid JSON at byte 2"})");
  EXPECT_EQ(Answer("", ""), R"({"error":"not valid JSON at byte 1"})");
  EXPECT_EQ(Answer("", "1"), R"({"error":"not a JSON object"})");
}

}  // namespace
}  // namespace ropeway
