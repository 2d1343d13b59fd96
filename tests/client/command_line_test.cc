#include "client/cli/command_line.h"

#include <fstream>
#include <sstream>

#include "absl/strings/str_split.h"
#include "client/cli/exit_code.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/command_line_fixture.h"

namespace ropeway::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(CommandLineTest, GenerateStreamsTheText) {
  const CommandResult result = Run({"generate", "--prompt", "hi"});
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(result.out, "Hello\n");
  EXPECT_THAT(result.err, IsEmpty());
}

TEST_F(CommandLineTest, GenerateJsonHasTheStableKeys) {
  const CommandResult result = Run({"generate", "--prompt", "hi", "--json"});
  EXPECT_EQ(result.code, kExitOk);
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["text"], "Hello");
  EXPECT_EQ(json["token_ids"], nlohmann::json({5, 6}));
  EXPECT_TRUE(json["prompt_token_ids"].is_array());
  EXPECT_EQ(json["finish_reason"], "stop");
  EXPECT_EQ(json["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(json["usage"]["completion_tokens"], 2);
  EXPECT_EQ(json["usage"]["total_tokens"], 5);
  EXPECT_EQ(json["receipt"]["seed"], 7);
  EXPECT_TRUE(json.contains("logprobs"));
  EXPECT_TRUE(json["logprobs"].is_null());  // not asked for
  EXPECT_FALSE(json.contains("error"));
  EXPECT_TRUE(requests_.at(0).output().echo());  // for prompt_token_ids
}

TEST_F(CommandLineTest, EchoPrintsThePromptBeforeItsAnswer) {
  server_.generate = [](grpc::ServerContext&, const v1::GenerateRequest& request,
                        FakeServer::Writer& writer) {
    v1::GenerateChunk first = Chunk(" there", 5);
    if (request.output().echo()) first.mutable_prompt()->set_text("<s>hi");
    writer.Write(first);
    writer.Write(Last(Chunk("!", 6), v1::FINISH_REASON_STOP));
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"generate", "--prompt", "hi"}).out, " there!\n");
  EXPECT_EQ(Run({"generate", "--prompt", "hi", "--echo"}).out, "<s>hi there!\n");
}

TEST_F(CommandLineTest, BytesThatAreNotUtf8DoNotBreakTheJson) {
  server_.generate = [](grpc::ServerContext&, const v1::GenerateRequest&, FakeServer::Writer& writer) {
    v1::GenerateChunk chunk = Chunk("x", 1);
    chunk.add_logprobs()->mutable_chosen()->set_token("\xf0\x9f");
    writer.Write(chunk);
    return grpc::Status::OK;
  };
  const auto json =
      nlohmann::json::parse(Run({"generate", "--prompt", "hi", "--json", "--logprobs", "0"}).out);
  EXPECT_EQ(json["logprobs"][0]["bytes"], nlohmann::json({0xf0, 0x9f}));
}

TEST_F(CommandLineTest, EveryFlagReachesTheRequest) {
  std::vector<std::string> arguments = absl::StrSplit(
      "generate --token_ids 1,2,3 --max_tokens 9 --min_tokens 1 --stop c --stop_token_ids 4,5 --ignore_eos "
      "--include_stop_string --temperature 0 --top_k 3 --top_p 0.5 --min_p 0.25 --seed 18446744073709551615 "
      "--logit_bias 7:-2.5,8:1 --logit_bias 9:2 --presence_penalty -0.5 --frequency_penalty 0.5 "
      "--repetition_penalty 1.5 --logprobs 2 --prompt_logprobs 1 --num_samples 2 --echo --tenant t "
      "--priority -2 --request_id r --model m",
      ' ');
  arguments.insert(arguments.end(), {"--stop", "a b"});
  const CommandResult result = Run(arguments);
  ASSERT_EQ(result.code, kExitOk) << result.err;
  const v1::GenerateRequest& request = requests_.at(0);
  EXPECT_THAT(request.tokens().ids(), ElementsAre(1, 2, 3));
  EXPECT_EQ(request.stopping().max_tokens(), 9);
  EXPECT_EQ(request.stopping().min_tokens(), 1);
  EXPECT_THAT(request.stopping().strings(), ElementsAre("c", "a b"));
  EXPECT_THAT(request.stopping().token_ids(), ElementsAre(4, 5));
  EXPECT_TRUE(request.stopping().ignore_eos());
  EXPECT_TRUE(request.stopping().include_stop_string());
  EXPECT_TRUE(request.sampling().has_temperature());
  EXPECT_EQ(request.sampling().temperature(), 0);
  EXPECT_EQ(request.sampling().top_k(), 3);
  EXPECT_EQ(request.sampling().top_p(), 0.5f);
  EXPECT_EQ(request.sampling().min_p(), 0.25f);
  EXPECT_EQ(request.sampling().seed(), ~uint64_t{0});
  EXPECT_EQ(request.sampling().logit_bias().at(7), -2.5f);
  EXPECT_EQ(request.sampling().logit_bias().at(8), 1.f);
  EXPECT_EQ(request.sampling().logit_bias().at(9), 2.f);
  EXPECT_EQ(request.sampling().presence_penalty(), -0.5f);
  EXPECT_EQ(request.sampling().frequency_penalty(), 0.5f);
  EXPECT_EQ(request.sampling().repetition_penalty(), 1.5f);
  EXPECT_EQ(request.output().logprobs(), 2);
  EXPECT_EQ(request.output().prompt_logprobs(), 1);
  EXPECT_EQ(request.output().num_samples(), 2);
  EXPECT_TRUE(request.output().echo());
  EXPECT_EQ(request.tenant(), "t");
  EXPECT_EQ(request.priority(), -2);
  EXPECT_EQ(request.request_id(), "r");
  EXPECT_EQ(request.model(), "m");
}

