// What is wrong with a command line, its files or its output: one line, and an exit code.
#include <algorithm>
#include <sstream>

#include "absl/strings/str_split.h"
#include "absl/synchronization/blocking_counter.h"
#include "client/cli/command_line.h"
#include "client/cli/exit_code.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/command_line_fixture.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::client {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class CommandErrorsTest : public CommandLineTest {
 protected:
  // Both refuses and says why, before any call.
  void ExpectUsageError(const std::vector<std::string>& arguments, const std::string& what,
                        const std::string& why = "") {
    const CommandResult result = Run(arguments);
    SCOPED_TRACE(::testing::PrintToString(arguments));
    EXPECT_EQ(result.code, kExitUsage) << result.out << result.err;
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(result.err, AllOf(StartsWith("ropeway: "), HasSubstr(what), HasSubstr(why)));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_TRUE(requests_.empty());
  }
};

TEST_F(CommandErrorsTest, WrongCommandLinesAreUsageErrors) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"fly"},
                                             {"generate"},
                                             {"generate", "--prompt", "a", "--chat", "b"},
                                             {"generate", "--prompt", "a", "--temperature", "hot"},
                                             {"generate", "--prompt", "a", "--logit_bias", "7"},
                                             {"generate", "--prompt", "a", "--no_such_flag"},
                                             {"generate", "--prompt_file", "no/such/file"},
                                             {"generate", "--messages_file", "-"},
                                             {"generate", "--prompt", "a", "--timeout", "nan"},
                                             {"generate", "--prompt", "a", "--timeout", "-1"},
                                             {"generate", "--prompt", "a", "--max_attempts", "0"},
                                             {"generate", "--prompt", "a", "--seed", "-1"},
                                             {"generate", "--prompt", "a", "--temperature", ""},
                                             {"generate", "--token_ids", ""},
                                             {"generate", "--token_ids", "1,,2", "--top_k", ""},
                                             {"generate", "--prompt", "a", "--tools_file", "-"},
                                             {"generate", "--token_ids", "1", "--parse_special"},
                                             {"tokenize", "--prompt", "a", "--system", "b"},
                                             {"tokenize", "--prompt", "a", "--no_generation_prompt"},
                                             {"bench", "--request_rate", "nan"},
                                             {"chat", "--num_samples", "2"},
                                             {"detokenize", "1,x"}}) {
    const CommandResult result = RunCommand(arguments, "not json");
    EXPECT_EQ(result.code, kExitUsage) << result.out << result.err;
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(result.err, StartsWith("ropeway: "));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_LT(result.err.size(), 200u) << result.err;
  }
  EXPECT_THAT(RunCommand({"fly"}).err, HasSubstr("fly"));
  EXPECT_THAT(RunCommand({"generate", "--prompt", "a", "--timeout", "-1"}).err,
              HasSubstr("--timeout: must be at least 0, is -1"));
}

TEST_F(CommandErrorsTest, OutputThatIsLostIsAnError) {
  std::istringstream in;
  std::ostringstream out, err;
  out.setstate(std::ios::badbit);
  Terminal terminal{.in = in, .out = out, .err = err};
  EXPECT_EQ(RunCommandLine({"generate", "--prompt", "hi", "--server", server_.address()}, terminal),
            kExitError);
  EXPECT_EQ(err.str(), "ropeway: cannot write the output\n");
}

TEST_F(CommandErrorsTest, NumbersAreDecimalInEveryFlag) {
  const std::vector<std::string> generate = {"generate", "--prompt", "a"};
  const std::vector<std::pair<std::vector<std::string>, std::string>> flags = {
      {generate, "--max_tokens"},
      {generate, "--min_tokens"},
      {generate, "--top_k"},
      {generate, "--temperature"},
      {generate, "--top_p"},
      {generate, "--min_p"},
      {generate, "--seed"},
      {generate, "--presence_penalty"},
      {generate, "--frequency_penalty"},
      {generate, "--num_samples"},
      {generate, "--logprobs"},
      {generate, "--prompt_logprobs"},
      {generate, "--priority"},
      {generate, "--timeout"},
      {generate, "--repetition_penalty"},
      {generate, "--stop_token_ids"},
      {generate, "--logit_bias"},
      {{"generate"}, "--token_ids"},
      {{"detokenize"}, "--token_ids"},
      {{"health"}, "--wait"},
      {{"bench"}, "--requests"},
      {{"bench"}, "--prompt_tokens"},
      {{"bench"}, "--output_tokens"},
      {{"bench"}, "--vocab_size"},
      {{"bench"}, "--concurrency"},
      {{"bench"}, "--warmup_requests"},
      {{"bench"}, "--request_rate"},
      {{"bench"}, "--seed"},
      {{"bench"}, "--temperature"},
      {{"chat"}, "--max_tokens"},
      {{"bench"}, "--shared_prefix_tokens"}};
  for (const auto& [command, flag] : flags) {
    for (const char* value : {"0x10", "+1", " 1", "1 ", "nan", "inf", "1x", "", "--", "1e999", "1.5.5"}) {
      std::vector<std::string> arguments = command;
      arguments.push_back(flag + "=" + (flag == "--logit_bias" ? absl::StrCat("1:", value) : value));
      ExpectUsageError(arguments, flag);
    }
  }
  EXPECT_EQ(Run({"generate", "--prompt", "a", "--max_tokens", "010", "--stop_token_ids", "010,08",
                 "--logit_bias", "07:01.5", "--top_p", "00.5"})
                .code,
            kExitOk);
  EXPECT_EQ(requests_.back().stopping().max_tokens(), 10);
  EXPECT_THAT(requests_.back().stopping().token_ids(), ElementsAre(10, 8));
  EXPECT_EQ(requests_.back().sampling().logit_bias().at(7), 1.5f);
  EXPECT_EQ(requests_.back().sampling().top_p(), 0.5f);
}

