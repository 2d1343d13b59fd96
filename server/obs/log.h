// The structured log: one line per event, "time level event key=value ...", to standard error.
//
// Thread-safe. Values are quoted where they hold anything but plain characters, so that a line stays a line
// whatever a client sends.
#ifndef ROPEWAY_SERVER_OBS_LOG_H_
#define ROPEWAY_SERVER_OBS_LOG_H_

#include <initializer_list>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace spdlog {
class logger;
namespace sinks {
class sink;
}  // namespace sinks
}  // namespace spdlog

namespace ropeway::server {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// "debug", "info", "warning" or "error"; anything else is info.
LogLevel ParseLogLevel(absl::string_view name);

struct LogField {
  LogField(absl::string_view key, const absl::AlphaNum& value) : key(key), value(value.Piece()) {}
  absl::string_view key;
  std::string value;
};

class Log {
 public:
  explicit Log(LogLevel level);                                    // to standard error
  Log(LogLevel level, std::shared_ptr<spdlog::sinks::sink> sink);  // for tests

  void Debug(absl::string_view event, std::initializer_list<LogField> fields = {}) const;
  void Info(absl::string_view event, std::initializer_list<LogField> fields = {}) const;
  void Warning(absl::string_view event, std::initializer_list<LogField> fields = {}) const;
  void Error(absl::string_view event, std::initializer_list<LogField> fields = {}) const;

 private:
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OBS_LOG_H_