TEST_F(CommandLineTest, PromptsInAllForms) {
  const std::string path = ::testing::TempDir() + "/prompt.txt";
  std::ofstream(path) << "from a file\n";
  EXPECT_EQ(Run({"generate", "--prompt_file", path}).code, kExitOk);
  EXPECT_EQ(requests_.back().text().text(), "from a file\n");
  EXPECT_EQ(Run({"generate", "--prompt_file", "-"}, "from a pipe").code, kExitOk);
  EXPECT_EQ(requests_.back().text().text(), "from a pipe");
  EXPECT_EQ(Run({"generate", "--chat", "hi", "--system", "be brief"}).code, kExitOk);
  ASSERT_EQ(requests_.back().chat().messages_size(), 2);
  EXPECT_EQ(requests_.back().chat().messages(0).role(), "system");
  EXPECT_EQ(requests_.back().chat().messages(1).text(), "hi");
  EXPECT_EQ(Run({"generate", "--messages_file", "-"}, R"([{"role": "user", "content": "a"},
      {"role": "assistant", "content": null, "tool_calls": [{"id": "c"}]},
      {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]}])")
                .code,
            kExitOk);
  ASSERT_EQ(requests_.back().chat().messages_size(), 3);
  ASSERT_EQ(requests_.back().chat().messages(2).parts().parts_size(), 2);
  EXPECT_EQ(requests_.back().chat().messages(2).parts().parts(1).text(), "c");
  EXPECT_EQ(Run({"generate", "--chat", "a", "--no_generation_prompt"}).code, kExitOk);
  EXPECT_TRUE(requests_.back().chat().has_add_generation_prompt());
  EXPECT_FALSE(requests_.back().chat().add_generation_prompt());
  EXPECT_EQ(Run({"generate", "--messages_file", "-", "--continue_final_message", "--template_name", "t"},
                R"([{"role": "assistant", "content": "a"}])")
                .code,
            kExitOk);
  EXPECT_TRUE(requests_.back().chat().continue_final_message());
  EXPECT_EQ(requests_.back().chat().template_name(), "t");
  requests_.pop_back();
  requests_.pop_back();
  EXPECT_EQ(requests_.back().chat().messages(1).tool_calls_json(), R"([{"id":"c"}])");
  EXPECT_EQ(Run({"generate", "--prompt", "", "--no_add_special", "--parse_special"}).code, kExitOk);
  EXPECT_TRUE(requests_.back().has_text());
  EXPECT_FALSE(requests_.back().text().add_special());
  EXPECT_TRUE(requests_.back().text().parse_special());
}

TEST_F(CommandLineTest, HelpListsTheExitCodes) {
  const CommandResult result = RunCommand({"--help"});
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_THAT(result.out, HasSubstr("Exit codes"));
}

TEST_F(CommandLineTest, EveryCommandHasHelp) {
  for (const char* command :
       {"generate", "chat", "tokenize", "detokenize", "render", "info", "health", "abort", "bench"}) {
    const CommandResult result = RunCommand({command, "--help"});
    EXPECT_EQ(result.code, kExitOk) << command;
    EXPECT_THAT(result.out, HasSubstr("--server")) << command;
    EXPECT_THAT(result.err, IsEmpty()) << command;
  }
}

