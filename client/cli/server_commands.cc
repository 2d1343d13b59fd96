// ropeway info, health and abort: about the server.
#include <iomanip>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/answer_json.h"
#include "client/cli/commands.h"
#include "client/cli/numbers.h"
#include "client/cli/request_flags.h"

namespace ropeway::client {
namespace {

struct InfoFlags {
  ConnectionFlags connection;
  bool json = false;
};

// Prints an object as aligned lines. The chat template has many lines of its own: --json alone shows it.
void PrintTable(const std::string& title, const nlohmann::ordered_json& object, const std::string& indent,
                Terminal& terminal) {
  constexpr int kKeyWidth = 26;
  terminal.out << indent << title << "\n";
  for (const auto& [key, value] : object.items()) {
    if (key == "chat_template") continue;
    if (value.is_object()) {
      PrintTable(key, value, indent + "  ", terminal);
    } else {
      terminal.out << indent << "  " << std::left << std::setw(kKeyWidth) << key
                   << (value.is_string() ? value.get<std::string>() : Dump(value)) << "\n";
    }
  }
}

absl::Status RunInfo(const InfoFlags& flags, Terminal& terminal) {
  const absl::StatusOr<std::unique_ptr<Client>> client = MakeClient(flags.connection, terminal);
  if (!client.ok()) return client.status();
  const CallOptions options = MakeCallOptions(flags.connection);
  const absl::StatusOr<ServerInfo> server = (*client)->GetServerInfo(options);
  if (!server.ok()) return server.status();
  // While the model loads, the server can be asked and the model cannot.
  const absl::StatusOr<ModelInfo> model = (*client)->GetModelInfo(options);
  if (flags.json) {
    nlohmann::ordered_json json = {{"server", ToJson(*server)}};
    if (model.ok()) json["model"] = ToJson(*model);
    terminal.out << Dump(json) << std::endl;
  } else {
    PrintTable("server", ToJson(*server), "", terminal);
    if (model.ok()) PrintTable("model", ToJson(*model), "", terminal);
    terminal.out << std::flush;
  }
  return model.status();
}

// Of one question, which a server with a full processor may answer late.
constexpr double kHealthTimeoutSeconds = 5;

struct HealthFlags {
  ConnectionFlags connection;
  double wait_seconds = 0;
};

absl::Status RunHealth(const HealthFlags& flags, Terminal& terminal) {
  const absl::StatusOr<std::unique_ptr<Client>> client = MakeClient(flags.connection, terminal);
  if (!client.ok()) return client.status();
  const absl::Status status =
      (*client)->WaitUntilServing(absl::Seconds(flags.wait_seconds), MakeCallOptions(flags.connection));
  if (status.ok()) terminal.out << "serving" << std::endl;
  return status;
}

struct AbortFlags {
  ConnectionFlags connection;
  std::string request_id;
  std::string tenant;
};

absl::Status RunAbort(const AbortFlags& flags, Terminal& terminal) {
  const absl::StatusOr<std::unique_ptr<Client>> client = MakeClient(flags.connection, terminal);
  if (!client.ok()) return client.status();
  const absl::StatusOr<bool> found =
      (*client)->Abort(flags.request_id, flags.tenant, MakeCallOptions(flags.connection));
  if (!found.ok()) return found.status();
  if (!*found) return absl::NotFoundError(absl::StrCat("no living request ", flags.request_id));
  terminal.out << "aborted" << std::endl;
  return absl::OkStatus();
}

}  // namespace

Command AddInfo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("info", "Tell about the server and its model");
  const auto flags = std::make_shared<InfoFlags>();
  command->add_flag("--json", flags->json, "Print {\"server\": {...}, \"model\": {...}}");
  AddConnectionFlags(*command, flags->connection);
  return {command, [flags](Terminal& terminal) { return RunInfo(*flags, terminal); }};
}

Command AddHealth(CLI::App& app) {
  CLI::App* command = app.add_subcommand("health", "Exit with 0 if the health service says SERVING");
  const auto flags = std::make_shared<HealthFlags>();
  AddNumber(*command, "--wait", flags->wait_seconds, "Ask until it does, for at most this many seconds",
            {.least = 0});
  flags->connection.timeout_seconds = kHealthTimeoutSeconds;
  flags->connection.options.retry.max_attempts = 1;
  AddConnectionFlags(*command, flags->connection);
  return {command, [flags](Terminal& terminal) { return RunHealth(*flags, terminal); }};
}

Command AddAbort(CLI::App& app) {
  CLI::App* command = app.add_subcommand("abort", "End a living request");
  const auto flags = std::make_shared<AbortFlags>();
  command->add_option("request_id", flags->request_id, "The request, as its --request_id named it")
      ->required();
  command->add_option("--tenant", flags->tenant, "The tenant that it was made for");
  AddConnectionFlags(*command, flags->connection);
  return {command, [flags](Terminal& terminal) { return RunAbort(*flags, terminal); }};
}

}  // namespace ropeway::client
