// The structured log: one line per event, "time level event key=value ...", to standard error.
//
// Thread-safe, and never waits for whoever reads it (log_writer.h). Values are quoted where they hold
// anything but plain characters, so that a line stays a line whatever a client sends.
#ifndef ROPEWAY_SERVER_OBS_LOG_H_
#define ROPEWAY_SERVER_OBS_LOG_H_

#include <atomic>
#include <initializer_list>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/obs/log_level.h"
#include "server/obs/log_writer.h"

namespace ropeway::server {

struct LogField {
  LogField(absl::string_view key, const absl::AlphaNum& value) : key(key), value(value.Piece()) {}
  absl::string_view key;
  std::string value;
};

class Log {
 public:
  explicit Log(LogLevel level, const LogWriter::Options& options = {});

  void Debug(absl::string_view event, std::initializer_list<LogField> fields = {}) const;
  void Info(absl::string_view event, std::initializer_list<LogField> fields = {}) const;
  void Warning(absl::string_view event, std::initializer_list<LogField> fields = {}) const;
  void Error(absl::string_view event, std::initializer_list<LogField> fields = {}) const;

  // Returns the level before.
  LogLevel SetLevel(LogLevel level) const { return level_.exchange(level, std::memory_order_relaxed); }

  // A line as it is, whatever the level: why a program cannot start.
  void Verbatim(absl::string_view line) const { writer_.Write(absl::StrCat(line, "\n")); }

  // Waits until all is written, but not long. For the end of a process; an object flushes as it goes.
  void Flush() const { writer_.Flush(); }

  // Lines that could not be written, since nobody took them.
  int64_t dropped_lines() const { return writer_.dropped_lines(); }

 private:
  void Write(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields) const;

  mutable std::atomic<LogLevel> level_;
  mutable LogWriter writer_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OBS_LOG_H_
