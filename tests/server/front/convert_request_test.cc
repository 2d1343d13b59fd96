#include "server/front/convert_request.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/front/convert_prompt.h"
#include "tests/server/front/test_model.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::server::testing::MakeTestModel;
using ::ropeway::testing::ByteTokenizer;
using ::ropeway::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr int32_t kContext = 100;
constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

using Change = std::function<void(v1::GenerateRequest&)>;

class ConvertRequestTest : public ::testing::Test {
 protected:
  absl::StatusOr<GenerationPlan> Convert(const v1::GenerateRequest& message) {
    return ConvertGenerateRequest(
        message,
        {.model = model_, .limits = limits_, .now = absl::CivilSecond(2025, 1, 2), .fresh_seed = 42});
  }

  static v1::GenerateRequest TextRequest(const std::string& text = "hello") {
    v1::GenerateRequest message;
    message.mutable_text()->set_text(text);
    return message;
  }

  static v1::GenerateRequest ChatRequest(const std::string& role = "user", const std::string& text = "hi") {
    v1::GenerateRequest message;
    v1::ChatMessage& turn = *message.mutable_chat()->add_messages();
    turn.set_role(role);
    turn.set_text(text);
    return message;
  }

  std::string Rendered(const v1::GenerateRequest& message) {
    const auto segments = RenderChat(message.chat(), model_, limits_, absl::CivilSecond());
    return segments.ok() ? JoinSegments(*segments) : segments.status().ToString();
  }

  // Every change to a valid request leads to its message.
  void ExpectRefusals(const v1::GenerateRequest& valid,
                      const std::vector<std::pair<Change, std::string>>& cases) {
    for (const auto& [change, message] : cases) {
      v1::GenerateRequest request = valid;
      change(request);
      EXPECT_THAT(Convert(request), StatusIs(kInvalid, message));
    }
  }

  ServedModel model_ = MakeTestModel();
  RequestLimits limits_ = {.max_prompt_bytes = 1000, .max_model_len = kContext};
};

TEST_F(ConvertRequestTest, DefaultsAreThoseOfTheContract) {
  ASSERT_OK_AND_ASSIGN(const GenerationPlan plan, Convert(TextRequest("ab")));
  EXPECT_THAT(plan.request.prompt, ElementsAre(ByteTokenizer::kBos, 'a', 'b'));
  EXPECT_EQ(plan.request.max_tokens, kContext - 3);
  EXPECT_EQ(plan.request.num_samples, 1);
  EXPECT_EQ(plan.request.prompt_logprobs, -1);
  EXPECT_THAT(plan.request.stop_token_ids, ElementsAre(ByteTokenizer::kEos, ByteTokenizer::kTurnEnd));
  EXPECT_EQ(plan.request.sampling.temperature, 1);
  EXPECT_EQ(plan.request.sampling.top_p, 1);
  EXPECT_EQ(plan.request.sampling.repetition_penalty, 1);
  EXPECT_EQ(plan.request.sampling.num_logprobs, -1);
  EXPECT_EQ(plan.request.sampling.seed, 42);
  EXPECT_THAT(plan.request.stop_strings, IsEmpty());
  EXPECT_FALSE(plan.echo);
  EXPECT_EQ(plan.max_cost_tokens(), kContext);
}

TEST_F(ConvertRequestTest, TheModelsOwnDefaultsCountWhereTheRequestSaysNothing) {
  model_.sampling_defaults = {
      .temperature = 0.6f, .top_k = 20, .top_p = 0.95f, .min_p = 0.1f, .repetition_penalty = 1.1f};
  v1::GenerateRequest message = TextRequest();
  ASSERT_OK_AND_ASSIGN(const GenerationPlan silent, Convert(message));
  EXPECT_EQ(silent.request.sampling.temperature, 0.6f);
  EXPECT_EQ(silent.request.sampling.top_k, 20);
  EXPECT_EQ(silent.request.sampling.top_p, 0.95f);
  EXPECT_EQ(silent.request.sampling.min_p, 0.1f);
  EXPECT_EQ(silent.request.sampling.repetition_penalty, 1.1f);
  message.mutable_sampling()->set_temperature(1);
  message.mutable_sampling()->set_top_k(0);
  message.mutable_sampling()->set_min_p(0);
  ASSERT_OK_AND_ASSIGN(const GenerationPlan said, Convert(message));
  EXPECT_EQ(said.request.sampling.temperature, 1);
  EXPECT_EQ(said.request.sampling.top_k, 0);
  EXPECT_EQ(said.request.sampling.min_p, 0);
  EXPECT_EQ(said.request.sampling.top_p, 0.95f);
}

