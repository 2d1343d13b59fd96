#include "engine/inspect/render_command.h"

#include <string>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

std::string Answer(const std::string& source, const std::string& line) {
  return RenderLine(ChatTemplates({{"default", source}}), line, {.defaults = {{"bos_token", "<s>"}}});
}

TEST(RenderCommandTest, AnswersWithTheText) {
  EXPECT_EQ(Answer("{{ bos_token }}{{ messages|tojson }}", R"({"messages": {"b": 1.0, "a": "\"é\n"}})"),
            R"({"text":"<s>{\"b\": 1.0, \"a\": \"\\\"é\\n\"}"})");
  EXPECT_EQ(Answer("{{ bos_token }}", R"({"bos_token": "<bos>"})"), R"({"text":"<bos>"})");
}

TEST(RenderCommandTest, KeepsTheOrderOfKeysAndTheKindsOfNumbers) {
  const std::string object =
      R"({"z": 1, "a": 1.0, "m": 100000000000000000000, "b": -0.0, "c": 1e+22, "0": {"y": [], "x": {}}})";
  const std::string line = R"({"v": )" + object + "}";
  EXPECT_EQ(nlohmann::json::parse(Answer("{{ v|tojson }}", line))["text"], object);
}

TEST(RenderCommandTest, TakesTheTimeFromTheLine) {
  for (const char* now : {"2026-01-02T03:04:05", "2026-01-02 03:04:05.678", "2026-01-02T03:04:05Z",
                          "2026-01-02T03:04:05+09:00", "2026-01-02T03:04:05-05:00"}) {
    EXPECT_EQ(Answer("{{ strftime_now('%d %b %Y %H:%M:%S') }}{{ now is defined }}",
                     std::string(R"({"now": ")") + now + "\"}"),
              R"({"text":"02 Jan 2026 03:04:05False"})");
  }
  EXPECT_EQ(Answer("{{ strftime_now('%d') }}", R"({"now": "2026-01-02"})"), R"({"text":"02"})");
  EXPECT_EQ(Answer("", R"({"now": "yesterday"})"), R"({"error":"now: not an ISO date and time: yesterday"})");
}

TEST(RenderCommandTest, RendersAsServedAndByName) {
  const ChatTemplates templates(
      {{"default", "{% for m in messages %}<{{ m.content }}>{% endfor %}"}, {"b", "b"}});
  const std::string line =
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "c"}],)"
      R"( "continue_final_message": true})";
  EXPECT_EQ(RenderLine(templates, line, {.as_served = true}), R"({"text":"<a><c"})");
  EXPECT_EQ(RenderLine(templates, line, {}), R"({"text":"<[{'type': 'text', 'text': 'a'}]><c>"})");
  EXPECT_EQ(RenderLine(templates, line, {.template_name = "b"}), R"({"text":"b"})");
  EXPECT_EQ(RenderLine(templates, "{}", {.as_served = true}),
            R"({"error":"messages must be an array that is not empty"})");
}

TEST(RenderCommandTest, AnswersWithTheError) {
  EXPECT_EQ(Answer("{{ raise_exception('no') }}", "{}"), R"({"error":"no"})");
  EXPECT_EQ(Answer("", "["), R"({"error":"not valid JSON at byte 2"})");
  EXPECT_EQ(Answer("", ""), R"({"error":"not valid JSON at byte 1"})");
  EXPECT_EQ(Answer("", "1"), R"({"error":"not a JSON object"})");
  EXPECT_EQ(Answer("{% if %}", "{}").substr(0, 10), R"({"error":")");
  EXPECT_EQ(Answer("", std::string(100'000, '[')).substr(0, 10), R"({"error":")");
}

}  // namespace
}  // namespace ropeway
