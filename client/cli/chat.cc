// ropeway chat: a conversation, line by line.
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/strip.h"
#include "client/cli/commands.h"
#include "client/cli/print_answer.h"
#include "client/cli/request_flags.h"

namespace ropeway::client {
namespace {

constexpr char kPrompt[] = "> ";
constexpr char kHelp[] =
    "/reset  forget the conversation\n"
    "/quit   leave (as does the end of input)\n"
    "Ctrl-C  cancel the answer that is being written\n";

struct Flags {
  ConnectionFlags connection;
  RequestFlags request;
  std::string system;
};

class Conversation {
 public:
  Conversation(const Flags& flags, Request request, std::unique_ptr<Client> client, Terminal& terminal)
      : options_(MakeCallOptions(flags.connection)),
        system_(flags.system),
        request_(std::move(request)),
        client_(std::move(client)),
        terminal_(terminal) {
    Reset();
  }

  void Reset() {
    chat_.messages.clear();
    if (!system_.empty()) chat_.messages.push_back({.role = "system", .text = system_});
  }

  // Says `text` and streams the answer. What failed is taken back, so that the turn can be tried again; what
  // was cancelled stays in the history as far as it came.
  absl::Status Say(const std::string& text) {
    chat_.messages.push_back({.role = "user", .text = text});
    request_.prompt = chat_;
    Cancellation cancellation;
    if (terminal_.on_interrupt) terminal_.on_interrupt([&cancellation] { cancellation.Cancel(); });
    const auto print = [&](const Delta& delta) {
      terminal_.out << delta.text << std::flush;
      if (!terminal_.out) cancellation.Cancel();
    };
    const Answer answer = client_->Generate(request_, options_, print, &cancellation);
    if (terminal_.on_interrupt) terminal_.on_interrupt(nullptr);

    const std::string& said = answer.samples.front().text;
    if (!said.empty()) terminal_.out << std::endl;
    PrintLogprobs("the prompt", answer.prompt.logprobs, terminal_);
    PrintLogprobs("the answer", answer.samples.front().logprobs, terminal_);
    const bool cancelled = cancellation.cancelled();
    if (cancelled) terminal_.err << "(cancelled)" << std::endl;
    if (answer.status.ok() || (cancelled && !said.empty())) {
      chat_.messages.push_back({.role = "assistant", .text = said});
    } else {
      chat_.messages.pop_back();
    }
    return cancelled ? absl::OkStatus() : answer.status;
  }

 private:
  const CallOptions options_;
  const std::string system_;
  Request request_;
  const std::unique_ptr<Client> client_;
  Terminal& terminal_;
  ChatPrompt chat_;
};

// Reads one line of the user. A terminal shows what is typed; elsewhere the line is repeated, so that the
// output reads as a conversation.
bool ReadLine(Terminal& terminal, std::string& line) {
  if (terminal.interactive) terminal.out << kPrompt << std::flush;
  if (!std::getline(terminal.in, line)) return false;
  line = std::string(absl::StripSuffix(line, "\r"));
  if (!terminal.interactive && !line.empty()) terminal.out << kPrompt << line << std::endl;
  return true;
}

absl::Status Run(const Flags& flags, Terminal& terminal) {
  absl::StatusOr<Request> request = MakeRequest(flags.request);
  if (!request.ok()) return request.status();
  if (request->output.num_samples.value_or(1) != 1)
    return absl::InvalidArgumentError("--num_samples must be 1 in a chat");
  absl::StatusOr<std::unique_ptr<Client>> client = MakeClient(flags.connection, terminal);
  if (!client.ok()) return client.status();
  Conversation conversation(flags, *std::move(request), *std::move(client), terminal);
  if (terminal.interactive) terminal.out << "/help tells more." << std::endl;
  // A person may try again after an error; a script ends with the first.
  for (std::string line; ReadLine(terminal, line);) {
    if (line.empty()) continue;
    if (line == "/quit") return absl::OkStatus();
    if (line == "/help") {
      terminal.out << kHelp << std::flush;
    } else if (line == "/reset") {
      conversation.Reset();
    } else if (const absl::Status status = conversation.Say(line); !status.ok()) {
      if (!terminal.interactive) return status;
      terminal.err << "ropeway: " << status.message() << std::endl;
    }
  }
  if (terminal.interactive) terminal.out << std::endl;
  return absl::OkStatus();
}

}  // namespace

Command AddChat(CLI::App& app) {
  CLI::App* command = app.add_subcommand("chat", "Converse with the model; also with lines from a pipe");
  const auto flags = std::make_shared<Flags>();
  command->add_option("--system", flags->system, "A system message before the conversation");
  AddRequestFlags(*command, flags->request);
  AddConnectionFlags(*command, flags->connection);
  return {command, [flags](Terminal& terminal) { return Run(*flags, terminal); }};
}

}  // namespace ropeway::client
