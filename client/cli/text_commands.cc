// ropeway tokenize, detokenize and render: text and tokens as the model sees them.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "client/cli/answer_json.h"
#include "client/cli/commands.h"
#include "client/cli/numbers.h"
#include "client/cli/request_flags.h"

namespace ropeway::client {
namespace {

struct TokenizeFlags {
  ConnectionFlags connection;
  PromptFlags prompt;
  bool json = false;
};

absl::Status RunTokenize(const TokenizeFlags& flags, Terminal& terminal) {
  const absl::StatusOr<Prompt> prompt = MakePrompt(flags.prompt, terminal);
  if (!prompt.ok()) return prompt.status();
  const absl::StatusOr<std::unique_ptr<Client>> client = MakeClient(flags.connection, terminal);
  if (!client.ok()) return client.status();
  const CallOptions options = MakeCallOptions(flags.connection);
  const auto* chat = std::get_if<ChatPrompt>(&*prompt);
  const absl::StatusOr<Tokens> tokens = chat != nullptr
                                            ? (*client)->Tokenize(*chat, options)
                                            : (*client)->Tokenize(std::get<TextPrompt>(*prompt), options);
  if (!tokens.ok()) return tokens.status();
  if (flags.json) {
    terminal.out << Dump({{"ids", tokens->ids}, {"tokens", tokens->tokens}}) << std::endl;
  } else {
    terminal.out << absl::StrJoin(tokens->ids, ",") << std::endl;
  }
  return absl::OkStatus();
}

struct DetokenizeFlags {
  ConnectionFlags connection;
  std::vector<int32_t> ids;
  bool show_special = false;
  bool json = false;
};

absl::Status RunDetokenize(const DetokenizeFlags& flags, Terminal& terminal) {
  const absl::StatusOr<std::unique_ptr<Client>> client = MakeClient(flags.connection, terminal);
  if (!client.ok()) return client.status();
  const absl::StatusOr<std::string> text =
      (*client)->Detokenize(flags.ids, flags.show_special, MakeCallOptions(flags.connection));
  if (!text.ok()) return text.status();
  terminal.out << (flags.json ? Dump({{"text", *text}}) : *text) << std::endl;
  return absl::OkStatus();
}

struct RenderFlags {
  ConnectionFlags connection;
  PromptFlags prompt;
};

absl::Status RunRender(const RenderFlags& flags, Terminal& terminal) {
  const absl::StatusOr<Prompt> prompt = MakePrompt(flags.prompt, terminal);
  if (!prompt.ok()) return prompt.status();
  const absl::StatusOr<std::unique_ptr<Client>> client = MakeClient(flags.connection, terminal);
  if (!client.ok()) return client.status();
  const absl::StatusOr<std::string> text =
      (*client)->RenderChat(std::get<ChatPrompt>(*prompt), MakeCallOptions(flags.connection));
  if (!text.ok()) return text.status();
  terminal.out << *text << std::flush;
  return absl::OkStatus();
}

}  // namespace

Command AddTokenize(CLI::App& app) {
  CLI::App* command = app.add_subcommand("tokenize", "Print the token ids of a text or chat: 1,2,3");
  const auto flags = std::make_shared<TokenizeFlags>();
  AddPromptFlags(*command, flags->prompt, {.token_ids = false});
  command->add_flag("--json", flags->json, "Print {\"ids\": [...], \"tokens\": [...]}");
  AddConnectionFlags(*command, flags->connection);
  return {command, [flags](Terminal& terminal) { return RunTokenize(*flags, terminal); }};
}

Command AddDetokenize(CLI::App& app) {
  CLI::App* command = app.add_subcommand("detokenize", "Print the text of token ids");
  const auto flags = std::make_shared<DetokenizeFlags>();
  AddIds(*command, "--token_ids,token_ids", flags->ids, "Token ids: 1,2,3")->required();
  command->add_flag("--show_special", flags->show_special,
                    "Spell control tokens instead of leaving them out");
  command->add_flag("--json", flags->json, "Print {\"text\": ...}");
  AddConnectionFlags(*command, flags->connection);
  return {command, [flags](Terminal& terminal) { return RunDetokenize(*flags, terminal); }};
}

Command AddRender(CLI::App& app) {
  CLI::App* command = app.add_subcommand("render", "Print what the model's chat template makes of a chat");
  const auto flags = std::make_shared<RenderFlags>();
  AddPromptFlags(*command, flags->prompt, {.token_ids = false, .text = false});
  AddConnectionFlags(*command, flags->connection);
  return {command, [flags](Terminal& terminal) { return RunRender(*flags, terminal); }};
}

}  // namespace ropeway::client
