// The server's program as its operators see it: exit codes, one line of error, signals.
#include <dlfcn.h>
#include <signal.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/ropeway_client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/model_server.h"
#include "tests/integration/server_process.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

// Exit code 2, and one line that says why.
void ExpectRefused(const std::vector<std::string>& arguments, const std::string& why) {
  ServerProcess process(arguments);
  EXPECT_EQ(process.Wait(), 2) << process.Log();
  const std::string log = process.Log();
  const size_t message = log.find("ropeway_server: ");
  ASSERT_NE(message, std::string::npos) << log;
  EXPECT_EQ(log.find('\n', message), log.size() - 1) << log;
  EXPECT_THAT(log.substr(message), HasSubstr(why));
}

TEST(BinaryTest, RefusesWhatItCannotServeInOneLine) {
  TempFolder folder;
  const std::string truncated = absl::StrCat(folder.path(), "/truncated.gguf");
  std::ifstream model(kModelPath, std::ios::binary);
  std::string begin(1 << 20, '\0');
  model.read(begin.data(), begin.size());
  std::ofstream(truncated, std::ios::binary) << begin;
  ExpectRefused({"--model", "no_such_file.gguf", "--listen", "127.0.0.1:0"}, "no_such_file.gguf");
  ExpectRefused({"--model", truncated, "--listen", "127.0.0.1:0", "--metrics_listen", ""}, "truncated.gguf");
  ExpectRefused({"--model", "README.md", "--listen", "127.0.0.1:0", "--metrics_listen", ""}, "README.md");
  ExpectRefused(Arguments({"--no_such_flag"}), "no_such_flag");
  ExpectRefused(Arguments({"--max_running", "0"}), "max_running");
  ExpectRefused(Arguments({"--kernels", "sse"}), "kernels");
  ExpectRefused(Arguments({"--device", "cpu", "--kv_type", "fp8"}), "kv_type");
  ExpectRefused({}, "model");
}

bool HasCudaDriver() {
  void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (driver != nullptr) dlclose(driver);
  return driver != nullptr;
}

TEST(BinaryTest, SaysWhatKeepsItFromAGpu) {
  if (HasCudaDriver()) GTEST_SKIP() << "this machine has a CUDA driver";
  ExpectRefused(Arguments({"--device", "cuda"}), "--device=cuda: there is no CUDA driver");
  ExpectRefused(Arguments({"--device", "auto", "--kv_type", "fp8"}), "without a GPU");
  ServerProcess process(Arguments({"--device", "auto"}));
  EXPECT_NE(process.WaitUntilServing(), 0) << process.Log();
  EXPECT_THAT(process.Log(), HasSubstr("computing on the CPU why=\"there is no CUDA driver"));
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 0) << process.Log();
}

TEST(BinaryTest, RefusesPortsThatAreTaken) {
  ServerProcess first(Arguments());
  const int port = first.WaitUntilServing();
  ASSERT_NE(port, 0) << first.Log();
  const std::string taken = absl::StrCat("127.0.0.1:", port);
  ExpectRefused({"--model", kModelPath, "--listen", taken, "--metrics_listen", ""}, taken);
  ExpectRefused({"--model", kModelPath, "--listen", "127.0.0.1:0", "--metrics_listen", taken}, taken);
}

client::Request LongRequest(int i, int max_tokens) {
  return {.prompt = client::TextPrompt{.text = absl::StrCat("Story number ", i, ": ")},
          .sampling = {.temperature = 0.f},
          .stopping = {.max_tokens = max_tokens, .ignore_eos = true}};
}

