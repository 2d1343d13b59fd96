// The server as its operators treat it: odd paths and variables, signals, output that nobody reads, files
// that change, memory that is missing.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/ropeway_client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/model_server.h"
#include "tests/integration/server_process.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::testing {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<client::Client> ClientOf(int port) {
  return client::Client::Create({.server = absl::StrCat("127.0.0.1:", port), .retry = {.max_attempts = 1}});
}

client::Answer Ask(
    client::Client& client, int max_tokens = 4, const std::function<void()>& on_delta = [] {}) {
  return client.Generate({.prompt = client::TextPrompt{.text = "Once upon a time"},
                          .sampling = {.temperature = 0.f},
                          .stopping = {.max_tokens = max_tokens, .ignore_eos = true}},
                         {}, [&](const client::Delta&) { on_delta(); });
}

// The last line of the log, which begins with the program's name.
std::string LastWords(const ServerProcess& process) {
  const std::string log = process.Log();
  const size_t message = log.find("ropeway_server: ");
  if (message == std::string::npos || log.find('\n', message) != log.size() - 1)
    return "no last line: " + log;
  return log.substr(message);
}

TEST(OperationsTest, APathThatIsNoFileIsRefusedAtOnce) {
  const TempFolder folder;
  ASSERT_EQ(mkfifo(folder.File("pipe").c_str(), 0600), 0);
  const int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {.sun_family = AF_UNIX};
  folder.File("socket").copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(listening, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const std::vector<std::pair<std::string, const char*>> cases = {
      {folder.File("pipe"), "is a named pipe, not a regular file"},
      {folder.File("socket"), "is a socket"},
      {"/dev/null", "is a device, not a regular file"},
      {folder.path(), "cannot open"},  // a folder of a Hugging Face model is looked into
  };
  for (const auto& [path, words] : cases) {
    ServerProcess model({"--model", path, "--listen=127.0.0.1:0", "--metrics_listen="});
    EXPECT_EQ(model.Wait(), 2) << path;
    EXPECT_THAT(LastWords(model), HasSubstr(words));
    if (path == folder.path()) continue;
    ServerProcess settings({"--config", path});
    EXPECT_EQ(settings.Wait(), 2) << path;
    EXPECT_THAT(LastWords(settings), HasSubstr(words));
  }
  close(listening);
}

TEST(OperationsTest, AnEmptyVariableSwallowsNothing) {
  ServerProcess process(Arguments(), ROPEWAY_SERVER_PROGRAM,
                        {"ROPEWAY_MODEL_NAME=", "ROPEWAY_THREADS=", "ROPEWAY_LISTEN="});
  ASSERT_NE(process.WaitUntilServing(), 0) << process.Log();
  EXPECT_THAT(process.Log(), HasSubstr("serving model=SmolLM2-135M-Instruct.Q4_1 "));
}

TEST(OperationsTest, AHangUpCutsNoStream) {
  ServerProcess process(Arguments());
  const int port = process.WaitUntilServing();
  ASSERT_NE(port, 0) << process.Log();
  const auto client = ClientOf(port);
  int deltas = 0;
  const client::Answer answer = Ask(*client, 64, [&] {
    if (++deltas == 2)
      for (const int signal : {SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE, SIGXFSZ}) process.Signal(signal);
  });
  EXPECT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_TRUE(Ask(*client).status.ok());
  EXPECT_THAT(process.Log(), HasSubstr("signal without effect"));
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 0) << process.Log();
}