TEST_F(ConvertRequestTest, ZeroIsAValueWhereItMeansSomething) {
  v1::GenerateRequest message = TextRequest();
  message.mutable_sampling()->set_temperature(0);
  message.mutable_sampling()->set_seed(0);
  message.mutable_output()->set_logprobs(0);
  message.mutable_output()->set_prompt_logprobs(0);
  message.mutable_text()->set_add_special(false);
  ASSERT_OK_AND_ASSIGN(const GenerationPlan plan, Convert(message));
  EXPECT_EQ(plan.request.sampling.temperature, 0);
  EXPECT_EQ(plan.request.sampling.seed, 0);
  EXPECT_EQ(plan.request.sampling.num_logprobs, 0);
  EXPECT_EQ(plan.request.prompt_logprobs, 0);
  EXPECT_EQ(plan.request.prompt.front(), 'h');
}

TEST_F(ConvertRequestTest, ValuesJustOutsideOfARangeAreToldAsTheyWereGiven) {
  const auto after = [](float bound) { return std::nextafter(bound, 1000.f); };
  const auto before = [](float bound) { return std::nextafter(bound, -1000.f); };
  const auto set = [](void (v1::Sampling::*field)(float), float value) -> Change {
    return [field, value](v1::GenerateRequest& request) { (request.mutable_sampling()->*field)(value); };
  };
  using S = v1::Sampling;
  ExpectRefusals(
      TextRequest(),
      {{set(&S::set_top_p, after(1)), "sampling.top_p must be in (0, 1], is 1.0000001"},
       {set(&S::set_top_p, 0), "sampling.top_p must be in (0, 1], is 0"},
       {set(&S::set_temperature, after(100)), "sampling.temperature must be in [0, 100], is 100.00001"},
       {set(&S::set_temperature, before(0)), "sampling.temperature must be in [0, 100], is -1e-45"},
       {set(&S::set_min_p, before(0)), "sampling.min_p must be in [0, 1), is -1e-45"},
       {set(&S::set_repetition_penalty, after(100)),
        "sampling.repetition_penalty must be in (0, 100], is 100.00001"},
       {set(&S::set_presence_penalty, before(-2)),
        "sampling.presence_penalty must be in [-2, 2], is -2.0000002"},
       {set(&S::set_frequency_penalty, after(2)),
        "sampling.frequency_penalty must be in [-2, 2], is 2.0000002"},
       {[&](v1::GenerateRequest& request) {
          (*request.mutable_sampling()->mutable_logit_bias())[7] = after(100);
        },
        "sampling.logit_bias[7] must be in [-100, 100], is 100.00001"}});
}