TEST(BinaryTest, DrainsWhenToldToEnd) {
  constexpr int kStreams = 6;
  ServerProcess process(Arguments({"--drain_timeout", "2s"}));
  const int port = process.WaitUntilServing();
  ASSERT_NE(port, 0) << process.Log();
  const auto client =
      client::Client::Create({.server = absl::StrCat("127.0.0.1:", port), .retry = {.max_attempts = 1}});
  std::atomic<int> started = 0, complete = 0, unavailable = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kStreams; ++i)
    threads.emplace_back([&, i] {
      const int max_tokens = i % 2 == 0 ? 24 : 1900;  // the long ones outlive the drain
      bool first = true;
      const client::Answer answer =
          client->Generate(LongRequest(i, max_tokens), {},
                           [&](const client::Delta&) { started += std::exchange(first, false); });
      complete += answer.status.ok() && answer.samples[0].token_ids.size() == static_cast<size_t>(max_tokens);
      unavailable += absl::IsUnavailable(answer.status) &&
                     absl::StrContains(answer.status.message(),
                                       "broke off its answer: the server is shutting down; ask again");
    });
  const absl::Time end = absl::Now() + kPatience;
  while (started < kStreams && absl::Now() < end) absl::SleepFor(absl::Milliseconds(5));
  const absl::Time told = absl::Now();
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 0) << process.Log();
  EXPECT_LT(absl::Now() - told, absl::Seconds(2) + absl::Seconds(20));  // slow under sanitizers
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(complete + unavailable, kStreams);
  EXPECT_GT(unavailable, 0);
  EXPECT_THAT(process.Log(), HasSubstr("drained"));
}

// A server that is gone, with a part of the answer delivered and with none.
TEST(BinaryTest, ClientsOfAKilledServerLoseTheConnection) {
  for (const bool delivered : {true, false}) {
    ServerProcess process(Arguments());
    const int port = process.WaitUntilServing();
    ASSERT_NE(port, 0) << process.Log();
    const std::string address = absl::StrCat("127.0.0.1:", port);
    const auto client = client::Client::Create({.server = address, .retry = {.max_attempts = 1}});
    client::Request request = LongRequest(0, 900);
    if (!delivered) request.prompt = client::TokenPrompt{.ids = std::vector<int32_t>(2000, 7)};
    std::atomic<bool> got_a_part = false;
    std::thread killer([&] {
      const auto is_time = [&] {
        const absl::StatusOr<client::ServerInfo> info = client->GetServerInfo();
        return delivered ? got_a_part.load() : info.ok() && info->running_requests > 0;
      };
      const absl::Time end = absl::Now() + kPatience;
      while (!is_time() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(1));
      process.Signal(SIGKILL);
    });
    const client::Answer answer =
        client->Generate(request, {}, [&](const client::Delta&) { got_a_part = true; });
    killer.join();
    EXPECT_EQ(got_a_part, delivered);
    EXPECT_THAT(answer.status, StatusIs(absl::StatusCode::kUnavailable,
                                        HasSubstr(absl::StrCat("the connection to ", address, " was lost"))));
  }
}

TEST(BinaryTest, SaysThatItEndsWhereItIsToldToWhileItLoads) {
  ServerProcess process(Arguments());
  const absl::Time end = absl::Now() + kPatience;
  while (process.Log().find("listening on") == std::string::npos && absl::Now() < end)
    absl::SleepFor(absl::Milliseconds(1));
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 0) << process.Log();
  // The model is small, and may have been loaded.
  EXPECT_THAT(process.Log(),
              AnyOf(HasSubstr("ended by a signal before anything was served"), HasSubstr("drained")));
}

TEST(BinaryTest, EndsAtOnceAtTheSecondSignal) {
  ServerProcess process(Arguments({"--drain_timeout", "600s"}));
  const int port = process.WaitUntilServing();
  ASSERT_NE(port, 0) << process.Log();
  const auto client =
      client::Client::Create({.server = absl::StrCat("127.0.0.1:", port), .retry = {.max_attempts = 1}});
  std::atomic<bool> started = false;
  std::thread stream(
      [&] { client->Generate(LongRequest(0, 1900), {}, [&](const client::Delta&) { started = true; }); });
  const absl::Time end = absl::Now() + kPatience;
  while (!started && absl::Now() < end) absl::SleepFor(absl::Milliseconds(5));
  process.Signal(SIGTERM);
  while (process.Log().find("draining") == std::string::npos && absl::Now() < end)
    absl::SleepFor(absl::Milliseconds(5));
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 1) << process.Log();
  EXPECT_THAT(process.Log(), HasSubstr("the drain was cut short by a second signal"));
  stream.join();
}

}  // namespace
}  // namespace ropeway::testing