TEST_F(CommandLineTest, ExitCodesTellWhatToDo) {
  for (const auto& [code, exit_code] : {std::pair{grpc::StatusCode::INVALID_ARGUMENT, kExitUsage},
                                        {grpc::StatusCode::NOT_FOUND, kExitUsage},
                                        {grpc::StatusCode::UNAVAILABLE, kExitUnavailable},
                                        {grpc::StatusCode::RESOURCE_EXHAUSTED, kExitExhausted},
                                        {grpc::StatusCode::DEADLINE_EXCEEDED, kExitDeadline},
                                        {grpc::StatusCode::CANCELLED, kExitInterrupted},
                                        {grpc::StatusCode::INTERNAL, kExitError}}) {
    FailWith(code);
    const CommandResult result = Run({"generate", "--prompt", "hi"});
    EXPECT_EQ(result.code, exit_code);
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, HasSubstr("ropeway: because"));
  }
}

TEST_F(CommandLineTest, NoServerIsSaidInOneLine) {
  const CommandResult result =
      RunCommand({"generate", "--prompt", "hi", "--server", "127.0.0.1:1", "--max_attempts", "1"});
  EXPECT_EQ(result.code, kExitUnavailable);
  EXPECT_EQ(result.err,
            "ropeway: cannot connect to 127.0.0.1:1: is ropeway_server running? (--server names another "
            "address)\n");
}

TEST_F(CommandLineTest, AnAnswerThatBreaksOffIsShownAsFarAsItCame) {
  FailWith(grpc::StatusCode::INTERNAL, "half");
  CommandResult result = Run({"generate", "--prompt", "hi"});
  EXPECT_EQ(result.code, kExitError);
  EXPECT_EQ(result.out, "half\n");
  result = Run({"generate", "--prompt", "hi", "--json"});
  EXPECT_EQ(result.code, kExitError);
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["text"], "half");
  EXPECT_EQ(json["error"]["code"], "INTERNAL");
  EXPECT_EQ(json["error"]["message"], "because");
}

TEST_F(CommandLineTest, ChatKeepsItsHistory) {
  const CommandResult result =
      Run({"chat", "--system", "be brief", "--max_tokens", "4"}, "one\n\ntwo\r\n/reset\nthree\n/quit\nx");
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(result.out, "> one\nHello\n> two\nHello\n> /reset\n> three\nHello\n> /quit\n");
  ASSERT_EQ(requests_.size(), 3);
  const v1::ChatInput& second = requests_[1].chat();
  ASSERT_EQ(second.messages_size(), 4);
  EXPECT_EQ(second.messages(0).role(), "system");
  EXPECT_EQ(second.messages(1).text(), "one");
  EXPECT_EQ(second.messages(2).role(), "assistant");
  EXPECT_EQ(second.messages(2).text(), "Hello");
  EXPECT_EQ(second.messages(3).text(), "two");
  EXPECT_EQ(requests_[2].chat().messages_size(), 2);
  EXPECT_EQ(requests_[2].stopping().max_tokens(), 4);
}

TEST_F(CommandLineTest, AScriptedChatEndsWithTheFirstErrorAndATypedOneGoesOn) {
  FailWith(grpc::StatusCode::RESOURCE_EXHAUSTED);
  CommandResult result = Run({"chat"}, "one\ntwo\n");
  EXPECT_EQ(result.code, kExitExhausted);
  EXPECT_EQ(result.out, "> one\n");
  result = Run({"chat"}, "one\ntwo\n", /*interactive=*/true);
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(result.err, "ropeway: because\nropeway: because\n");
}

TEST_F(CommandLineTest, CtrlCCancelsTheAnswerAndKeepsTheChat) {
  std::function<void()> interrupt;
  server_.generate = [&](grpc::ServerContext& context, const v1::GenerateRequest& request,
                         FakeServer::Writer& writer) {
    requests_.push_back(request);
    writer.Write(Chunk("begun", 1));
    if (requests_.size() == 1) {
      interrupt();
      while (!context.IsCancelled()) std::this_thread::yield();
      return grpc::Status::CANCELLED;
    }
    return grpc::Status::OK;
  };
  std::istringstream in("one\ntwo\n");
  std::ostringstream out, err;
  Terminal terminal{.in = in, .out = out, .err = err, .on_interrupt = [&](std::function<void()> handler) {
                      if (handler) interrupt = handler;
                    }};
  EXPECT_EQ(RunCommandLine({"chat", "--server", server_.address()}, terminal), kExitOk);
  EXPECT_EQ(err.str(), "(cancelled)\n");
  ASSERT_EQ(requests_.size(), 2);
  // Whether "begun" arrived before the cancellation is a race; the conversation goes on either way.
  EXPECT_EQ(requests_[1].chat().messages(requests_[1].chat().messages_size() - 1).text(), "two");
}