TEST_F(ConvertRequestTest, CarriesEveryField) {
  v1::GenerateRequest message;
  message.set_request_id("mine");
  message.set_model("bytes");
  message.set_tenant("team");
  message.set_priority(-3);
  for (const int id : {1, 2, 259}) message.mutable_tokens()->add_ids(id);
  v1::Sampling& sampling = *message.mutable_sampling();
  sampling.set_top_k(5);
  sampling.set_min_p(0.5f);
  sampling.set_presence_penalty(-2);
  sampling.set_frequency_penalty(2);
  (*sampling.mutable_logit_bias())[9] = -100;
  (*sampling.mutable_logit_bias())[3] = 1.5f;
  v1::Stopping& stopping = *message.mutable_stopping();
  stopping.set_max_tokens(7);
  stopping.set_min_tokens(7);
  stopping.add_strings("END");
  for (const int id : {65, 10, 65}) stopping.add_token_ids(id);
  stopping.set_ignore_eos(true);
  message.mutable_output()->set_num_samples(4);
  message.mutable_output()->set_echo(true);
  ASSERT_OK_AND_ASSIGN(const GenerationPlan plan, Convert(message));
  EXPECT_EQ(plan.name, "mine");
  EXPECT_EQ(plan.request.tenant, "team");
  EXPECT_EQ(plan.request.priority, -3);
  EXPECT_THAT(plan.request.prompt, ElementsAre(1, 2, 259));
  EXPECT_EQ(plan.request.sampling.top_k, 5);
  EXPECT_EQ(plan.request.sampling.min_p, 0.5f);
  EXPECT_THAT(plan.request.sampling.logit_bias, ElementsAre(Pair(3, 1.5f), Pair(9, -100)));
  EXPECT_EQ(plan.request.max_tokens, 7);
  EXPECT_EQ(plan.request.min_tokens, 7);
  EXPECT_THAT(plan.request.stop_token_ids, ElementsAre(10, 65)) << "the model's own end tokens are ignored";
  EXPECT_THAT(plan.request.stop_strings, ElementsAre("END"));
  EXPECT_EQ(plan.request.num_samples, 4);
  EXPECT_TRUE(plan.echo);
  EXPECT_EQ(plan.max_cost_tokens(), 3 + 4 * 7);
}

TEST_F(ConvertRequestTest, SamplingOutOfRangeNamesFieldBoundAndValue) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const auto with = [](auto set) { return [set](v1::GenerateRequest& m) { set(*m.mutable_sampling()); }; };
  ExpectRefusals(
      TextRequest(),
      {{with([](auto& s) { s.set_temperature(-1); }), "sampling.temperature must be in [0, 100], is -1"},
       {with([](auto& s) { s.set_temperature(kNan); }), "sampling.temperature must be in [0, 100], is nan"},
       {with([](auto& s) { s.set_temperature(INFINITY); }),
        "sampling.temperature must be in [0, 100], is inf"},
       {with([](auto& s) { s.set_top_k(-1); }), "sampling.top_k must be in [0, 2147483647], is -1"},
       {with([](auto& s) { s.set_top_p(0); }), "sampling.top_p must be in (0, 1], is 0"},
       {with([](auto& s) { s.set_top_p(1.5); }), "sampling.top_p must be in (0, 1], is 1.5"},
       {with([](auto& s) { s.set_min_p(1); }), "sampling.min_p must be in [0, 1), is 1"},
       {with([](auto& s) { s.set_min_p(kNan); }), "sampling.min_p must be in [0, 1), is nan"},
       {with([](auto& s) { s.set_repetition_penalty(0); }),
        "sampling.repetition_penalty must be in (0, 100], is 0"},
       {with([](auto& s) { s.set_presence_penalty(3); }),
        "sampling.presence_penalty must be in [-2, 2], is 3"},
       {with([](auto& s) { s.set_frequency_penalty(-3); }),
        "sampling.frequency_penalty must be in [-2, 2], is -3"},
       {with([](auto& s) { (*s.mutable_logit_bias())[260] = 1; }),
        "sampling.logit_bias key must be in [0, 260), is 260"},
       {with([](auto& s) { (*s.mutable_logit_bias())[-1] = 1; }),
        "sampling.logit_bias key must be in [0, 260), is -1"},
       {with([](auto& s) { (*s.mutable_logit_bias())[7] = 101; }),
        "sampling.logit_bias[7] must be in [-100, 100], is 101"}});
}

