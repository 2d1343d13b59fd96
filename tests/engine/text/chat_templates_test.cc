// Named templates, messages in the shape that a template takes, and turns that are continued. Real templates
// against what Jinja2 makes of them: tests/golden/jinja/make_served_golden.py.
#include "engine/text/chat_templates.h"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "engine/text/template_variables.h"
#include "gtest/gtest.h"
#include "tests/testing/gzip_file.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using Json = nlohmann::ordered_json;
using ::ropeway::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
const absl::CivilSecond kNow(2026, 1, 2, 3, 4, 5);

Json Parse(const std::string& text) { return *ParseTemplateVariables(text); }

ChatTemplates One(const std::string& source) {
  return ChatTemplates(std::vector<ChatTemplates::Source>{{"default", source}});
}

absl::StatusOr<std::string> Render(const ChatTemplates& templates, Conversation conversation) {
  ASSIGN_OR_RETURN(const std::vector<TextSegment> segments, templates.Render(std::move(conversation), kNow));
  return JoinSegments(segments);
}

absl::StatusOr<std::string> RenderMessages(const std::string& source, const std::string& messages) {
  return Render(One(source), {.variables = {{"messages", Parse(messages)}}});
}

absl::StatusOr<std::string> Continue(const std::string& source, const std::string& messages) {
  return Render(One(source), {.variables = {{"messages", Parse(messages)}}, .continue_final_message = true});
}

constexpr char kChatMl[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";

TEST(ChatTemplatesTest, ServedConversationsOfRealTemplatesAreAsTheirMakersMeant) {
  ASSERT_OK_AND_ASSIGN(const std::string text, testing::ReadGzipFile("tests/golden/jinja/served.json.gz"));
  const Json golden = Parse(text);
  ASSERT_EQ(golden["templates"].size(), 71u);
  for (const auto& [name, expected] : golden["templates"].items()) {
    SCOPED_TRACE(name);
    std::ifstream file("models/templates/" + name + ".jinja", std::ios::binary);
    if (!file && std::getenv("ROPEWAY_WITHOUT_MODELS") != nullptr) GTEST_SKIP() << "no templates";
    ASSERT_TRUE(file);
    const ChatTemplates templates = One({std::istreambuf_iterator<char>(file), {}});
    const auto expect = [&, &expected = expected](const char* which, const Json& messages,
                                                  const Json& tools) {
      SCOPED_TRACE(which);
      Json variables = {{"messages", messages},
                        {"add_generation_prompt", true},
                        {"bos_token", "<s>"},
                        {"eos_token", "</s>"}};
      if (!tools.is_null()) variables["tools"] = tools;
      const auto rendered = Render(templates, {.variables = variables});
      if (expected[which].is_null()) {
        EXPECT_THAT(rendered, StatusIs(kInvalid, HasSubstr("")));
      } else {
        ASSERT_OK(rendered);
        EXPECT_EQ(*rendered, expected[which].get<std::string>());
      }
    };
    expect("calls", golden["calls"], golden["tools"]);
    expect("calls_without_tools", golden["calls"], nullptr);
    expect("parts", golden["parts"], nullptr);
  }
}

TEST(ChatTemplatesTest, PartsAreJoinedForTemplatesOfTexts) {
  const std::string parts =
      R"([{"role": "user", "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]}])";
  EXPECT_EQ(*RenderMessages("{{ messages[0].content }}", parts), "a b");
  EXPECT_EQ(*RenderMessages("{{ messages[0].content|tojson }}", parts), "\"a b\"");
  EXPECT_EQ(*RenderMessages("{% for p in messages[0].content %}<{{ p.text }}>{% endfor %}", parts),
            "<a ><b>");
  EXPECT_EQ(*RenderMessages("{% for p in messages[0].content %}<{{ p.text }}>{% endfor %}",
                            R"([{"role": "user", "content": "a"}])"),
            "<a>");
}

