#include "engine/text/template_variables.h"

#include <string>

#include "engine/text/chat_template.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string Rendered(const std::string& source, const std::string& variables) {
  const auto json = ParseTemplateVariables(variables);
  if (!json.ok()) return json.status().ToString();
  const auto chat_template = ChatTemplate::Parse(source);
  if (!chat_template.ok()) return chat_template.status().ToString();
  const auto segments = chat_template->Render(*json, absl::CivilSecond());
  return segments.ok() ? JoinSegments(*segments) : segments.status().ToString();
}

TEST(TemplateVariablesTest, KeepOrderKindsAndSizesOfNumbers) {
  EXPECT_EQ(
      Rendered("{{ d|tojson }}",
               R"({"d": {"z": 1, "a": [1.0, -0.0, 1e5, 100000000000000000000, -18446744073709551616]}})"),
      R"({"z": 1, "a": [1.0, -0.0, 100000.0, 100000000000000000000, -18446744073709551616]})");
}

TEST(TemplateVariablesTest, TheLastOfTwoEqualKeysCounts) {
  ASSERT_OK_AND_ASSIGN(const auto json, ParseTemplateVariables(R"({"a": 1, "b": 2, "a": {"c": 3}})"));
  EXPECT_EQ(json.dump(), R"({"a":{"c":3},"b":2})");
}

TEST(TemplateVariablesTest, ManyKeysTakeLinearTime) {
  std::string text = "{\"d\": {";
  for (int i = 0; i < 100000; ++i) text += (i > 0 ? ", \"k" : "\"k") + std::to_string(i) + "\": 1";
  EXPECT_EQ(Rendered("{{ d|length }}{{ d['k77777'] }}", text + "}}"), "1000001");
}

TEST(TemplateVariablesTest, RefusesWhatIsNotJson) {
  EXPECT_THAT(ParseTemplateVariables("{\"a\": }"), StatusIs(kInvalid, HasSubstr("at byte")));
  EXPECT_THAT(ParseTemplateVariables("{} {}"), StatusIs(kInvalid, HasSubstr("at byte")));
  EXPECT_THAT(ParseTemplateVariables(""), StatusIs(kInvalid, HasSubstr("at byte")));
  EXPECT_THAT(ParseTemplateVariables("\"\xFF\""), StatusIs(kInvalid, HasSubstr("at byte")));
  EXPECT_THAT(ParseTemplateVariables(std::string(100000, '[')),
              StatusIs(kInvalid, HasSubstr("max_depth = 200")));
}

}  // namespace
}  // namespace ropeway