TEST_F(ConvertRequestTest, StoppingOutOfRangeNamesFieldBoundAndValue) {
  const auto with = [](auto set) { return [set](v1::GenerateRequest& m) { set(*m.mutable_stopping()); }; };
  ExpectRefusals(
      TextRequest(),
      {{with([](auto& s) { s.set_max_tokens(0); }),
        "stopping.max_tokens must be in [1, 94] (100 less 6 of the prompt), is 0"},
       {with([](auto& s) { s.set_max_tokens(95); }),
        "stopping.max_tokens must be in [1, 94] (100 less 6 of the prompt), is 95"},
       {with([](auto& s) { s.set_min_tokens(-1); }), "stopping.min_tokens must be in [0, 94], is -1"},
       {with([](auto& s) {
          s.set_max_tokens(5);
          s.set_min_tokens(6);
        }),
        "stopping.min_tokens must be in [0, 5], is 6"},
       {with([](auto& s) { s.add_strings(""); }), "stopping.strings[0] must have [1, 256] bytes, has 0"},
       {with([](auto& s) {
          s.add_strings("a");
          s.add_strings(std::string(257, 'x'));
        }),
        "stopping.strings[1] must have [1, 256] bytes, has 257"},
       {with([](auto& s) {
          for (int i = 0; i < 17; ++i) s.add_strings("a");
        }),
        "stopping.strings must have at most 16 entries, has 17"},
       {with([](auto& s) { s.add_token_ids(260); }), "stopping.token_ids[0] must be in [0, 260), is 260"},
       {with([](auto& s) {
          for (int i = 0; i < 65; ++i) s.add_token_ids(1);
        }),
        "stopping.token_ids must have at most 64 entries, has 65"}});
}

TEST_F(ConvertRequestTest, OtherFieldsOutOfRangeNameFieldBoundAndValue) {
  ExpectRefusals(
      TextRequest(),
      {{[](auto& m) { m.mutable_output()->set_num_samples(0); },
        "output.num_samples must be in [1, 16], is 0"},
       {[](auto& m) { m.mutable_output()->set_num_samples(17); },
        "output.num_samples must be in [1, 16], is 17"},
       {[](auto& m) { m.mutable_output()->set_logprobs(21); }, "output.logprobs must be in [0, 20], is 21"},
       {[](auto& m) { m.mutable_output()->set_prompt_logprobs(-1); },
        "output.prompt_logprobs must be in [0, 20], is -1"},
       {[](auto& m) { m.set_priority(101); }, "priority must be in [-100, 100], is 101"},
       {[](auto& m) { m.set_tenant(std::string(65, 't')); }, "tenant must be at most 64 bytes, is 65"},
       {[](auto& m) { m.set_tenant("a\nb"); }, "tenant must be printable ASCII, is \"a\\nb\""},
       {[](auto& m) { m.set_request_id(std::string(129, 'r')); },
        "request_id must be at most 128 bytes, is 129"}});
}

TEST_F(ConvertRequestTest, RefusesBadPrompts) {
  EXPECT_THAT(Convert({}), StatusIs(kInvalid, "one of text, tokens and chat must be set, none is"));
  EXPECT_THAT(Convert(TextRequest("")), StatusIs(kInvalid, "text.text must not be empty"));
  EXPECT_THAT(Convert(TextRequest(std::string(1001, 'a'))),
              StatusIs(kInvalid, "text.text must be at most 1000 bytes, is 1001"));
  EXPECT_THAT(Convert(TextRequest(std::string(99, 'a'))),
              StatusIs(kInvalid, "the prompt must be at most 99 tokens, has 100"));
  EXPECT_OK(Convert(TextRequest(std::string(98, 'a'))));
  v1::GenerateRequest tokens;
  tokens.mutable_tokens();
  EXPECT_THAT(Convert(tokens), StatusIs(kInvalid, "tokens.ids must not be empty"));
  for (const int32_t id : {-1, 260}) {
    tokens.mutable_tokens()->clear_ids();
    tokens.mutable_tokens()->add_ids(0);
    tokens.mutable_tokens()->add_ids(id);
    EXPECT_THAT(Convert(tokens),
                StatusIs(kInvalid, absl::StrCat("tokens.ids[1] must be in [0, 260), is ", id)));
  }
}

TEST_F(ConvertRequestTest, AnotherModelIsNotFound) {
  v1::GenerateRequest message = TextRequest();
  message.set_model("other");
  EXPECT_THAT(Convert(message),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"other\" is not served here; \"bytes\" is")));
}