TEST(ChatTemplatesTest, ASilentTurnWithoutCallsIsEmpty) {
  EXPECT_EQ(*RenderMessages(kChatMl, R"([{"role": "assistant", "content": null}, {"role": "user"}])"),
            "<|im_start|>assistant\n<|im_end|>\n<|im_start|>user\n<|im_end|>\n");
}

TEST(ChatTemplatesTest, ArgumentsThatMustBeObjectsAreParsedOrRefused) {
  const std::string source =
      "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.name }}"
      "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}{% endfor %}{% endfor %}{% endfor %}";
  const auto with = [](const std::string& arguments) {
    return R"([{"role": "user"}, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": )" +
           arguments + "}}]}]";
  };
  EXPECT_EQ(*RenderMessages(source, with(R"("{\"a\": 12345678901234567890123}")")),
            "fa=12345678901234567890123");
  EXPECT_EQ(*RenderMessages(source, with(R"({"a": 1.0})")), "fa=1.0");
  EXPECT_EQ(*RenderMessages(source, with(R"("")")), "f");
  EXPECT_THAT(
      RenderMessages(source, with(R"("{\"a\": ")")),
      StatusIs(kInvalid, HasSubstr("messages[1].tool_calls[0].function.arguments must be a JSON object")));
  EXPECT_THAT(RenderMessages(source, with(R"("[1]")")), StatusIs(kInvalid, HasSubstr("is of type array")));
}

TEST(ChatTemplatesTest, ToolsChooseTheirTemplate) {
  const ChatTemplates templates({{"default", "d"}, {"tool_use", "t"}, {"rag", "r"}});
  EXPECT_THAT(templates.names(), ElementsAre("default", "tool_use", "rag"));
  const Json plain = {{"messages", Json::array()}};
  Json with_tools = plain;
  with_tools["tools"] = Json::array({Json::object()});
  EXPECT_EQ(*Render(templates, {.variables = plain}), "d");
  EXPECT_EQ(*Render(templates, {.variables = with_tools}), "t");
  EXPECT_EQ(*Render(templates, {.variables = plain, .template_name = "rag"}), "r");
  EXPECT_EQ(*Render(templates, {.variables = with_tools, .template_name = "default"}), "d");
  EXPECT_THAT(Render(templates, {.variables = plain, .template_name = "x\n"}),
              StatusIs(kInvalid, HasSubstr("no chat template \"x\\x0a\"; it has default, tool_use, rag")));
}

TEST(ChatTemplatesTest, NamedTemplatesAloneAreServed) {
  Metadata metadata;
  ASSERT_OK(metadata.Add("tokenizer.chat_templates", std::vector<std::string>{"tool_use"}));
  ASSERT_OK(metadata.Add("tokenizer.chat_template.tool_use", std::string("t")));
  ASSERT_OK_AND_ASSIGN(const ChatTemplates one, ChatTemplates::Read(metadata));
  EXPECT_EQ(*Render(one, {.variables = {{"messages", Json::array()}}}), "t");
  EXPECT_EQ(one.default_source(), "t");
  const ChatTemplates two({{"tool_use", "t"}, {"rag", "r"}});
  EXPECT_THAT(Render(two, {.variables = {{"messages", Json::array()}}}),
              StatusIs(kInvalid, HasSubstr("name one of tool_use, rag")));
  EXPECT_THAT(ChatTemplates::Read(Metadata())->names(), IsEmpty());
}

TEST(ChatTemplatesTest, ProblemsAreToldWhenTheTemplatesAreLoaded) {
  EXPECT_THAT(One(kChatMl).Problems(), IsEmpty());
  EXPECT_THAT(One("{{ x").Problems(), ElementsAre(HasSubstr("\"default\": chats are refused")));
  EXPECT_THAT(One("{{ x|pprint }}").Problems(), ElementsAre(HasSubstr("Jinja's filter 'pprint'")));
  EXPECT_THAT(One("{% if 0 %}{{ x|urlize }}{% endif %}").Problems(),
              ElementsAre(HasSubstr("line 1: Jinja's filter 'urlize' is not supported")));
  EXPECT_THAT(One("{{ lipsum() }}").Problems(), ElementsAre(HasSubstr("Jinja's function 'lipsum'")));
  EXPECT_THAT(One("\n{% if x %}{{ x|from_json }}{% endif %}").Problems(),
              ElementsAre(HasSubstr("line 2: No filter named 'from_json'")));
  EXPECT_THAT(One("{% if x is odd_one %}{% endif %}{{ f(1) }}").Problems(),
              ElementsAre(HasSubstr("No test named 'odd_one'"), HasSubstr("No function named 'f'")));
  EXPECT_THAT(One("{% macro lipsum() %}{% endmacro %}{{ lipsum() }}").Problems(), IsEmpty());
  EXPECT_THAT(ChatTemplates({{"a\xFF", "x"}, {"b", "x"}, {"b", "y"}}).Problems(),
              ElementsAre(HasSubstr("\"a\\xff\" is passed over"), HasSubstr("\"b\" is passed over")));
}

TEST(ChatTemplatesTest, ASourceThatIsNotUtf8IsShownRepairedAndRefusesChats) {
  const ChatTemplates templates = One("a\xFFz{{ messages }}");
  EXPECT_EQ(templates.default_source(), "a\uFFFDz{{ messages }}");
  EXPECT_THAT(Render(templates, {.variables = {{"messages", Json::array()}}}),
              StatusIs(kInvalid, HasSubstr("not valid UTF-8 at byte 1")));
  EXPECT_THAT(templates.Problems(), ElementsAre(HasSubstr("not valid UTF-8 at byte 1")));
}

TEST(ContinueTest, EndsBehindTheLastMessage) {
  EXPECT_EQ(
      *Continue(kChatMl, R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "end im"}])"),
      "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nend im");
  EXPECT_EQ(*Continue(kChatMl, R"([{"role": "assistant", "content": "a \n"}])"),
            "<|im_start|>assistant\na \n");
  EXPECT_EQ(*Continue(kChatMl, R"([{"role": "assistant", "content": "m_end|>"}])"),
            "<|im_start|>assistant\nm_end|>");
  EXPECT_EQ(*Continue("{{ messages[0].content|trim }}.", R"([{"role": "assistant", "content": " a \n"}])"),
            "a");
  EXPECT_EQ(
      *Continue(
          "{% for p in messages[0].content %}{{ p.text }}{% endfor %}.",
          R"([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])"),
      "ab");
}

TEST(ContinueTest, RefusesWhatTheTemplateChanges) {
  const std::string messages = R"([{"role": "assistant", "content": "abc"}])";
  EXPECT_THAT(Continue("{{ messages[0].content|upper }}", messages),
              StatusIs(kInvalid, HasSubstr("cannot be continued")));
  EXPECT_THAT(Continue("{{ messages[0].content[::-1] }}", messages),
              StatusIs(kInvalid, HasSubstr("cannot be continued")));
  EXPECT_THAT(Continue("nothing", messages), StatusIs(kInvalid, HasSubstr("cannot be continued")));
  EXPECT_THAT(Continue("{{ messages[0].content|length }}", messages),
              StatusIs(kInvalid, HasSubstr("cannot be continued")));
}

TEST(ContinueTest, TrustStaysWhereItWas) {
  ASSERT_OK_AND_ASSIGN(
      const auto segments,
      One(kChatMl).Render(
          {.variables = {{"messages", Parse(R"([{"role": "assistant", "content": "<|x|>"}])")}},
           .continue_final_message = true},
          kNow));
  EXPECT_EQ(segments.back().text, "<|x|>");
  EXPECT_FALSE(segments.back().trusted);
}

}  // namespace
}  // namespace ropeway
