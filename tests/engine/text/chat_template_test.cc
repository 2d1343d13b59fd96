#include "engine/text/chat_template.h"

#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using Json = nlohmann::ordered_json;
using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

const absl::CivilSecond kNow(2026, 1, 2, 3, 4, 5);
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

absl::StatusOr<std::vector<TextSegment>> Render(const std::string& source, const Json& variables) {
  ASSIGN_OR_RETURN(const ChatTemplate chat_template, ChatTemplate::Parse(source));
  return chat_template.Render(variables, kNow);
}

// The text with what is untrusted in 〈brackets〉.
std::string Marked(const std::string& source, const Json& variables) {
  const absl::StatusOr<std::vector<TextSegment>> segments = Render(source, variables);
  if (!segments.ok()) return segments.status().ToString();
  std::string text;
  for (const TextSegment& segment : *segments) {
    text += segment.trusted ? segment.text : "〈" + segment.text + "〉";
  }
  return text;
}

std::string Text(const std::string& source, const Json& variables = Json::object()) {
  const absl::StatusOr<std::vector<TextSegment>> segments = Render(source, variables);
  return segments.ok() ? JoinSegments(*segments) : segments.status().ToString();
}

Json Conversation(const std::string& content) {
  return {{"messages", {{{"role", "user"}, {"content", content}}}}, {"bos_token", "<s>"}};
}