// Standard error is a pipe that is read until the server serves, and then no more.
TEST(OperationsTest, OutputThatNobodyReadsHoldsUpNothing) {
  const TempFolder folder;
  const std::string pipe = folder.File("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int reading = open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  const int writing = open(pipe.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GT(fcntl(writing, F_SETPIPE_SZ, 4096), 0);
  // The shell puts the server's output into the pipe.
  const std::string command = absl::StrCat("exec ", ROPEWAY_SERVER_PROGRAM, " ",
                                           absl::StrJoin(Arguments({"--log_level=debug"}), " "), " 2>", pipe);
  ServerProcess process({"-c", command}, "/bin/sh");
  std::string log, part(4096, '\0');
  const absl::Time end = absl::Now() + kPatience;
  while (!absl::StrContains(log, " serving ") && absl::Now() < end) {
    const ssize_t size = read(reading, part.data(), part.size());
    if (size > 0) log.append(part, 0, static_cast<size_t>(size));
    absl::SleepFor(absl::Milliseconds(5));
  }
  const auto number_after = [&log](absl::string_view what) {
    const size_t begin = log.find(" port=", log.find(std::string(what))) + 6;
    return std::stoi(log.substr(begin));
  };
  ASSERT_THAT(log, HasSubstr(" serving "));
  const int metrics_port = number_after("metrics on");
  const auto client = ClientOf(number_after("listening on"));
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(Ask(*client, 1).status.ok()) << i;
  // A queue of a megabyte drops nothing so soon; what counts is that nobody waits.
  EXPECT_THAT(HttpGet(metrics_port, "/metrics"), HasSubstr("ropeway_log_lines_dropped_total"));
  const absl::Time told = absl::Now();
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 0);
  EXPECT_LT(absl::Now() - told, absl::Seconds(20));
  close(reading);
  close(writing);
}

TEST(OperationsTest, AServedFileMayBeOverwrittenAndCut) {
  const TempFolder folder;
  const std::string path = folder.File("model.gguf");
  std::filesystem::copy_file(kModelPath, path);
  ServerProcess process(
      {"--model", path, "--listen=127.0.0.1:0", "--metrics_listen=", "--kv_cache_mb=64", "--device=cpu"});
  const int port = process.WaitUntilServing();
  ASSERT_NE(port, 0) << process.Log();
  const auto client = ClientOf(port);
  const client::Answer before = Ask(*client, 16);
  ASSERT_TRUE(before.status.ok()) << before.status;
  const std::string zeros(1 << 20, '\0');
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  for (uintmax_t written = 0; written < std::filesystem::file_size(kModelPath); written += zeros.size())
    file.write(zeros.data(), static_cast<std::streamsize>(zeros.size()));
  file.close();
  std::filesystem::resize_file(path, 4096);
  const client::Answer after = Ask(*client, 16);
  ASSERT_TRUE(after.status.ok()) << after.status;
  EXPECT_EQ(after.samples[0].text, before.samples[0].text);
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 0) << process.Log();
}

TEST(OperationsTest, TooLittleMemoryIsOneLine) {
  if (kHasShadowMemory) GTEST_SKIP() << "a sanitizer needs more address space than the limits leave";
  for (const int kibibytes : {100'000, 200'000, 400'000, 600'000, 900'000}) {
    SCOPED_TRACE(kibibytes);
    const std::string command = absl::StrCat("ulimit -v ", kibibytes, "; exec ", ROPEWAY_SERVER_PROGRAM, " ",
                                             absl::StrJoin(Arguments({"--threads=2"}), " "));
    ServerProcess process({"-c", command}, "/bin/sh");
    EXPECT_EQ(process.Wait(), 2) << process.Log();
    EXPECT_THAT(LastWords(process),
                ::testing::ContainsRegex("out of memory: [0-9]+ bytes are wanted, [0-9]+ bytes are free"));
  }
}

TEST(OperationsTest, TooManyThreadsAreOneLine) {
  if (kHasShadowMemory) GTEST_SKIP() << "a sanitizer needs more address space than the limit leaves";
  const std::string command = absl::StrCat("ulimit -v 3000000; exec ", ROPEWAY_SERVER_PROGRAM, " ",
                                           absl::StrJoin(Arguments({"--threads=1024"}), " "));
  ServerProcess process({"-c", command}, "/bin/sh");
  EXPECT_EQ(process.Wait(), 2) << process.Log();
  EXPECT_THAT(LastWords(process), HasSubstr("cannot start thread"));
}

}  // namespace
}  // namespace ropeway::testing
