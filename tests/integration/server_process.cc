#include "tests/integration/server_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/model_server.h"

namespace ropeway::testing {

ServerProcess::ServerProcess(std::vector<std::string> arguments, std::string program,
                             std::vector<std::string> environment)
    : log_(absl::StrCat(folder_.path(), "/log")) {
  arguments.insert(arguments.begin(), std::move(program));
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ != 0) return;
  for (std::string& variable : environment) putenv(variable.data());
  const int file = open(log_.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
  dup2(file, STDOUT_FILENO);
  dup2(file, STDERR_FILENO);
  execv(argv[0], argv.data());
  _exit(127);
}

ServerProcess::~ServerProcess() {
  if (pid_ == 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void ServerProcess::Signal(int signal) const {
  if (pid_ != 0) kill(pid_, signal);
}

bool ServerProcess::HasEnded() {
  if (pid_ != 0 && waitpid(pid_, &status_, WNOHANG) != 0) pid_ = 0;
  return pid_ == 0;
}

int ServerProcess::Wait() {
  const absl::Time end = absl::Now() + kPatience;
  while (!HasEnded() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(5));
  return pid_ == 0 && WIFEXITED(status_) ? WEXITSTATUS(status_) : -1;
}

std::string ServerProcess::Log() const {
  std::ifstream file(log_);
  return {std::istreambuf_iterator<char>(file), {}};
}

int ServerProcess::WaitUntilServing() {
  const absl::Time end = absl::Now() + kPatience;
  while (absl::Now() < end && !HasEnded()) {
    const std::string log = Log();
    const size_t listening = log.find("listening on"), port = log.find(" port=", listening);
    int number = 0;
    if (log.find(" serving ") != std::string::npos && port != std::string::npos &&
        absl::SimpleAtoi(log.substr(port + 6, log.find_first_of(" \n", port + 6) - port - 6), &number)) {
      return number;
    }
    absl::SleepFor(absl::Milliseconds(10));
  }
  return 0;
}

std::vector<std::string> Arguments(std::vector<std::string> more) {
  std::vector<std::string> arguments = {"--model",          kModelPath,    "--listen",      "127.0.0.1:0",
                                        "--metrics_listen", "127.0.0.1:0", "--kv_cache_mb", "64"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace ropeway::testing
