// The syntax of a settings file: one "key = value" a line.
//
//   # a comment, on a line of its own or behind a value and white space
//   max_running = 8           # a value is the rest of the line without the white space around it
//   model = /a b/x,y.gguf     # white space and commas belong to it
//   model = "/a #1/x.gguf"    # in quotes, single or double, everything belongs to it; there are no escapes
//
// Lines may end with CR LF. The file is UTF-8 without a byte-order mark; it has no sections.
#ifndef ROPEWAY_SERVER_CONFIG_SETTINGS_FILE_H_
#define ROPEWAY_SERVER_CONFIG_SETTINGS_FILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ropeway::server {

struct SettingsFileEntry {
  std::string key;
  std::string value;  // empty where it is ""
  int line = 0;       // from 1
};

// The entries of a file's content, each key once. INVALID_ARGUMENT with `path`, the line and the word that is
// wrong.
absl::StatusOr<std::vector<SettingsFileEntry>> ParseSettingsFile(absl::string_view path,
                                                                 absl::string_view content);

// Reads and parses the file.
absl::StatusOr<std::vector<SettingsFileEntry>> ReadSettingsFile(const std::string& path);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_CONFIG_SETTINGS_FILE_H_
