// Conversations over the wire: tools, template arguments and every field of a message reach the template, and
// what it writes is the prompt that is generated from. The real model is served with the template of a model
// that calls tools and whose control tokens it shares.
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/ropeway_client.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "tests/integration/model_server.h"
#include "tests/testing/gzip_file.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kTemplateName[] = "Qwen-Qwen3-0.6B";
const std::set<std::string> kRoles = {"system", "developer", "user", "assistant", "tool"};

absl::StatusOr<std::string> ReadTemplate() {
  std::ifstream file(absl::StrCat("models/templates/", kTemplateName, ".jinja"), std::ios::binary);
  if (!file) return absl::NotFoundError("no template: tests/golden/fetch_vocabularies.sh fetches it");
  return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

absl::StatusOr<server::ModelBundle> LoadWithTemplate(const server::Config& config,
                                                     const LoadProgress& progress) {
  ASSIGN_OR_RETURN(server::ModelBundle bundle, server::LoadModel(config, progress));
  ASSIGN_OR_RETURN(std::string source, ReadTemplate());
  bundle.served.chat_templates = ChatTemplates({{"default", std::move(source)}});
  return bundle;
}

class ServiceChatTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { served_ = new ModelServer(SmallConfig(), LoadWithTemplate); }
  static void TearDownTestSuite() { delete std::exchange(served_, nullptr); }
  ServiceChatTest() : client_(client::Client::Create({.server = served_->address()})) {}

  static ModelServer* served_;
  const std::unique_ptr<client::Client> client_;
};

ModelServer* ServiceChatTest::served_ = nullptr;

// The golden data has an integer that the test's own reading of JSON would take for a float.
constexpr char kBigInteger[] = "100000000000000000000";
constexpr char kInPlaceOfBig[] = "\"big integer\"";

std::string Dump(const Json& json) {
  return absl::StrReplaceAll(json.dump(), {{kInPlaceOfBig, kBigInteger}});
}

// Takes `key` out of `object` as a string, null as none; false where it is there as something else.
template <typename Text>
bool TakeString(Json& object, const char* key, Text& value) {
  if (!object.contains(key)) return true;
  if (object[key].is_null()) return object.erase(key) == 1;
  if (!object[key].is_string()) return false;
  value = object[key].get<std::string>();
  object.erase(key);
  return true;
}

void TakeJson(Json& object, const char* key, std::string& text) {
  if (!object.contains(key)) return;
  text = Dump(object[key]);
  object.erase(key);
}

// A turn as the client library has it; nothing where the wire has no field for some of it, or changes it:
// turns without content are held to tests/golden/jinja/served.json.gz.
std::optional<client::ChatMessage> MessageOf(Json turn) {
  if (!turn.contains("content") || turn["content"].is_null()) return std::nullopt;
  client::ChatMessage message;
  const bool taken = TakeString(turn, "role", message.role) && TakeString(turn, "content", message.text) &&
                     TakeString(turn, "name", message.name) &&
                     TakeString(turn, "tool_call_id", message.tool_call_id) &&
                     TakeString(turn, "reasoning_content", message.reasoning_content);
  TakeJson(turn, "tool_calls", message.tool_calls_json);
  if (!taken || !turn.empty()) return std::nullopt;
  return message;
}

std::optional<client::ChatPrompt> ChatOf(Json input) {
  client::ChatPrompt chat;
  for (const Json& turn : input["messages"]) {
    std::optional<client::ChatMessage> message = MessageOf(turn);
    if (!message || !kRoles.contains(message->role)) return std::nullopt;
    chat.messages.push_back(*std::move(message));
  }
  if (chat.messages.empty()) return std::nullopt;
  input.erase("messages");
  chat.add_generation_prompt = input.value("add_generation_prompt", false);
  input.erase("add_generation_prompt");
  TakeJson(input, "tools", chat.tools_json);
  if (!input.empty()) chat.template_arguments_json = Dump(input);
  return chat;
}

absl::StatusOr<Json> ReadConversations() {
  ASSIGN_OR_RETURN(const std::string text, ReadGzipFile("tests/golden/jinja/conversations.json.gz"));
  return Json::parse(absl::StrReplaceAll(text, {{kBigInteger, kInPlaceOfBig}}));
}

