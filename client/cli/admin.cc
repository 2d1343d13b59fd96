// ropeway admin: what an operator asks of a running server, with an admin's key in ROPEWAY_API_KEY.
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/admin_client.h"
#include "client/cli/commands.h"
#include "client/cli/request_flags.h"

namespace ropeway::client {
namespace {

struct AdminFlags {
  ConnectionFlags connection;
  std::string level;
  std::string request_id;
  std::string tenant;
};

absl::Status RunDrain(const AdminFlags&, AdminClient& client, const CallOptions& options,
                      Terminal& terminal) {
  const absl::StatusOr<int32_t> living = client.Drain(options);
  if (!living.ok()) return living.status();
  terminal.out << "draining; living requests: " << *living << std::endl;
  return absl::OkStatus();
}

absl::Status RunLogLevel(const AdminFlags& flags, AdminClient& client, const CallOptions& options,
                         Terminal& terminal) {
  const absl::StatusOr<std::string> previous = client.SetLogLevel(flags.level, options);
  if (!previous.ok()) return previous.status();
  terminal.out << flags.level << " (was " << *previous << ")" << std::endl;
  return absl::OkStatus();
}

// What could not be used is an error for scripts, too.
absl::Status RunReload(const AdminFlags&, AdminClient& client, const CallOptions& options,
                       Terminal& terminal) {
  const absl::StatusOr<std::vector<ReloadedFiles>> files = client.Reload(options);
  if (!files.ok()) return files.status();
  absl::Status status;
  for (const ReloadedFiles& one : *files) {
    terminal.out << one.what << ": " << (one.error.empty() ? "in use" : "the old ones stay: " + one.error)
                 << "\n";
    if (!one.error.empty())
      status.Update(absl::FailedPreconditionError(absl::StrCat(one.what, " cannot be used")));
  }
  if (files->empty()) terminal.out << "the server was given no files of certificates or keys\n";
  terminal.out << std::flush;
  return status;
}

absl::Status RunList(const AdminFlags&, AdminClient& client, const CallOptions& options, Terminal& terminal) {
  const absl::StatusOr<LivingRequests> living = client.ListRequests(options);
  if (!living.ok()) return living.status();
  for (const LivingRequest& request : living->requests)
    terminal.out << request.request_id << " tenant=" << request.tenant << "\n";
  terminal.out << living->total << " living" << std::endl;
  return absl::OkStatus();
}

absl::Status RunCancel(const AdminFlags& flags, AdminClient& client, const CallOptions& options,
                       Terminal& terminal) {
  const absl::StatusOr<bool> found = client.CancelRequest(flags.request_id, flags.tenant, options);
  if (!found.ok()) return found.status();
  if (!*found) return absl::NotFoundError(absl::StrCat("no living request ", flags.request_id));
  terminal.out << "cancelled" << std::endl;
  return absl::OkStatus();
}

using Run = absl::Status (*)(const AdminFlags&, AdminClient&, const CallOptions&, Terminal&);

CLI::App* AddOne(CLI::App& admin, const std::string& name, const std::string& help, AdminFlags& flags) {
  CLI::App* const command = admin.add_subcommand(name, help);
  AddConnectionFlags(*command, flags.connection);
  command->get_option("--server")->envname("ROPEWAY_ADMIN_SERVER");
  return command;
}

}  // namespace

Command AddAdmin(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "admin", "Administer a server: on its --admin_listen, with an admin's ROPEWAY_API_KEY");
  command->require_subcommand(0, 1);
  const auto flags = std::make_shared<AdminFlags>();
  flags->connection.options.server = kDefaultAdminServer;
  CLI::App* const drain =
      AddOne(*command, "drain", "Take nothing new, finish what lives, and end the server", *flags);
  CLI::App* const level = AddOne(*command, "log-level", "Change how much the server logs", *flags);
  level->add_option("level", flags->level, "debug, info, warning or error")->required();
  CLI::App* const reload = AddOne(*command, "reload", "Read certificates and keys again", *flags);
  CLI::App* const list = AddOne(*command, "list", "List the living requests of all tenants", *flags);
  CLI::App* const cancel = AddOne(*command, "cancel", "End a living request of any tenant", *flags);
  cancel->add_option("request_id", flags->request_id, "The request, as list names it")->required();
  cancel->add_option("--tenant", flags->tenant, "Whose it is");
  return {command, [=](Terminal& terminal) -> absl::Status {
            const std::pair<CLI::App*, Run> commands[] = {{drain, &RunDrain},
                                                          {level, &RunLogLevel},
                                                          {reload, &RunReload},
                                                          {list, &RunList},
                                                          {cancel, &RunCancel}};
            const absl::StatusOr<ClientOptions> options = MakeClientOptions(flags->connection, terminal);
            if (!options.ok()) return options.status();
            AdminClient client(*options);
            for (const auto& [chosen, run] : commands)
              if (chosen->parsed()) return run(*flags, client, MakeCallOptions(flags->connection), terminal);
            return absl::InvalidArgumentError(
                "admin needs one of drain, log-level, reload, list and cancel (--help tells more)");
          }};
}

}  // namespace ropeway::client
