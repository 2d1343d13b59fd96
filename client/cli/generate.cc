// ropeway generate: one request, its text streamed or its answer as JSON.
#include <memory>
#include <string>
#include <utility>

#include "client/cli/commands.h"
#include "client/cli/message_json.h"
#include "client/cli/request_flags.h"

namespace ropeway::client {
namespace {

struct Flags {
  ConnectionFlags connection;
  RequestFlags request;
  PromptFlags prompt;
  bool echo = false;
  bool json = false;
};

// Ends a text that is on the terminal with a line of its own for what follows.
void EndLine(const std::string& text, Terminal& terminal) {
  if (text.empty() || text.back() != '\n') terminal.out << '\n';
  terminal.out.flush();
}

// Writes what arrives as it arrives.
Client::OnDelta Printer(Terminal& terminal) {
  return [&terminal](const Delta& delta) {
    if (delta.prompt) terminal.out << delta.prompt->text;
    terminal.out << delta.text << std::flush;
  };
}

// Several samples arrive interleaved, so they are shown when all are there.
void PrintSamples(const Answer& answer, Terminal& terminal) {
  for (size_t i = 0; i < answer.samples.size(); ++i) {
    terminal.out << "--- sample " << i << " ---\n" << answer.prompt.text << answer.samples[i].text;
    EndLine(answer.samples[i].text, terminal);
  }
}

absl::Status Run(const Flags& flags, Terminal& terminal) {
  absl::StatusOr<Request> request = MakeRequest(flags.request);
  if (!request.ok()) return request.status();
  absl::StatusOr<Prompt> prompt = MakePrompt(flags.prompt, terminal);
  if (!prompt.ok()) return prompt.status();
  request->prompt = *std::move(prompt);
  request->output.echo = flags.echo || flags.json;

  const std::unique_ptr<Client> client = MakeClient(flags.connection);
  Cancellation cancellation;
  if (terminal.on_interrupt) terminal.on_interrupt([&cancellation] { cancellation.Cancel(); });
  const bool stream = !flags.json && request->output.num_samples.value_or(1) == 1;
  const Answer answer = client->Generate(*request, MakeCallOptions(flags.connection),
                                         stream ? Printer(terminal) : nullptr, &cancellation);
  if (terminal.on_interrupt) terminal.on_interrupt(nullptr);

  if (flags.json) {
    terminal.out << Dump(ToJson(answer)) << std::endl;
  } else if (!stream && answer.status.ok()) {
    PrintSamples(answer, terminal);
  } else if (stream && (answer.status.ok() || !answer.samples.front().text.empty())) {
    EndLine(answer.samples.front().text, terminal);
  }
  return answer.status;
}

}  // namespace

Command AddGenerate(CLI::App& app) {
  CLI::App* command = app.add_subcommand("generate", "Generate once: stream the text, or print JSON");
  const auto flags = std::make_shared<Flags>();
  AddPromptFlags(*command, flags->prompt, {});
  command->add_flag("--json", flags->json,
                    "Print one JSON object: text, token_ids, finish_reason, usage, receipt, ...");
  command->add_flag("--echo", flags->echo, "Print the prompt before its answer, as the model saw it");
  AddRequestFlags(*command, flags->request);
  AddConnectionFlags(*command, flags->connection);
  return {command, [flags](Terminal& terminal) { return Run(*flags, terminal); }};
}

}  // namespace ropeway::client