TEST_F(ConvertRequestTest, ControlTokensInAMessageStayText) {
  ASSERT_OK_AND_ASSIGN(const GenerationPlan plan, Convert(ChatRequest("user", "<|im_end|>")));
  const std::vector<TokenId>& prompt = plan.request.prompt;
  EXPECT_EQ(std::count(prompt.begin(), prompt.end(), ByteTokenizer::kTurnEnd), 1);
  EXPECT_EQ(std::count(prompt.begin(), prompt.end(), ByteTokenizer::kTurnStart), 2);
}

TEST_F(ConvertRequestTest, ControlTokensInATextAreReadOnlyWhenAskedFor) {
  v1::GenerateRequest message = TextRequest("<|im_end|>");
  message.mutable_text()->set_add_special(false);
  ASSERT_OK_AND_ASSIGN(const GenerationPlan plain, Convert(message));
  EXPECT_EQ(plain.request.prompt.size(), 10);
  message.mutable_text()->set_parse_special(true);
  ASSERT_OK_AND_ASSIGN(const GenerationPlan special, Convert(message));
  EXPECT_THAT(special.request.prompt, ElementsAre(ByteTokenizer::kTurnEnd));
}

TEST_F(ConvertRequestTest, TheTemplateSeesToolsArgumentsAndParts) {
  v1::GenerateRequest message = ChatRequest("user", "hi");
  v1::ChatMessage& turn = *message.mutable_chat()->add_messages();
  turn.set_role("assistant");
  turn.mutable_parts()->add_parts()->set_text("one");
  turn.mutable_parts()->add_parts()->set_text("two");
  message.mutable_chat()->set_tools_json(R"([{"z": 1, "a": 2.0}])");
  message.mutable_chat()->set_template_arguments_json(R"({"style": 7})");
  message.mutable_chat()->set_add_generation_prompt(false);
  EXPECT_EQ(Rendered(message),
            "<tools>[{\"z\": 1, \"a\": 2.0}]<|im_start|>user\nhi<|im_end|>"
            "<|im_start|>assistant\n[one][two]<|im_end|>style=7")
      << "the order of keys and the kinds of numbers stay";
}

TEST_F(ConvertRequestTest, ATemplateIsChosenByName) {
  v1::GenerateRequest message = ChatRequest("user", "hi");
  message.mutable_chat()->set_template_name("other");
  EXPECT_EQ(Rendered(message), "otherhi");
}

TEST_F(ConvertRequestTest, TheLastMessageIsContinued) {
  v1::GenerateRequest message = ChatRequest("user", "hi");
  v1::ChatMessage& turn = *message.mutable_chat()->add_messages();
  turn.set_role("assistant");
  turn.set_text("Once upon ");
  message.mutable_chat()->set_continue_final_message(true);
  EXPECT_EQ(Rendered(message), "<|im_start|>user\nhi<|im_end|><|im_start|>assistant\nOnce upon ");
  const auto with = [](auto set) { return [set](v1::GenerateRequest& m) { set(*m.mutable_chat()); }; };
  const std::string refused = "chat.continue_final_message must not be set: ";
  ExpectRefusals(
      message, {{with([](auto& c) { c.set_add_generation_prompt(true); }),
                 refused + "add_generation_prompt is set, too"},
                {with([](auto& c) { c.mutable_messages()->RemoveLast(); }),
                 refused + "the last message is not the assistant's"},
                {with([](auto& c) { c.mutable_messages(1)->set_tool_calls_json("[]"); }),
                 refused + "the last message calls tools"},
                {with([](auto& c) { c.mutable_messages(1)->clear_text(); }),
                 refused + "the last message has no content"},
                {with([](auto& c) { c.set_template_name("other"); }),
                 "chat: the last message cannot be continued: the chat template does not show the end of its "
                 "text as it is"},
                {with([](auto& c) { c.set_template_arguments_json(R"({"continue_final_message": true})"); }),
                 "chat.template_arguments_json must not set \"continue_final_message\""}});
}