TEST_F(CommandLineTest, LogprobsAreShownAfterTheText) {
  server_.generate = [](grpc::ServerContext&, const v1::GenerateRequest& request,
                        FakeServer::Writer& writer) {
    const auto fill = [](v1::TokenLogprobs* place) {
      place->mutable_chosen()->set_token(" \xc3\xa9\n");
      place->mutable_chosen()->set_logprob(-0.5);
      for (const auto& [token, logprob] : {std::pair{"\xc3", -0.25f}, {"'\"", -7.0f}}) {
        place->add_top()->set_token(token);
        place->mutable_top()->rbegin()->set_logprob(logprob);
      }
    };
    v1::GenerateChunk first = Chunk("Hello", 5);
    if (request.output().has_prompt_logprobs()) fill(first.mutable_prompt()->add_logprobs());
    if (request.output().has_logprobs()) fill(first.add_logprobs());
    writer.Write(first);
    if (request.output().num_samples() == 2) writer.Write(Chunk("Other", 5, 1));
    return grpc::Status::OK;
  };
  const std::string place =
      "   -0.5000  \" \xc3\xa9\\n\"               likeliest: \"\\xc3\" -0.2500, \"'\\\"\" -7.0000\n";
  const std::string of_answer = "--- log-probabilities of the answer ---\n" + place;
  const std::string of_prompt = "--- log-probabilities of the prompt ---\n" + place;
  EXPECT_EQ(Run({"generate", "--prompt", "hi"}).out, "Hello\n");
  EXPECT_EQ(Run({"generate", "--prompt", "hi", "--logprobs", "2"}).out, "Hello\n" + of_answer);
  EXPECT_EQ(Run({"generate", "--prompt", "hi", "--prompt_logprobs", "2"}).out, "Hello\n" + of_prompt);
  EXPECT_EQ(Run({"generate", "--prompt", "hi", "--logprobs", "2", "--num_samples", "2"}).out,
            "--- sample 0 ---\nHello\n--- log-probabilities of sample 0 ---\n" + place +
                "--- sample 1 ---\nOther\n");
  EXPECT_EQ(Run({"chat", "--logprobs", "2", "--prompt_logprobs", "2"}, "hi\n").out,
            "> hi\nHello\n" + of_prompt + of_answer);
}

TEST_F(CommandLineTest, SeveralSamplesAreShownOneAfterTheOther) {
  server_.generate = [](grpc::ServerContext&, const v1::GenerateRequest&, FakeServer::Writer& writer) {
    for (const int32_t sample : {1, 0, 1}) writer.Write(Chunk(absl::StrCat("s", sample), 1, sample));
    return grpc::Status::OK;
  };
  const CommandResult result = Run({"generate", "--prompt", "hi", "--num_samples", "2"});
  EXPECT_EQ(result.out, "--- sample 0 ---\ns0\n--- sample 1 ---\ns1s1\n");
  const auto json =
      nlohmann::json::parse(Run({"generate", "--prompt", "hi", "--num_samples", "2", "--json"}).out);
  EXPECT_EQ(json["samples"][1]["text"], "s1s1");
}

TEST_F(CommandLineTest, TextCommands) {
  server_.tokenize = [](const v1::TokenizeRequest& request, v1::TokenizeResponse& response) {
    for (int32_t id : {1, 2}) response.add_ids(request.has_chat() ? id + 10 : id);
    return grpc::Status::OK;
  };
  server_.detokenize = [](const v1::DetokenizeRequest& request, v1::DetokenizeResponse& response) {
    response.set_text(absl::StrCat(request.ids_size(), request.show_special() ? " shown" : ""));
    return grpc::Status::OK;
  };
  server_.render_chat = [](const v1::RenderChatRequest& request, v1::RenderChatResponse& response) {
    response.set_text("<" + request.chat().messages(0).text() + ">");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"tokenize", "--prompt", "hi"}).out, "1,2\n");
  EXPECT_EQ(Run({"tokenize", "--chat", "hi", "--json"}).out, "{\"ids\":[11,12],\"tokens\":[]}\n");
  EXPECT_EQ(Run({"detokenize", "1,2,3", "--show_special"}).out, "3 shown\n");
  EXPECT_EQ(Run({"render", "--chat", "hi"}).out, "<hi>");
}