absl::StatusOr<Json> ReadRenderings() {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadGzipFile(absl::StrCat("tests/golden/templates/", kTemplateName, ".json.gz")));
  return Json::parse(text);
}

TEST_F(ServiceChatTest, EveryConversationIsRenderedAsByJinja) {
  ASSERT_OK_AND_ASSIGN(const Json matrix, ReadConversations());
  ASSERT_OK_AND_ASSIGN(const Json golden, ReadRenderings());
  int rendered = 0, with_tools = 0, with_arguments = 0;
  for (const Json& conversation : matrix["cases"]) {
    const std::string name = conversation["name"].get<std::string>();
    const std::optional<client::ChatPrompt> chat = ChatOf(conversation["input"]);
    const Json& expected = golden["cases"][name];
    if (!chat) continue;
    SCOPED_TRACE(name);
    const absl::StatusOr<std::string> actual = client_->RenderChat(*chat);
    if (expected.is_string()) {
      EXPECT_EQ(actual.value_or(actual.status().ToString()), expected.get<std::string>());
    } else {
      EXPECT_TRUE(absl::IsInvalidArgument(actual.status())) << actual.status();
    }
    ++rendered;
    with_tools += !chat->tools_json.empty();
    with_arguments += !chat->template_arguments_json.empty();
  }
  EXPECT_GT(rendered, 40);
  EXPECT_GT(with_tools, 10);
  EXPECT_GT(with_arguments, 3);
}

client::ChatPrompt Weather() {
  return {.messages = {{.role = "user", .text = "What is the weather in Paris?"}},
          .tools_json = R"([{"type": "function", "function": {"name": "get_weather"}}])",
          .template_arguments_json = R"({"enable_thinking": false})"};
}

TEST_F(ServiceChatTest, ToolsAndArgumentsAreInThePromptThatIsGeneratedFrom) {
  const client::ChatPrompt chat = Weather();
  ASSERT_OK_AND_ASSIGN(const std::string rendered, client_->RenderChat(chat));
  EXPECT_THAT(rendered, HasSubstr("\"get_weather\""));
  EXPECT_THAT(rendered, HasSubstr("<think>\n\n</think>"));
  const client::Answer answer = client_->Generate({.prompt = chat,
                                                   .sampling = {.temperature = 0},
                                                   .stopping = {.max_tokens = 4},
                                                   .output = {.echo = true}});
  ASSERT_OK(answer.status);
  EXPECT_EQ(answer.prompt.text, rendered);
  ASSERT_OK_AND_ASSIGN(const client::Tokens tokens, client_->Tokenize(chat));
  EXPECT_EQ(answer.prompt.token_ids, tokens.ids);

  client::ChatPrompt bare = chat;
  bare.tools_json = bare.template_arguments_json = "";
  ASSERT_OK_AND_ASSIGN(const std::string without, client_->RenderChat(bare));
  EXPECT_THAT(without, Not(HasSubstr("get_weather")));
  EXPECT_THAT(without, Not(HasSubstr("<think>")));
}

TEST_F(ServiceChatTest, BadToolsAndArgumentsAreRefusedByName) {
  const auto refusal = [&](client::ChatPrompt chat) {
    const client::Answer answer = client_->Generate({.prompt = chat});
    EXPECT_EQ(client_->RenderChat(chat).status(), answer.status);
    EXPECT_TRUE(absl::IsInvalidArgument(answer.status)) << answer.status;
    return std::string(answer.status.message());
  };
  client::ChatPrompt chat = Weather();
  chat.tools_json = "{}";
  EXPECT_THAT(refusal(chat), HasSubstr("chat.tools_json must be an array in JSON, is of type object"));
  chat.tools_json = "[1";
  EXPECT_THAT(refusal(chat), HasSubstr("chat.tools_json: not valid JSON at byte 3"));
  chat = Weather();
  chat.template_arguments_json = R"({"messages": []})";
  EXPECT_THAT(refusal(chat), HasSubstr("chat.template_arguments_json must not set \"messages\""));
}

}  // namespace
}  // namespace ropeway::testing
