// ropeway info, health and abort: about the server.
#include <iomanip>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/message_json.h"
#include "client/cli/request_flags.h"

namespace ropeway::client {
namespace {

struct InfoFlags {
  ConnectionFlags connection;
  bool json = false;
};

// Prints an object as aligned lines; the chat template has many lines of its own and is shown by --json
// alone.
void PrintTable(const std::string& title, const nlohmann::ordered_json& object, Terminal& terminal) {
  constexpr int kKeyWidth = 26;
  terminal.out << title << "\n";
  for (const auto& [key, value] : object.items()) {
    if (key == "chat_template") continue;
    if (value.is_object()) {
      PrintTable("  " + key, value, terminal);
    } else {
      terminal.out << "  " << std::left << std::setw(kKeyWidth) << key
                   << (value.is_string() ? value.get<std::string>() : Dump(value)) << "\n";
    }
  }
}

absl::Status RunInfo(const InfoFlags& flags, Terminal& terminal) {
  const std::unique_ptr<Client> client = MakeClient(flags.connection);
  const CallOptions options = MakeCallOptions(flags.connection);
  const absl::StatusOr<ServerInfo> server = client->GetServerInfo(options);
  if (!server.ok()) return server.status();
  // While the model loads, the server can be asked and the model cannot.
  const absl::StatusOr<ModelInfo> model = client->GetModelInfo(options);
  if (flags.json) {
    nlohmann::ordered_json json = {{"server", ToJson(*server)}};
    if (model.ok()) json["model"] = ToJson(*model);
    terminal.out << Dump(json) << std::endl;
  } else {
    PrintTable("server", ToJson(*server), terminal);
    if (model.ok()) PrintTable("model", ToJson(*model), terminal);
    terminal.out << std::flush;
  }
  return model.status();
}

struct HealthFlags {
  ConnectionFlags connection;
  double wait_seconds = 0;
};

absl::Status RunHealth(const HealthFlags& flags, Terminal& terminal) {
  const absl::Status status =
      MakeClient(flags.connection)->WaitUntilServing(absl::Seconds(flags.wait_seconds));
  if (status.ok()) terminal.out << "serving" << std::endl;
  return status;
}

struct AbortFlags {
  ConnectionFlags connection;
  std::string request_id;
  std::string tenant;
};

absl::Status RunAbort(const AbortFlags& flags, Terminal& terminal) {
  const absl::StatusOr<bool> found =
      MakeClient(flags.connection)->Abort(flags.request_id, flags.tenant, MakeCallOptions(flags.connection));
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
  command->add_option("--wait", flags->wait_seconds, "Ask until it does, for at most this many seconds")
      ->check(NotNegative());
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
