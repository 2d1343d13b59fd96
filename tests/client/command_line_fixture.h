// The command line before a server that answers every generation with "Hello".
#ifndef ROPEWAY_TESTS_CLIENT_COMMAND_LINE_FIXTURE_H_
#define ROPEWAY_TESTS_CLIENT_COMMAND_LINE_FIXTURE_H_

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/client/fake_server.h"
#include "tests/client/run_command.h"

namespace ropeway::client {

class CommandLineTest : public ::testing::Test {
 protected:
  CommandLineTest() {
    server_.generate = [this](grpc::ServerContext&, const v1::GenerateRequest& request,
                              FakeServer::Writer& writer) {
      requests_.push_back(request);
      writer.Write(Chunk("Hel", 5));
      writer.Write(Last(Chunk("lo", 6), v1::FINISH_REASON_STOP));
      return grpc::Status::OK;
    };
  }

  CommandResult Run(std::vector<std::string> arguments, const std::string& input = "",
                    bool interactive = false) {
    arguments.insert(arguments.end(), {"--server", server_.address(), "--max_attempts", "1"});
    return RunCommand(arguments, input, interactive);
  }

  void FailWith(grpc::StatusCode code, const std::string& text = "") {
    server_.generate = [=](grpc::ServerContext&, const v1::GenerateRequest&, FakeServer::Writer& writer) {
      if (!text.empty()) writer.Write(Chunk(text, 1));
      return grpc::Status(code, "because");
    };
  }

  FakeServer server_;
  std::vector<v1::GenerateRequest> requests_;
};

}  // namespace ropeway::client

#endif  // ROPEWAY_TESTS_CLIENT_COMMAND_LINE_FIXTURE_H_
