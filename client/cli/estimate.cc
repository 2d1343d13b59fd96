// ropeway estimate: what would become of a request that came now.
#include <iomanip>
#include <memory>
#include <string>
#include <utility>

#include "client/cli/answer_json.h"
#include "client/cli/commands.h"
#include "client/cli/numbers.h"
#include "client/cli/request_flags.h"

namespace ropeway::client {
namespace {

struct EstimateFlags {
  ConnectionFlags connection;
  RequestFlags request;
  PromptFlags prompt;
  // 0: none.
  double deadline_seconds = 0;
  bool json = false;
};

void Print(const Estimate& estimate, Terminal& terminal) {
  constexpr int kKeyWidth = 18;
  const nlohmann::ordered_json json = ToJson(estimate);
  for (const auto& [key, value] : json.items()) {
    if (value.is_null() || (value.is_string() && value.empty())) continue;
    terminal.out << std::left << std::setw(kKeyWidth) << key
                 << (value.is_string() ? value.get<std::string>() : Dump(value)) << "\n";
  }
  terminal.out << std::flush;
}

absl::Status RunEstimate(const EstimateFlags& flags, Terminal& terminal) {
  absl::StatusOr<Request> request = MakeRequest(flags.request);
  if (!request.ok()) return request.status();
  absl::StatusOr<Prompt> prompt = MakePrompt(flags.prompt, terminal);
  if (!prompt.ok()) return prompt.status();
  request->prompt = *std::move(prompt);
  const absl::StatusOr<std::unique_ptr<Client>> client = MakeClient(flags.connection, terminal);
  if (!client.ok()) return client.status();
  const absl::Duration deadline =
      flags.deadline_seconds == 0 ? absl::InfiniteDuration() : absl::Seconds(flags.deadline_seconds);
  const absl::StatusOr<Estimate> estimate =
      (*client)->EstimateRequest(*request, deadline, MakeCallOptions(flags.connection));
  if (!estimate.ok()) return estimate.status();
  if (flags.json) {
    terminal.out << Dump(ToJson(*estimate)) << std::endl;
  } else {
    Print(*estimate, terminal);
  }
  return estimate->admitted ? absl::OkStatus() : absl::ResourceExhaustedError(estimate->refusal);
}

}  // namespace

Command AddEstimate(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("estimate", "Tell what a request would take and when it would be answered");
  const auto flags = std::make_shared<EstimateFlags>();
  AddPromptFlags(*command, flags->prompt, {});
  AddNumber(*command, "--deadline", flags->deadline_seconds,
            "Seconds that the request would be given; 0: any time", {.least = 0});
  command->add_flag("--json", flags->json, "Print one JSON object");
  AddRequestFlags(*command, flags->request);
  AddConnectionFlags(*command, flags->connection);
  return {command, [flags](Terminal& terminal) { return RunEstimate(*flags, terminal); }};
}

}  // namespace ropeway::client