TEST_F(ConvertRequestTest, RefusesBadChats) {
  const auto with = [](auto set) { return [set](v1::GenerateRequest& m) { set(*m.mutable_chat()); }; };
  ExpectRefusals(
      ChatRequest(),
      {{with([](auto& c) { c.clear_messages(); }), "chat.messages must not be empty"},
       {with([](auto& c) { c.mutable_messages(0)->set_role("wizard\n"); }),
        "chat.messages[0].role must be one of system, developer, user, assistant, tool; is \"wizard\\n\""},
       {with([](auto& c) { c.mutable_messages(0)->mutable_parts(); }),
        "chat.messages[0].parts must not be empty"},
       {with([](auto& c) { c.mutable_messages(0)->mutable_parts()->add_parts(); }),
        "chat.messages[0].parts[0] must set one kind of content, sets none"},
       {with([](auto& c) { c.mutable_messages(0)->set_tool_calls_json("{}"); }),
        "chat.messages[0].tool_calls_json must be an array in JSON, is of type object"},
       {with([](auto& c) { c.set_tools_json("[1, 2"); }), "chat.tools_json: not valid JSON at byte 6"},
       {with([](auto& c) { c.set_tools_json("3"); }),
        "chat.tools_json must be an array in JSON, is of type number"},
       {with([](auto& c) { c.set_tools_json(std::string(65, '[') + std::string(65, ']')); }),
        "chat.tools_json must nest at most 64 deep, nests 65"},
       {with([](auto& c) { c.set_template_arguments_json("[]"); }),
        "chat.template_arguments_json must be an object in JSON, is of type array"},
       {with([](auto& c) { c.set_template_arguments_json(R"({"messages": []})"); }),
        "chat.template_arguments_json must not set \"messages\""},
       {with([](auto& c) { c.set_template_name("nope\n"); }),
        "chat: the model has no chat template \"nope\\x0a\"; it has default, other"},
       {with([](auto& c) { c.mutable_messages(0)->set_text(std::string(1000, 'x')); }),
        "chat, rendered, must be at most 1000 bytes, is 1049"}});
  EXPECT_THAT(Convert(ChatRequest("user", "raise")),
              StatusIs(kInvalid, HasSubstr("refused by the template")));
}

TEST_F(ConvertRequestTest, ManyTemplateArgumentsTakeNoQuadraticTimeAndLargeIntegersStayExact) {
  constexpr int kArguments = 300'000;
  v1::GenerateRequest message = ChatRequest();
  std::string arguments = "{";
  for (int i = 0; i < kArguments; ++i) absl::StrAppend(&arguments, "\"argument", i, "\":0,");
  message.mutable_chat()->set_template_arguments_json(arguments + "\"style\":100000000000000000000}");
  const absl::Time begin = absl::Now();
  const auto segments = RenderChat(message.chat(), model_, limits_, {});
  EXPECT_LT(absl::Now() - begin, absl::Seconds(30)) << "looking each key up in a list takes minutes";
  ASSERT_OK(segments);
  EXPECT_THAT(JoinSegments(*segments), HasSubstr("style=100000000000000000000"));
}

TEST_F(ConvertRequestTest, AModelWithoutTemplateTakesNoChat) {
  model_ = MakeTestModel(/*with_template=*/false);
  EXPECT_THAT(Convert(ChatRequest()), StatusIs(kInvalid, HasSubstr("no chat template")));
}

TEST_F(ConvertRequestTest, TokensAreDecodedWithOrWithoutControlTokens) {
  const std::vector<TokenId> ids = {ByteTokenizer::kBos, 'h', 0xC3, 0xA4, 0xFF, ByteTokenizer::kEos};
  EXPECT_EQ(DecodeTokens(ids, *model_.tokenizer, false), "hä\uFFFD");
  EXPECT_EQ(DecodeTokens(ids, *model_.tokenizer, true), "<bos>hä\uFFFD<eos>");
}

}  // namespace
}  // namespace ropeway::server
