#include "server/obs/log_writer.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace ropeway::server {
namespace {

// How often the thread looks whether it is to end while nobody reads.
constexpr int kPollMilliseconds = 50;

}  // namespace

struct LogWriter::State {
  State(const Options& options, GapLine gap) : options(options), gap_line(std::move(gap)) {}

  bool AllIsWritten() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return lines.empty() && gap == 0 && !is_writing;
  }
  bool HasWorkOrEnds() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return ending || !lines.empty() || gap > 0;
  }
  void Push(std::string line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    waiting_bytes += line.size();
    lines.push_back(std::move(line));
  }
  void TellGap() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (gap > 0) Push(gap_line(std::exchange(gap, 0)));
  }
  std::string Take();
  bool WriteOut(const std::string& line);
  void Run();

  const Options options;
  const GapLine gap_line;
  absl::Mutex mutex;
  std::deque<std::string> lines ABSL_GUARDED_BY(mutex);
  size_t waiting_bytes ABSL_GUARDED_BY(mutex) = 0;
  int64_t gap ABSL_GUARDED_BY(mutex) = 0;  // lines dropped since the last that was taken
  int64_t dropped ABSL_GUARDED_BY(mutex) = 0;
  bool is_writing ABSL_GUARDED_BY(mutex) = false;
  bool ending ABSL_GUARDED_BY(mutex) = false;  // what waits is not written any more
};

// The next line; empty at the end.
std::string LogWriter::State::Take() {
  absl::MutexLock lock(&mutex);
  is_writing = false;
  mutex.Await(absl::Condition(this, &State::HasWorkOrEnds));
  if (ending) return "";
  if (lines.empty()) TellGap();
  is_writing = true;
  std::string line = std::move(lines.front());
  lines.pop_front();
  waiting_bytes -= line.size();
  return line;
}

// False where it is to be given up. A write of at most PIPE_BUF bytes to a pipe with room does not block.
bool LogWriter::State::WriteOut(const std::string& line) {
  for (size_t written = 0; written < line.size();) {
    pollfd ready = {.fd = options.descriptor, .events = POLLOUT};
    if (poll(&ready, 1, kPollMilliseconds) == 0) {
      absl::MutexLock lock(&mutex);
      if (ending) return false;
      continue;
    }
    const size_t size = std::min<size_t>(line.size() - written, PIPE_BUF);
    const ssize_t count = write(options.descriptor, line.data() + written, size);
    if (count > 0) {
      written += static_cast<size_t>(count);
    } else if (errno != EINTR && errno != EAGAIN) {
      absl::MutexLock lock(&mutex);  // a full disk, a reader that has gone
      ++dropped;
      return true;
    }
  }
  return true;
}

void LogWriter::State::Run() {
  for (std::string line = Take(); !line.empty(); line = Take())
    if (!WriteOut(line)) return;
}

LogWriter::LogWriter(const Options& options, GapLine gap_line)
    : state_(std::make_shared<State>(options, std::move(gap_line))) {
  std::thread([state = state_] { state->Run(); }).detach();
}

// A thread that polls ends soon; one that is blocked in a write ends with the process.
LogWriter::~LogWriter() {
  Flush();
  absl::MutexLock lock(&state_->mutex);
  state_->ending = true;
}

void LogWriter::Flush() {
  absl::MutexLock lock(&state_->mutex);
  state_->mutex.AwaitWithTimeout(absl::Condition(state_.get(), &State::AllIsWritten),
                                 state_->options.last_patience);
}

void LogWriter::Write(std::string line) {
  absl::MutexLock lock(&state_->mutex);
  if (state_->waiting_bytes + line.size() > state_->options.max_waiting_bytes) {
    ++state_->gap;
    ++state_->dropped;
    return;
  }
  state_->TellGap();
  state_->Push(std::move(line));
}

int64_t LogWriter::dropped_lines() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->dropped;
}

}  // namespace ropeway::server
