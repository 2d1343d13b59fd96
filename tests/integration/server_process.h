// A running ropeway_server as its operator sees it: output, signals, exit code.
#ifndef ROPEWAY_TESTS_INTEGRATION_SERVER_PROCESS_H_
#define ROPEWAY_TESTS_INTEGRATION_SERVER_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/testing/patience.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::testing {

// Its output goes to a file.
class ServerProcess {
 public:
  // `environment` is added to that of this process: "NAME=value".
  explicit ServerProcess(std::vector<std::string> arguments, std::string program = ROPEWAY_SERVER_PROGRAM,
                         std::vector<std::string> environment = {});
  ~ServerProcess();

  void Signal(int signal) const;

  // The exit code; -1 where a signal ended it or it does not end.
  int Wait();

  bool HasEnded();

  std::string Log() const;

  // The port of gRPC, once the server serves; 0 where it does not, or has ended.
  int WaitUntilServing();

 private:
  TempFolder folder_;
  const std::string log_;
  pid_t pid_ = 0;
  int status_ = 0;  // once it has ended
};

// A server of the real model on free ports of this machine.
std::vector<std::string> Arguments(std::vector<std::string> more = {});

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_INTEGRATION_SERVER_PROCESS_H_
