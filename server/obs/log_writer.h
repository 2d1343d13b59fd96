// Writes lines to a file descriptor by a thread of its own, so that nobody else ever waits for whoever reads
// them: a pipe that nobody empties costs lines and nothing else.
//
// Thread-safe. Bounded: lines that do not fit are dropped, counted, and told in a line of their own where
// they are missing.
#ifndef ROPEWAY_SERVER_OBS_LOG_WRITER_H_
#define ROPEWAY_SERVER_OBS_LOG_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"

namespace ropeway::server {

class LogWriter {
 public:
  struct Options {
    int descriptor = 2;                               // not closed; may be shared with other programs
    size_t max_waiting_bytes = 1 << 20;               // of lines that wait to be written
    absl::Duration last_patience = absl::Seconds(1);  // of Flush()
  };
  // The line that tells of `count` dropped ones.
  using GapLine = std::function<std::string(int64_t count)>;

  LogWriter(const Options& options, GapLine gap_line);
  ~LogWriter();  // flushes
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // `line` ends with a newline. Returns at once.
  void Write(std::string line);

  // Waits until all lines are written, but no longer than `last_patience`.
  void Flush();

  int64_t dropped_lines() const;

 private:
  struct State;
  // Shared with the thread, which may outlive this object: a write that blocks cannot be ended.
  const std::shared_ptr<State> state_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OBS_LOG_WRITER_H_
