// The flags that describe a connection and a request, and what they come to.
#ifndef ROPEWAY_CLIENT_CLI_REQUEST_FLAGS_H_
#define ROPEWAY_CLIENT_CLI_REQUEST_FLAGS_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "client/cli/terminal.h"
#include "client/ropeway_client.h"

namespace ropeway::client {

struct ConnectionFlags {
  ClientOptions options;
  double timeout_seconds = 0;  // 0: none
};

// Sampling, stopping, output and the rest of a request but for its prompt.
struct RequestFlags {
  Request request;
  std::vector<std::string> logit_bias;  // "ID:VALUE"
};

// A prompt in one of its forms; exactly one of the first five is given.
struct PromptFlags {
  std::optional<std::string> prompt;
  std::optional<std::string> prompt_file;  // "-": standard input
  std::vector<int32_t> token_ids;
  std::optional<std::string> chat;
  std::optional<std::string> messages_file;  // a JSON array; "-": standard input

  std::string system;
  std::string tools_file;
  std::string template_arguments_json;
  bool no_add_special = false;
  bool parse_special = false;
};

// A number of at least 0. CLI11's own check takes NaN, and prints its bound with 309 digits.
CLI::Validator NotNegative();

void AddConnectionFlags(CLI::App& command, ConnectionFlags& flags);
void AddRequestFlags(CLI::App& command, RequestFlags& flags);

// What forms of a prompt a command takes.
struct PromptForms {
  bool token_ids = true;
  bool text = true;
};
void AddPromptFlags(CLI::App& command, PromptFlags& flags, const PromptForms& forms);

CallOptions MakeCallOptions(const ConnectionFlags& flags);
std::unique_ptr<Client> MakeClient(const ConnectionFlags& flags);

// Reads files and standard input where the flags say so. Errors name the flag.
absl::StatusOr<Prompt> MakePrompt(const PromptFlags& flags, Terminal& terminal);
absl::StatusOr<Request> MakeRequest(const RequestFlags& flags);

// The whole of a file, or of standard input for "-".
absl::StatusOr<std::string> ReadAll(const std::string& path, Terminal& terminal);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CLI_REQUEST_FLAGS_H_
