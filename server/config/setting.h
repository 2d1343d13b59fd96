// The settings as a list that can be walked: one for each line of settings.inc.
#ifndef ROPEWAY_SERVER_CONFIG_SETTING_H_
#define ROPEWAY_SERVER_CONFIG_SETTING_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/config/config.h"

namespace ropeway::server {

// One setting, whatever its type. `called` below is how its error names it: "--threads", "ROPEWAY_THREADS".
struct Setting {
  absl::string_view group;   // "Performance"
  absl::string_view name;    // "threads"
  absl::string_view unit;    // "threads"; empty where it has none
  absl::string_view help;    // "that compute; 0: one per processor"
  std::string range;         // "[0, 1024]", "auto, cpu, cuda"; empty for texts
  std::string default_text;  // "0"; "64, on a GPU 256"
  // The least and the most of a range, all of a choice; none for texts. For tests that try them.
  std::vector<std::string> extremes;

  // Reads a value that is not empty. INVALID_ARGUMENT, in one line, where it cannot be taken.
  std::function<absl::Status(absl::string_view called, absl::string_view text, Config&)> set;
  // Takes an empty value: none, where the help says that there is such a thing, or else the default.
  std::function<void(Config&)> set_empty;
  // As `set` refuses, for a value that is there already.
  std::function<absl::Status(const Config&)> check;
};

// In the order of settings.inc.
std::vector<Setting> Settings();

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_CONFIG_SETTING_H_