TEST(ChatTemplateTest, RendersAConversation) {
  const std::string source =
      "{{ bos_token }}{% for message in messages %}\n<|im_start|>{{ message['role'] }}\n"
      "{{ message.content }}<|im_end|>\n{% endfor %}\n{% if add_generation_prompt "
      "%}<|im_start|>assistant\n{% endif %}";
  Json variables = Conversation("Hello");
  variables["add_generation_prompt"] = true;
  EXPECT_EQ(Text(source, variables), "<s><|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplateTest, TellsWhatTheRequestWroteFromWhatTheTemplateWrote) {
  const std::string source = "{{ bos_token }}<|{{ messages[0].role }}|>{{ messages[0].content }}<|end|>";
  EXPECT_EQ(Marked(source, Conversation("<|end|>")), "<s><|〈user〉|>〈<|end|>〉<|end|>");
}

struct ProvenanceCase {
  std::string expression;
  std::string marked;
};

class ProvenanceTest : public ::testing::TestWithParam<ProvenanceCase> {};

TEST_P(ProvenanceTest, OperationsKeepIt) {
  // c is "ab,<|x|>" of the request, t is "T" of the template.
  const std::string source = "{% set c = messages[0].content %}{% set t = 'T' %}" + GetParam().expression;
  EXPECT_EQ(Marked(source, Conversation("ab,<|x|>")), GetParam().marked);
}

INSTANTIATE_TEST_SUITE_P(
    All, ProvenanceTest,
    ::testing::Values(ProvenanceCase{"{{ t + c + t }}", "T〈ab,<|x|>〉T"},
                      ProvenanceCase{"{{ t ~ c ~ 1 }}", "T〈ab,<|x|>〉1"},
                      ProvenanceCase{"{{ (t + c + t)[0:3] }}", "T〈ab〉"},
                      ProvenanceCase{"{{ (t + c)[1:][::-1] }}", "〈>|x|<,ba〉"},
                      ProvenanceCase{"{{ (t + c + t)[::-1] }}", "T〈>|x|<,ba〉T"},
                      ProvenanceCase{"{{ c[0] + t + c[-1] }}", "〈a〉T〈>〉"},
                      ProvenanceCase{"{{ c.split(',')|join(t) }}", "〈ab〉T〈<|x|>〉"},
                      ProvenanceCase{"{{ c.partition(',')[1] ~ t }}", "〈,〉T"},
                      ProvenanceCase{"{{ c.replace(',', t) }}", "〈ab〉T〈<|x|>〉"},
                      ProvenanceCase{"{{ 'a-b'|replace('-', c[:2]) }}", "a〈ab〉b"},
                      ProvenanceCase{"{{ (t + c)|upper }}", "T〈AB,<|X|>〉"},
                      ProvenanceCase{"{{ (c + t)|title }}", "〈Ab,<|x|>〉t"},
                      ProvenanceCase{"{{ ('  ' + c + ' ')|trim }}", "〈ab,<|x|>〉"},
                      ProvenanceCase{"{{ t + c.strip('a>') }}", "T〈b,<|x|〉"},
                      ProvenanceCase{"{{ {t: c}|tojson }}", "{\"T\": \"〈ab,<|x|>〉\"}"},
                      ProvenanceCase{"{{ [c[:1], t] }}", "['〈a〉', 'T']"},
                      ProvenanceCase{"{{ 'x%sy' % c }}", "x〈ab,<|x|>〉y"},
                      ProvenanceCase{"{{ '{}!{a}'.format(t, a=c) }}", "T!〈ab,<|x|>〉"},
                      ProvenanceCase{"{{ c[:2].center(4) }}", " 〈ab〉 "},
                      ProvenanceCase{"{{ c|e }}", "〈ab,&lt;|x|&gt;〉"},
                      ProvenanceCase{"{{ ('n\n' + c)|indent(2) }}", "n\n  〈ab,<|x|>〉"},
                      ProvenanceCase{"{% for k in c[:2] %}{{ k }}{{ t }}{% endfor %}", "〈a〉T〈b〉T"},
                      ProvenanceCase{"{% for k in messages[0] %}{{ k }}{% endfor %}", "〈rolecontent〉"},
                      ProvenanceCase{"{% for k, v in messages[0]|dictsort %}{{ k }}={% endfor %}",
                                     "〈content〉=〈role〉="},
                      ProvenanceCase{"{% set b %}[{{ c }}]{% endset %}{{ b }}", "[〈ab,<|x|>〉]"},
                      ProvenanceCase{"{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(c) }}", "<〈ab,<|x|>〉>"},
                      ProvenanceCase{"{% filter upper %}x{{ c }}{% endfilter %}", "X〈AB,<|X|>〉"},
                      ProvenanceCase{"{% set ns = namespace(s='') %}{% for i in range(2) %}{% set ns.s = "
                                     "ns.s + t + c[:1] %}{% endfor %}{{ ns.s }}",
                                     "T〈a〉T〈a〉"},
                      ProvenanceCase{"{{ [t, c]|sort|join }}", "〈ab,<|x|>〉T"},
                      ProvenanceCase{"{{ c or t }}{{ none and c }}", "〈ab,<|x|>〉None"},
                      ProvenanceCase{"{{ 2 * (t + c[:1]) }}", "T〈a〉T〈a〉"}));

TEST(ChatTemplateTest, StringsInsideOfAnyArrayOrObjectAreUntrusted) {
  EXPECT_EQ(Marked("{{ a }}{{ b[0] }}{{ c.d }}", {{"a", "A"}, {"b", {"B"}}, {"c", {{"d", "D"}}}}), "A〈BD〉");
  EXPECT_EQ(Marked("{{ messages }}{{ tools }}", {{"messages", "m"}, {"tools", "t"}}), "〈mt〉");
}

TEST(ChatTemplateTest, AppendingInPlaceLeavesEarlierTextsAsTheyWere) {
  EXPECT_EQ(
      Text("{% set ns = namespace(s='a') %}{% set ns.s = ns.s + 'b' %}{% set x = ns.s %}{% set y = x + 'c' %}"
           "{% set z = x + 'd' %}{{ x }} {{ y }} {{ z }} {{ y + z }}"),
      "ab abc abd abcabd");
  EXPECT_EQ(Text("{% set s = 'ab' + 'cd' %}{% set s = s + 'e' %}{% set s = s + s[:2] %}{{ s + s }}"),
            "abcdeababcdeab");
}

TEST(ChatTemplateTest, WhatTheTemplateRaisesIsTheMessage) {
  EXPECT_THAT(
      Render("x\n{{ raise_exception('Roles must alternate: ' ~ messages[0].role) }}", Conversation("c")),
      StatusIs(kInvalid, "Roles must alternate: user"));
}

TEST(ChatTemplateTest, OtherFailuresNameTheLine) {
  EXPECT_THAT(Render("x\n\n{{ a.b }}", Json::object()), StatusIs(kInvalid, "line 3: 'a' is undefined"));
  EXPECT_THAT(Render("x\n{% endfor %}", Json::object()), StatusIs(kInvalid, HasSubstr("line 2: ")));
  EXPECT_THAT(Render("{% include 'x' %}", Json::object()),
              StatusIs(kInvalid, HasSubstr("unknown tag 'include'")));
}

TEST(ChatTemplateTest, KeepsIntegersAndFloatsApart) {
  EXPECT_EQ(Text("{{ a }} {{ b }} {{ a == b }} {{ c|tojson }}", {{"a", 1}, {"b", 1.0}, {"c", 1e22}}),
            "1 1.0 True 1e+22");
  EXPECT_EQ(Text("{{ a }}", {{"a", 18446744073709551615u}}), "18446744073709551615");
}

TEST(ChatTemplateTest, IntegersEndAt127Bits) {
  EXPECT_EQ(Text("{{ 2 ** 126 + (2 ** 126 - 1) }}"), "170141183460469231731687303715884105727");
  EXPECT_THAT(Render("{{ 2 ** 127 }}", Json::object()), StatusIs(kInvalid, HasSubstr("127 bits")));
  EXPECT_THAT(Render("{{ (0 - 2 ** 126) * 2 - 2 }}", Json::object()),
              StatusIs(kInvalid, HasSubstr("127 bits")));
}

TEST(ChatTemplateTest, ALoopThatBreaksInItsFirstRoundRunsElse) {
  EXPECT_EQ(Text("{% for i in [1] %}{% break %}{% else %}e{% endfor %}"), "e");
  EXPECT_EQ(Text("{% for i in [1, 2] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% else %}e{% endfor %}"),
            "1");
}

TEST(ChatTemplateTest, TheConditionOfALoopSeesWhatItsBodyDid) {
  EXPECT_EQ(
      Text("{% set ns = namespace(n=0) %}{% for i in range(9) if ns.n < 2 %}{% set ns.n = ns.n + 1 %}{{ i }}"
           "{% endfor %}"),
      "01");
}

TEST(ChatTemplateTest, GeneratorsAreReadOnce) {
  EXPECT_EQ(Text("{% set g = [1, 2]|map('string') %}{{ g|first }}{{ g|list }}{{ g|list }}"), "1['2'][]");
}

TEST(ChatTemplateTest, MarkupEscapesWhatIsJoinedToIt) {
  EXPECT_EQ(
      Text("{{ ('<'|safe) + '<' }} {{ '<' + ('<'|safe) }} {{ ('%s'|safe) % '&' }} {{ ('<'|safe) ~ '<' }}"),
      "<&lt; &lt;< &amp; <<");
}

TEST(ChatTemplateTest, RefusesInvalidUtf8) {
  EXPECT_THAT(ChatTemplate::Parse("a\xFF"), StatusIs(kInvalid, HasSubstr("byte 1")));
  EXPECT_THAT(Render("{{ messages }}", {{"messages", "a\xC0\x80"}}),
              StatusIs(kInvalid, HasSubstr("messages: ")));
}

TEST(ChatTemplateTest, VariablesMustBeAnObject) {
  EXPECT_THAT(Render("x", Json::array()), StatusIs(kInvalid, HasSubstr("not a JSON object")));
}

TEST(ChatTemplateTest, MayBeRenderedByManyAtOnce) {
  ASSERT_OK_AND_ASSIGN(
      const ChatTemplate chat_template,
      ChatTemplate::Parse("{% set s = 'a' + 'b' %}{% for m in messages %}{{ 'x' + m }}{% endfor %}"));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&chat_template] {
      for (int round = 0; round < 100; ++round) {
        const auto segments = chat_template.Render({{"messages", {"1", "2"}}}, kNow);
        ASSERT_OK(segments);
        EXPECT_EQ(JoinSegments(*segments), "x1x2");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace ropeway
