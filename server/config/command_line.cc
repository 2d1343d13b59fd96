#include "server/config/command_line.h"

#include <cstdlib>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "engine/base/status_macros.h"
#include "server/config/setting.h"
#include "server/config/setting_value.h"
#include "server/config/settings_file.h"

namespace ropeway::server {
namespace {

constexpr char kVersionText[] = "ropeway_server " ROPEWAY_VERSION "\n";
constexpr char kEnvironmentPrefix[] = "ROPEWAY_";
constexpr char kConfigFlag[] = "config";
constexpr char kHint[] = "ropeway_server --help lists the settings";

// What one "--name=value" or "--name value" of the command line says.
struct Flag {
  std::string name;
  std::string value;
};

struct Flags {
  std::vector<Flag> flags;  // in their order
  bool help = false, version = false;
};

absl::StatusOr<Flags> SplitCommandLine(int argc, const char* const* argv) {
  Flags split;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    split.help |= argument == "--help" || argument == "-h";
    split.version |= argument == "--version";
    if (split.help || split.version) continue;
    if (!absl::ConsumePrefix(&argument, "--")) {
      return absl::InvalidArgumentError(
          absl::StrCat("unexpected argument ", Quoted(argument), ": a setting is --name=value; ", kHint));
    }
    const size_t equals = argument.find('=');
    if (equals != absl::string_view::npos) {
      split.flags.push_back(
          {std::string(argument.substr(0, equals)), std::string(argument.substr(equals + 1))});
      continue;
    }
    if (i + 1 == argc || absl::StartsWith(argv[i + 1], "--")) {
      return absl::InvalidArgumentError(absl::StrCat(
          Quoted(argv[i]), " has no value: write --name=value, also for one that begins with --"));
    }
    split.flags.push_back({std::string(argument), argv[++i]});
  }
  return split;
}

const char* FromEnvironment(absl::string_view name) {
  return std::getenv(absl::StrCat(kEnvironmentPrefix, absl::AsciiStrToUpper(name)).c_str());
}

// The settings by name, set into one Config.
class Setter {
 public:
  const std::vector<Setting>& settings() const { return settings_; }

  // False where there is no setting of this name.
  bool Has(absl::string_view name) const { return Find(name) != nullptr; }

  // REQUIRES: Has(name).
  absl::Status Set(absl::string_view called, absl::string_view name, absl::string_view value) {
    const Setting& setting = *Find(name);
    if (!value.empty()) return setting.set(called, value, config_);
    setting.set_empty(config_);
    return absl::OkStatus();
  }

  const Config& config() const { return config_; }

 private:
  const Setting* Find(absl::string_view name) const {
    for (const Setting& setting : settings_)
      if (setting.name == name) return &setting;
    return nullptr;
  }

  const std::vector<Setting> settings_ = Settings();
  Config config_;
};

absl::Status ApplyFile(const std::string& path, Setter& setter) {
  if (const absl::Status checked = CheckPath(path); !checked.ok())
    return absl::InvalidArgumentError(absl::StrCat("--", kConfigFlag, " ", checked.message()));
  ASSIGN_OR_RETURN(const std::vector<SettingsFileEntry> entries, ReadSettingsFile(path));
  for (const SettingsFileEntry& entry : entries) {
    const std::string place = absl::StrCat(path, ":", entry.line, ": ");
    if (!setter.Has(entry.key))
      return absl::InvalidArgumentError(
          absl::StrCat(place, "unknown setting ", Quoted(entry.key), "; ", kHint));
    RETURN_IF_ERROR(setter.Set(absl::StrCat(place, entry.key), entry.key, entry.value));
  }
  return absl::OkStatus();
}

absl::Status ApplyEnvironment(Setter& setter) {
  for (const Setting& setting : setter.settings()) {
    const char* const value = FromEnvironment(setting.name);
    if (value == nullptr) continue;
    const std::string called = absl::StrCat(kEnvironmentPrefix, absl::AsciiStrToUpper(setting.name));
    RETURN_IF_ERROR(setter.Set(called, setting.name, value));
  }
  return absl::OkStatus();
}

absl::Status ApplyFlags(const Flags& split, Setter& setter) {
  for (const Flag& flag : split.flags) {
    if (flag.name == kConfigFlag) continue;
    if (!setter.Has(flag.name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown setting ", Quoted(absl::StrCat("--", flag.name)), "; ", kHint));
    }
    RETURN_IF_ERROR(setter.Set(absl::StrCat("--", flag.name), flag.name, flag.value));
  }
  return absl::OkStatus();
}

// Empty where no settings file is named.
std::string SettingsPath(const Flags& split) {
  const char* const variable = FromEnvironment(kConfigFlag);
  std::string path = variable == nullptr ? "" : variable;
  for (const Flag& flag : split.flags)
    if (flag.name == kConfigFlag) path = flag.value;
  return path;
}

std::string HelpText() {
  std::string text =
      "Serves a language model over gRPC (ropeway.v1).\n"
      "\n"
      "Usage: ropeway_server --model=FILE [--name=value...]\n"
      "\n"
      "Every setting can be given in the environment, too (ROPEWAY_MAX_RUNNING for --max_running), or in a "
      "file.\n"
      "The command line wins over the environment, and that over the file. An empty value is the default.\n"
      "\n"
      "  --help     print this\n"
      "  --version  print the version\n"
      "  --config   path of a settings file with lines \"max_running = 8\"\n";
  absl::string_view group;
  for (const Setting& setting : Settings()) {
    if (setting.group != group) absl::StrAppend(&text, "\n", setting.group, "\n");
    group = setting.group;
    absl::StrAppend(&text, "  --", setting.name, "\n      ", setting.unit, setting.unit.empty() ? "" : " ",
                    setting.help, "\n");
    if (!setting.range.empty()) absl::StrAppend(&text, "      range ", setting.range, "\n");
    if (!setting.default_text.empty()) absl::StrAppend(&text, "      default ", setting.default_text, "\n");
  }
  return text;
}

}  // namespace

absl::StatusOr<std::variant<Config, PrintAndLeave>> ParseCommandLine(int argc, const char* const* argv) {
  ASSIGN_OR_RETURN(const Flags split, SplitCommandLine(argc, argv));
  if (split.help) return PrintAndLeave{HelpText()};
  if (split.version) return PrintAndLeave{kVersionText};
  Setter setter;
  if (const std::string path = SettingsPath(split); !path.empty()) RETURN_IF_ERROR(ApplyFile(path, setter));
  RETURN_IF_ERROR(ApplyEnvironment(setter));
  RETURN_IF_ERROR(ApplyFlags(split, setter));
  RETURN_IF_ERROR(setter.config().Validate());
  return setter.config();
}

}  // namespace ropeway::server