TEST_F(CommandLineTest, EstimateTellsWhatARequestWouldTake) {
  server_.estimate = [](const v1::EstimateRequest& request, v1::EstimateResponse& response) {
    response.set_prompt_tokens(static_cast<int32_t>(request.request().text().text().size()));
    response.set_pages(request.request().stopping().max_tokens());
    response.set_admitted(!request.has_deadline_ms());
    if (request.has_deadline_ms()) {
      response.set_refusal(absl::StrCat("the deadline in ", request.deadline_ms(), "ms cannot be met"));
      response.set_retry_after_ms(750);
    }
    response.set_first_token_ms(12.5);
    return grpc::Status::OK;
  };
  const auto taken = Run({"estimate", "--prompt", "hello", "--max_tokens", "7", "--json"});
  EXPECT_EQ(taken.code, kExitOk);
  const auto json = nlohmann::json::parse(taken.out);
  EXPECT_EQ(json["prompt_tokens"], 5);
  EXPECT_EQ(json["pages"], 7);
  EXPECT_EQ(json["first_token_ms"], 12.5);
  EXPECT_TRUE(json["end_ms"].is_null());
  EXPECT_TRUE(json["retry_after_ms"].is_null());
  const auto refused = Run({"estimate", "--prompt", "hello", "--deadline", "1.5"});
  EXPECT_EQ(refused.code, kExitExhausted);
  EXPECT_THAT(refused.out, HasSubstr("retry_after_ms    750"));
  EXPECT_THAT(refused.err, HasSubstr("the deadline in 1500ms cannot be met"));
  EXPECT_EQ(Run({"estimate", "--prompt", "hello", "--deadline", "-1"}).code, kExitUsage);
  EXPECT_EQ(Run({"estimate"}).code, kExitUsage);
}

TEST_F(CommandLineTest, ServerCommands) {
  server_.get_server_info = [](const v1::GetServerInfoRequest&, v1::GetServerInfoResponse& response) {
    response.set_state(v1::SERVER_STATE_SERVING);
    response.mutable_limits()->set_max_samples(8);
    response.mutable_prefix_cache()->set_scope("tenant");
    response.mutable_prefix_cache()->set_hit_tokens(2048);
    response.set_target_itl_ms(50);
    return grpc::Status::OK;
  };
  server_.get_model_info = [](const v1::GetModelInfoRequest&, v1::GetModelInfoResponse& response) {
    response.set_name("tiny");
    response.mutable_sampling_defaults()->set_temperature(0.2f);
    response.mutable_sampling_defaults()->set_top_p(0.95f);
    return grpc::Status::OK;
  };
  server_.abort = [](const v1::AbortRequest& request, v1::AbortResponse& response) {
    response.set_found(request.request_id() == "r");
    return grpc::Status::OK;
  };
  EXPECT_THAT(Run({"info"}).out, HasSubstr("tiny"));
  EXPECT_THAT(Run({"info", "--json"}).out, HasSubstr(R"("temperature":0.2,"top_p":0.95})"));
  const auto json = nlohmann::json::parse(Run({"info", "--json"}).out);
  EXPECT_EQ(json["server"]["state"], "serving");
  EXPECT_EQ(json["server"]["limits"]["max_samples"], 8);
  EXPECT_EQ(json["server"]["prefix_cache"]["scope"], "tenant");
  EXPECT_EQ(json["server"]["prefix_cache"]["hit_tokens"], 2048);
  EXPECT_EQ(json["server"]["target_itl_ms"], 50);
  EXPECT_EQ(json["model"]["name"], "tiny");
  EXPECT_TRUE(json["model"]["bos_token_id"].is_null());
  EXPECT_EQ(Run({"health"}).out, "serving\n");
  server_.SetServing(false);
  EXPECT_EQ(Run({"health"}).code, kExitUnavailable);
  EXPECT_EQ(Run({"abort", "r"}).code, kExitOk);
  EXPECT_EQ(Run({"abort", "other"}).code, kExitUsage);
}

}  // namespace
}  // namespace ropeway::client
