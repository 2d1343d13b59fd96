// ropeway keys: the file of keys that a server is given with --keys_file. Asks no server.
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/request_flags.h"
#include "server/keys/key_file.h"

namespace ropeway::client {
namespace {

constexpr char kFileVariable[] = "ROPEWAY_KEYS_FILE";

struct KeysFlags {
  std::string file;
  server::KeyEntry entry;
  std::string role = "user";
  std::string limits;
};

absl::Status AsFlag(absl::string_view flag, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(flag, ": ", status.message()));
}

absl::Status RunAdd(const KeysFlags& flags, Terminal& terminal) {
  server::KeyEntry entry = flags.entry;
  for (const server::KeyRole role : {server::KeyRole::kMonitor, server::KeyRole::kAdmin})
    if (flags.role == server::RoleName(role)) entry.role = role;
  if (!flags.limits.empty()) {
    const absl::StatusOr<server::KeyLimits> limits = server::ParseKeyLimits(flags.limits);
    if (!limits.ok()) return AsFlag("--limits", limits.status());
    entry.limits = *limits;
  }
  const server::ApiKey key = server::NewApiKey();
  if (entry.subject.empty()) entry.hash = server::HashApiKey(key);
  if (const absl::Status added = server::AddToKeyFile(flags.file, entry); !added.ok()) return added;
  if (!entry.hash) return absl::OkStatus();
  terminal.out << key.Text() << std::endl;
  terminal.err << "This is the only time that the key is shown; its holder sets ROPEWAY_API_KEY to it."
               << std::endl;
  return absl::OkStatus();
}

std::string Limit(absl::string_view name, const auto& value) {
  return value ? absl::StrCat(" ", name, "=", *value) : "";
}

absl::Status RunList(const KeysFlags& flags, Terminal& terminal) {
  const absl::StatusOr<std::vector<server::KeyEntry>> entries = server::ReadKeyFile(flags.file);
  if (!entries.ok()) return entries.status();
  for (const server::KeyEntry& entry : *entries) {
    terminal.out << entry.name << " role=" << std::string(server::RoleName(entry.role));
    if (entry.hash) terminal.out << " id=" << entry.hash->id;
    if (!entry.subject.empty()) terminal.out << " subject=\"" << entry.subject << "\"";
    if (!entry.tenant.empty()) terminal.out << " tenant=" << entry.tenant;
    if (entry.any_tenant) terminal.out << " tenants=any";
    terminal.out << Limit("running", entry.limits.running) << Limit("queued", entry.limits.queued)
                 << Limit("tokens_per_minute", entry.limits.tokens_per_minute)
                 << Limit("kv_pages", entry.limits.kv_pages) << "\n";
  }
  terminal.out << std::flush;
  return absl::OkStatus();
}

absl::Status RunRemove(const KeysFlags& flags, Terminal&) {
  return server::RemoveFromKeyFile(flags.file, flags.entry.name);
}

CLI::App* AddOne(CLI::App& keys, const std::string& name, const std::string& help, KeysFlags& flags) {
  CLI::App* const command = keys.add_subcommand(name, help);
  command->add_option("--file", flags.file, "The file of keys")
      ->type_name(kPathType)
      ->envname(kFileVariable)
      ->required();
  return command;
}

void AddEntryFlags(CLI::App& add, KeysFlags& flags) {
  add.add_option("--tenant", flags.entry.tenant, "Whose its requests are; required for a user's key");
  add.add_flag("--any_tenant", flags.entry.any_tenant, "Its requests may name other tenants");
  add.add_option("--role", flags.role,
                 "user: generates. monitor: sees state and metrics. admin: that, and administers")
      ->check(CLI::IsMember({"user", "monitor", "admin"}))
      ->capture_default_str();
  add.add_option("--limits", flags.limits,
                 "Any of running=N,queued=N,tokens_per_minute=N,kv_pages=N; none of what is left out");
  add.add_option("--subject", flags.entry.subject,
                 "Let in the TLS certificate of this subject (\"CN=...,O=...\") instead of a key");
}

}  // namespace

Command AddKeys(CLI::App& app) {
  CLI::App* const command =
      app.add_subcommand("keys", "Make, list and remove the keys of a server's --keys_file");
  command->require_subcommand(0, 1);
  const auto flags = std::make_shared<KeysFlags>();
  CLI::App* const add = AddOne(*command, "add", "Make a key and print it, this once", *flags);
  add->add_option("name", flags->entry.name, "Names the key in file and lists")->required();
  AddEntryFlags(*add, *flags);
  CLI::App* const list = AddOne(*command, "list", "List the keys, without what opens", *flags);
  CLI::App* const remove =
      AddOne(*command, "remove", "Remove a key: its holder is not let in any more", *flags);
  remove->add_option("name", flags->entry.name, "The key to remove")->required();
  return {command, [=](Terminal& terminal) -> absl::Status {
            if (add->parsed()) return RunAdd(*flags, terminal);
            if (list->parsed()) return RunList(*flags, terminal);
            if (remove->parsed()) return RunRemove(*flags, terminal);
            return absl::InvalidArgumentError("keys needs one of add, list and remove (--help tells more)");
          }};
}

}  // namespace ropeway::client
