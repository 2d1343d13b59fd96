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

// The kind of a flag's value, as --help shows it, where it is the path of a file.
inline constexpr char kPathType[] = "PATH";

struct ConnectionFlags {
  // Without what the files below hold.
  ClientOptions options;
  // TLS; each of the paths implies it.
  bool tls = false;
  std::string authorities_file;
  std::string certificate_file;
  std::string key_file;
  // 0: none.
  double timeout_seconds = 0;
};

// Sampling, stopping, output and the rest of a request but for its prompt.
struct RequestFlags {
  Request request;
  // Each "ID:VALUE" or several of them with commas between.
  std::vector<std::string> logit_bias;
};

// A prompt. The path "-" stands for standard input.
struct PromptFlags {
  // The forms of a prompt, of which exactly one is given.
  std::optional<std::string> prompt;
  std::optional<std::string> prompt_file;
  std::vector<int32_t> token_ids;
  std::optional<std::string> chat;
  std::optional<std::string> messages_file;

  // Of a chat.
  std::string system;
  std::string tools_file;
  std::string template_arguments_json;
  std::string template_name;
  bool no_generation_prompt = false;
  bool continue_final_message = false;

  // Of a text.
  bool no_add_special = false;
  bool parse_special = false;
};

void AddConnectionFlags(CLI::App& command, ConnectionFlags& flags);
void AddRequestFlags(CLI::App& command, RequestFlags& flags);

// What forms of a prompt a command takes.
struct PromptForms {
  bool token_ids = true;
  bool text = true;
};
void AddPromptFlags(CLI::App& command, PromptFlags& flags, const PromptForms& forms);

CallOptions MakeCallOptions(const ConnectionFlags& flags);

// These read files and standard input where the flags say so. Errors name the flag.
absl::StatusOr<ClientOptions> MakeClientOptions(const ConnectionFlags& flags, Terminal& terminal);
absl::StatusOr<std::unique_ptr<Client>> MakeClient(const ConnectionFlags& flags, Terminal& terminal);
absl::StatusOr<Prompt> MakePrompt(const PromptFlags& flags, Terminal& terminal);
absl::StatusOr<Request> MakeRequest(const RequestFlags& flags);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CLI_REQUEST_FLAGS_H_