TEST_F(CommandErrorsTest, AnEmptyValueIsAValue) {
  EXPECT_EQ(Run({"generate", "--prompt=", "--model=", "--max_tokens", "4", "--stop=a=", "--tenant=t"}).code,
            kExitOk);
  EXPECT_TRUE(requests_.back().has_text());
  EXPECT_EQ(requests_.back().stopping().max_tokens(), 4);
  EXPECT_THAT(requests_.back().stopping().strings(), ElementsAre("a="));
  EXPECT_EQ(requests_.back().tenant(), "t");
}

TEST_F(CommandErrorsTest, FilesThatAreNoTextAreNamed) {
  const ropeway::testing::TempFolder folder;
  const std::string latin1 = folder.Write("latin1", "\xe9"), empty = folder.Write("empty", "");
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"generate", "--prompt_file"},
                                             {"generate", "--messages_file"},
                                             {"generate", "--chat", "a", "--tools_file"},
                                             {"tokenize", "--prompt_file"},
                                             {"tokenize", "--messages_file"},
                                             {"render", "--messages_file"},
                                             {"render", "--chat", "a", "--tools_file"},
                                             {"bench", "--prompts_file"}}) {
    for (const auto& [path, why] : {std::pair{folder.path(), "Is a directory"},
                                    {folder.File("missing"), "No such file"},
                                    {latin1, "not UTF-8"},
                                    {empty, "it is empty"},
                                    {std::string("-"), "standard input: it is empty"}}) {
      std::vector<std::string> arguments = command;
      arguments.push_back(path);
      ExpectUsageError(arguments, command.back() + ": cannot read ", why);
    }
  }
}

TEST_F(CommandErrorsTest, FlagsThatWouldNotBeHeededAreRefused) {
  for (const auto& [line, flag] :
       {std::pair{"generate --prompt a --tools_file x", "--tools_file"},
        {"generate --prompt a --system x", "--system"},
        {"generate --prompt a --template_arguments {}", "--template_arguments"},
        {"generate --prompt a --no_generation_prompt", "--no_generation_prompt"},
        {"generate --prompt a --template_name x", "--template_name"},
        {"generate --chat a --continue_final_message", "--continue_final_message"},
        {"generate --chat a --no_add_special", "--no_add_special"},
        {"generate --token_ids 1 --parse_special", "--parse_special"},
        {"bench --prompts_file - --prompt_tokens 3", "--prompt_tokens"},
        {"bench --prompts_file - --shared_prefix_tokens 3", "--shared_prefix_tokens"},
        {"bench --prompts_file - --vocab_size 3", "--vocab_size"},
        {"bench --prompts_file - --seed 3", "--seed"},
        {"bench --backend openai --vocab_size 9 --max_attempts 2", "--max_attempts"}})
    EXPECT_THAT(RunCommand(absl::StrSplit(line, ' '), "text"),
                AllOf(::testing::Field(&CommandResult::code, kExitUsage),
                      ::testing::Field(&CommandResult::err, HasSubstr(flag))))
        << line;
}

TEST_F(CommandErrorsTest, AnAddressThatIsNoneIsRefused) {
  for (const char* address : {"http://127.0.0.1:50051", "127.0.0.1", "[::1:50051", "127.0.0.1:port"}) {
    for (const char* command : {"info", "health", "chat"}) {
      const CommandResult result = RunCommand({command, "--server", address}, "hi\n");
      EXPECT_EQ(result.code, kExitUsage) << command;
      EXPECT_THAT(result.err, HasSubstr(address));
    }
  }
}

TEST_F(CommandErrorsTest, NothingIsGeneratedForAnOutputThatIsLost) {
  // Of both calls, which would else go on for ever.
  absl::BlockingCounter ended(2);
  server_.generate = [&](grpc::ServerContext& context, const v1::GenerateRequest&,
                         FakeServer::Writer& writer) {
    while (!context.IsCancelled()) writer.Write(Chunk("more", 1));
    ended.DecrementCount();
    return grpc::Status::CANCELLED;
  };
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"generate", "--prompt", "hi"}, {"chat"}}) {
    std::vector<std::string> arguments = command;
    arguments.insert(arguments.end(), {"--server", server_.address()});
    std::istringstream in("hi\n");
    std::ostringstream out, err;
    out.setstate(std::ios::badbit);
    Terminal terminal{.in = in, .out = out, .err = err};
    EXPECT_EQ(RunCommandLine(arguments, terminal), kExitError);
    EXPECT_THAT(err.str(), HasSubstr("ropeway: cannot write the output\n"));
  }
  ended.Wait();
}

TEST_F(CommandErrorsTest, HelpThatCannotBeWrittenIsAnError) {
  std::istringstream in;
  std::ostringstream out, err;
  out.setstate(std::ios::badbit);
  Terminal terminal{.in = in, .out = out, .err = err};
  EXPECT_EQ(RunCommandLine({"--help"}, terminal), kExitError);
}

}  // namespace
}  // namespace ropeway::client
