// Renderings against those of Jinja2: one-liners that each pin a point of the language, and real templates
// with the conversations of tests/golden/jinja/conversations.json.gz.
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "engine/model/gguf_file.h"
#include "engine/text/chat_template.h"
#include "engine/text/template_variables.h"
#include "gtest/gtest.h"
#include "tests/testing/gzip_file.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using Json = nlohmann::ordered_json;

const absl::CivilSecond kNow(2026, 1, 2, 3, 4, 5);

absl::StatusOr<Json> ReadGolden(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, testing::ReadGzipFile(path));
  return ParseTemplateVariables(text);
}

absl::StatusOr<std::string> Render(const ChatTemplate& chat_template, const Json& variables) {
  ASSIGN_OR_RETURN(const std::vector<TextSegment> segments, chat_template.Render(variables, kNow));
  return JoinSegments(segments);
}

absl::StatusOr<std::string> RenderSource(const std::string& source, const Json& variables) {
  ASSIGN_OR_RETURN(const ChatTemplate chat_template, ChatTemplate::Parse(source));
  return Render(chat_template, variables);
}

// A text, or {"error", "kind"}: what a template raises comes with its message, of other failures only the
// fact counts.
void ExpectGolden(const absl::StatusOr<std::string>& actual, const Json& golden) {
  if (golden.is_string()) {
    ASSERT_OK(actual);
    EXPECT_EQ(*actual, golden.get<std::string>());
    return;
  }
  EXPECT_EQ(actual.status().code(), absl::StatusCode::kInvalidArgument)
      << "expected the failure " << golden["error"];
  if (golden["kind"] == "TemplateError") {
    EXPECT_EQ(actual.status().message(), golden["error"].get<std::string>());
  }
}

TEST(ChatTemplateGoldenTest, SnippetsRenderAsInJinja) {
  ASSERT_OK_AND_ASSIGN(const Json snippets, ReadGolden("tests/golden/jinja/snippets.json.gz"));
  EXPECT_EQ(snippets.size(), 179u);
  for (const Json& snippet : snippets) {
    const std::string source = snippet["t"].get<std::string>();
    SCOPED_TRACE(source);
    const absl::StatusOr<std::string> actual = RenderSource(source, snippet["v"]);
    // Beyond what published templates use, a filter may be missing, but then says so.
    if (!snippet["core"].get<bool>() && absl::StrContains(actual.status().message(), "No filter named"))
      continue;
    ExpectGolden(actual, snippet.contains("r") ? snippet["r"] : snippet);
  }
}

Json VariablesOf(const Json& conversation, const Json& tokens) {
  Json variables = {{"tools", nullptr}, {"documents", nullptr}, {"add_generation_prompt", false}};
  variables.update(tokens);
  variables.update(conversation["input"]);
  return variables;
}

// "command-r-tool_use" is the template "tool_use" of the vocabulary command-r.
absl::StatusOr<std::string> ReadModelTemplate(absl::string_view name) {
  std::string key = "tokenizer.chat_template";
  for (const absl::string_view variant : {"rag", "tool_use"})
    if (absl::ConsumeSuffix(&name, absl::StrCat("-", variant))) absl::StrAppend(&key, ".", variant);
  const std::string path = name == "smollm2-135m"
                               ? "models/SmolLM2-135M-Instruct.Q4_1.gguf"
                               : absl::StrCat("models/vocabularies/ggml-vocab-", name, ".gguf");
  ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  return file.content.metadata.GetString(key);
}

absl::StatusOr<std::string> ReadTemplate(absl::string_view name) {
  if (absl::ConsumePrefix(&name, "gguf-")) return ReadModelTemplate(name);
  const std::string path = absl::StrCat("models/templates/", name, ".jinja");
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return absl::NotFoundError(absl::StrCat(path, " is missing: tests/golden/fetch_vocabularies.sh"));
  return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

class PublishedTemplateTest : public ::testing::TestWithParam<std::string> {};

TEST_P(PublishedTemplateTest, RendersAllConversationsExactly) {
  const absl::StatusOr<std::string> source = ReadTemplate(GetParam());
  if (!source.ok() && std::getenv("ROPEWAY_WITHOUT_MODELS") != nullptr) GTEST_SKIP() << source.status();
  ASSERT_OK(source);
  ASSERT_OK_AND_ASSIGN(const ChatTemplate chat_template, ChatTemplate::Parse(*source));
  ASSERT_OK_AND_ASSIGN(const Json matrix, ReadGolden("tests/golden/jinja/conversations.json.gz"));
  ASSERT_OK_AND_ASSIGN(const Json golden, ReadGolden("tests/golden/templates/" + GetParam() + ".json.gz"));
  for (const Json& conversation : matrix["cases"]) {
    const std::string name = conversation["name"].get<std::string>();
    SCOPED_TRACE(name);
    ExpectGolden(Render(chat_template, VariablesOf(conversation, matrix["tokens"])), golden["cases"][name]);
  }
}

std::vector<std::string> TemplateNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden/templates")) {
    const std::string file = entry.path().filename().string();
    names.push_back(file.substr(0, file.find(".json.gz")));
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string TestName(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, PublishedTemplateTest, ::testing::ValuesIn(TemplateNames()), TestName);

}  // namespace
}  // namespace ropeway
