// Templates and variables that try to use up the process.
#include <string>
#include <vector>

#include "engine/text/chat_template.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using Json = nlohmann::ordered_json;
using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string Repeat(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

absl::Status Render(const std::string& source, const Json& variables = Json::object(),
                    const TemplateLimits& limits = {}) {
  ASSIGN_OR_RETURN(const ChatTemplate chat_template, ChatTemplate::Parse(source, limits));
  return chat_template.Render(variables, absl::CivilSecond()).status();
}

struct Bomb {
  std::string source;
  std::string limit;
};

class BombTest : public ::testing::TestWithParam<Bomb> {};

TEST_P(BombTest, EndsWithTheNameOfTheLimit) {
  EXPECT_THAT(Render(GetParam().source), StatusIs(kInvalid, HasSubstr(GetParam().limit)));
}

// A loop of 10^8 rounds.
std::string Forever(const std::string& body) {
  return "{% for a in range(10000) %}{% for b in range(10000) %}" + body + "{% endfor %}{% endfor %}";
}

std::string Doubling(const std::string& start, const std::string& twice) {
  return "{% set ns = namespace(v=" + start + ") %}{% for i in range(200) %}{% set ns.v = " + twice +
         " %}{% endfor %}";
}

INSTANTIATE_TEST_SUITE_P(
    Steps, BombTest,
    ::testing::Values(
        Bomb{Forever(""), "max_steps"}, Bomb{Forever("{{ 1 }}"), "max_"},
        Bomb{Forever("{% set x = 1 %}"), "max_steps"},
        Bomb{"{% macro m() %}{% for i in range(100) %}{{ m() }}{% endfor %}{% endmacro %}{{ m() }}", "max_"},
        Bomb{Doubling("[1]", "[ns.v, ns.v]") + "{{ ns.v == [[ns.v[0][0], ns.v[0][0]], ns.v[1]] }}", "max_"},
        Bomb{Doubling("(1, 2)", "(ns.v, ns.v)") + "{{ {ns.v: 1} }}", "max_"},
        Bomb{"{% set s = 'a' * 1000000 %}" + Forever("{% set x = s.find('b') %}"), "max_steps"},
        Bomb{"{% set s = 'a' * 1000000 %}" +
                 Forever("{% set x = s|length %}{% set x = s[7:8] %}{% set x = s|upper %}"),
             "max_"},
        Bomb{"{% set l = range(100000)|list %}" + Forever("{% set x = -1 in l %}"), "max_steps"},
        Bomb{"{% set l = range(100000)|list %}" + Forever("{% set x = l|sort %}"), "max_"}));

INSTANTIATE_TEST_SUITE_P(
    Memory, BombTest,
    ::testing::Values(Bomb{"{{ 'x' * 10**12 }}", "max_allocated_bytes"},
                      Bomb{"{{ [1] * 10**12 }}", "max_allocated_bytes"},
                      Bomb{"{{ 'x'.center(10**12) }}", "max_allocated_bytes"},
                      Bomb{"{{ 'x'.zfill(10**15) }}", "max_allocated_bytes"},
                      Bomb{"{{ '%1000000000000d' % 1 }}", "max_allocated_bytes"},
                      Bomb{"{{ '{:1000000000000}'.format(1) }}", "max_allocated_bytes"},
                      Bomb{"{{ '{:*^1000000000000}'.format('x') }}", "max_allocated_bytes"},
                      Bomb{"{{ [1]|tojson(indent=10**12) }}", "max_allocated_bytes"},
                      Bomb{"{{ 'a\nb'|indent(10**12) }}", "max_allocated_bytes"},
                      Bomb{"{{ '\t'.expandtabs(10**12) }}", "max_allocated_bytes"},
                      Bomb{Doubling("'x'", "ns.v + ns.v"), "max_allocated_bytes"},
                      Bomb{Doubling("'x'", "ns.v ~ ns.v"), "max_allocated_bytes"},
                      Bomb{Doubling("[1]", "ns.v + ns.v"), "max_allocated_bytes"},
                      Bomb{Doubling("'xy'", "ns.v.replace('x', ns.v)"), "max_allocated_bytes"},
                      Bomb{Doubling("'xy'", "ns.v.join(ns.v)"), "max_allocated_bytes"},
                      Bomb{Doubling("'<'", "(ns.v + ns.v)|e|string|forceescape"), "max_allocated_bytes"},
                      Bomb{"{% set s = 'a' * 20000000 %}{{ s.split('a') }}", "max_allocated_bytes"},
                      Bomb{"{% set s = 'a' * 20000000 %}{{ s|list }}", "max_allocated_bytes"},
                      Bomb{"{% set s = 'ä' * 9000000 %}{{ s[::-1][::-1] }}", "max_"},
                      Bomb{Doubling("[1]", "[ns.v, ns.v]") + "{{ ns.v }}", "max_"},
                      Bomb{"{% set ns = namespace(v=[1]) %}{% for i in range(60) %}{% set ns.v = [ns.v, "
                           "ns.v] %}{% endfor %}{{ ns.v }}",
                           "max_"},
                      Bomb{"{% set ns = namespace(v=[1]) %}{% for i in range(60) %}{% set ns.v = [ns.v, "
                           "ns.v] %}{% endfor %}{{ ns.v|tojson }}",
                           "max_"},
                      Bomb{"{% for a in range(99999) %}{% for b in range(99999) %}{% call(x) c() %}{% "
                           "endcall %}{% endfor %}{% endfor %}",
                           "'c' is undefined"}));

INSTANTIATE_TEST_SUITE_P(
    Depth, BombTest,
    ::testing::Values(
        Bomb{"{{ " + Repeat("(", 100000) + "1" + Repeat(")", 100000) + " }}", "max_depth"},
        Bomb{"{{ " + Repeat("[", 100000) + Repeat("]", 100000) + " }}", "max_depth"},
        Bomb{"{{ " + Repeat("{1:", 100000) + "1" + Repeat("}", 100000) + " }}", "max_depth"},
        Bomb{"{{ " + Repeat("-", 100000) + "1 }}", "max_depth"},
        Bomb{"{{ " + Repeat("not ", 100000) + "1 }}", "max_depth"},
        Bomb{"{{ a" + Repeat(".b", 100000) + " }}", "max_depth"},
        Bomb{"{{ a" + Repeat("[0]", 100000) + " }}", "max_depth"},
        Bomb{"{{ a" + Repeat("()", 100000) + " }}", "max_depth"},
        Bomb{"{{ a" + Repeat("|trim", 100000) + " }}", "max_depth"},
        Bomb{"{{ a" + Repeat(" is none", 100000) + " }}", "chain"},
        Bomb{"{{ 1" + Repeat(" if 1 else 1", 50000) + " }}", "max_depth"},
        Bomb{"{{ 1" + Repeat(" if 1", 50000) + " }}", "max_depth"},
        Bomb{Repeat("{% if 1 %}", 50000), "max_depth"}, Bomb{Repeat("{% for a in b %}", 50000), "max_depth"},
        Bomb{"{% filter trim" + Repeat("|trim", 100000) + " %}{% endfilter %}", "max_depth"},
        Bomb{"{% set " + Repeat("(", 100000) + "a" + Repeat(")", 100000) + " = 1 %}", "max_depth"},
        Bomb{"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "max_evaluation_depth"},
        Bomb{
            "{% macro m() %}{{ caller }}{% call m() %}{% endcall %}{% endmacro %}{% call m() %}{% endcall %}",
            "max_evaluation_depth"},
        Bomb{"{% for a in [[1]] recursive %}{{ loop([a]) }}{% endfor %}", "max_evaluation_depth"},
        Bomb{"{% set ns = namespace(v=[]) %}{% for i in range(9999) %}{% set ns.v = [ns.v] %}{% endfor %}",
             "max_depth"},
        Bomb{"{% set ns = namespace(v=1) %}{% for i in range(9999) %}{% set ns.v = {1: ns.v} %}{% endfor %}",
             "max_depth"},
        Bomb{"{% set ns = namespace(v=[]) %}{% for i in range(9999) %}{% set ns.v = [ns.v.copy] %}{% endfor "
             "%}",
             "max_depth"},
        Bomb{"{% set ns = namespace(v=[]) %}{% for i in range(9999) %}{% set ns.v = [ns.v]|map('list') %}{% "
             "endfor %}",
             "max_depth"}));

INSTANTIATE_TEST_SUITE_P(Output, BombTest,
                         ::testing::Values(Bomb{
                             "{% set s = 'x' * 1000000 %}{% for i in range(100) %}{{ s }}{% endfor %}",
                             "max_output_bytes"}));

INSTANTIATE_TEST_SUITE_P(Range, BombTest,
                         ::testing::Values(Bomb{"{{ range(10**9) }}", "MAX_RANGE"},
                                           Bomb{"{{ range(0 - 10**30, 10**30) }}", "MAX_RANGE"}));

TEST(TemplateLimitsTest, BoundsTheSource) {
  EXPECT_THAT(ChatTemplate::Parse(std::string(2 << 20, ' ')),
              StatusIs(kInvalid, HasSubstr("max_source_bytes")));
}

TEST(TemplateLimitsTest, BoundsTheNestingOfVariables) {
  Json deep = Json::array();
  for (int i = 0; i < 10000; ++i) {
    Json outer = Json::array();
    outer.push_back(std::move(deep));
    deep = std::move(outer);
  }
  EXPECT_THAT(Render("{{ messages }}", {{"messages", std::move(deep)}}),
              StatusIs(kInvalid, HasSubstr("max_depth")));
}

TEST(TemplateLimitsTest, BoundsTheSizeOfVariables) {
  EXPECT_THAT(Render("{{ messages }}", {{"messages", std::string(1000, 'x')}}, {.max_allocated_bytes = 500}),
              StatusIs(kInvalid, HasSubstr("max_allocated_bytes = 500")));
}

TEST(TemplateLimitsTest, LoopsOverKeptLoopsMakeNoChain) {
  EXPECT_OK(Render(
      "{% set ns = namespace(l=0) %}{% for i in range(50000) %}{% for j in [ns.l] %}{% set ns.l = loop %}"
      "{% endfor %}{% endfor %}{{ ns.l.index }}"));
}

TEST(TemplateLimitsTest, ANamespaceMayHoldItself) {
  EXPECT_OK(Render("{% set ns = namespace(v=1) %}{% set ns.v = [ns] %}{{ ns }}{{ ns.v }}{{ ns.v == [ns] }}"));
  EXPECT_OK(Render("{% set ns = namespace(v=1) %}{% set ns.v = ns %}{{ ns.v.v.v }}{{ ns.v == ns }}"));
}

// What honest templates do with long conversations stays far from the limits.
TEST(TemplateLimitsTest, BuildingALongTextInALoopIsLinear) {
  const std::string source =
      "{% set ns = namespace(s='') %}{% for m in messages %}{% set ns.s = ns.s + '<|' + m + '|>' %}"
      "{% if ns.s.endswith('!') %}{% endif %}{% endfor %}{{ ns.s }}";
  Json messages = Json::array();
  for (int i = 0; i < 5000; ++i) messages.push_back(std::string(1000, 'x'));
  EXPECT_OK(Render(source, {{"messages", messages}}));
}

TEST(TemplateLimitsTest, LongSumsAreNotDeep) {
  EXPECT_OK(Render("{{ 1" + Repeat(" + 1", 20000) + " }}{{ 'a'" + Repeat(" ~ 'a'", 20000) + " }}{{ 1" +
                   Repeat(" and 1", 20000) + " }}"));
  EXPECT_OK(Render("{% if 0 %}" + Repeat("{% elif 0 %}", 20000) + "{% endif %}"));
}

}  // namespace
}  // namespace ropeway
