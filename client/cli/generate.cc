// ropeway generate: one request, its text streamed or its answer as JSON.
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/answer_json.h"
#include "client/cli/commands.h"
#include "client/cli/print_answer.h"
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

// Writes what arrives as it arrives, and ends the call where it can no longer be written.
Client::OnDelta Printer(Terminal& terminal, Cancellation& cancellation) {
  return [&terminal, &cancellation](const Delta& delta) {
    if (delta.prompt) terminal.out << delta.prompt->text;
    terminal.out << delta.text << std::flush;
    if (!terminal.out) cancellation.Cancel();
  };
}

// The end of an answer that was streamed, of which nothing may have come.
void PrintRest(const Answer& answer, Terminal& terminal) {
  const Sample& sample = answer.samples.front();
  if (answer.status.ok() || !sample.text.empty()) EndLine(sample.text, terminal);
  PrintLogprobs("the prompt", answer.prompt.logprobs, terminal);
  PrintLogprobs("the answer", sample.logprobs, terminal);
}

// Several samples arrive interleaved, so they are shown when all are there.
void PrintSamples(const Answer& answer, Terminal& terminal) {
  PrintLogprobs("the prompt", answer.prompt.logprobs, terminal);
  for (size_t i = 0; i < answer.samples.size(); ++i) {
    const Sample& sample = answer.samples[i];
    terminal.out << "--- sample " << i << " ---\n" << answer.prompt.text << sample.text;
    EndLine(sample.text, terminal);
    PrintLogprobs(absl::StrCat("sample ", i), sample.logprobs, terminal);
  }
}

absl::Status Run(const Flags& flags, Terminal& terminal) {
  absl::StatusOr<Request> request = MakeRequest(flags.request);
  if (!request.ok()) return request.status();
  absl::StatusOr<Prompt> prompt = MakePrompt(flags.prompt, terminal);
  if (!prompt.ok()) return prompt.status();
  request->prompt = *std::move(prompt);
  request->output.echo = flags.echo || flags.json;

  const absl::StatusOr<std::unique_ptr<Client>> client = MakeClient(flags.connection, terminal);
  if (!client.ok()) return client.status();
  Cancellation cancellation;
  if (terminal.on_interrupt) terminal.on_interrupt([&cancellation] { cancellation.Cancel(); });
  const bool stream = !flags.json && request->output.num_samples.value_or(1) == 1;
  const Answer answer =
      (*client)->Generate(*request, MakeCallOptions(flags.connection),
                          stream ? Printer(terminal, cancellation) : nullptr, &cancellation);
  if (terminal.on_interrupt) terminal.on_interrupt(nullptr);

  if (flags.json) {
    terminal.out << Dump(ToJson(answer)) << std::endl;
  } else if (stream) {
    PrintRest(answer, terminal);
  } else if (answer.status.ok()) {
    PrintSamples(answer, terminal);
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
