// Server-sent events: the data of each event out of bytes that arrive in any pieces.
#ifndef ROPEWAY_CLIENT_BENCH_SSE_H_
#define ROPEWAY_CLIENT_BENCH_SSE_H_

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace ropeway::client {

// Not thread-safe; one per stream. Knows of an event what completions use: single "data:" lines.
class SseParser {
 public:
  static constexpr size_t kMaxLineBytes = 16 << 20;

  explicit SseParser(std::function<void(absl::string_view)> on_data) : on_data_(std::move(on_data)) {}

  // Calls on_data for each line of data that is complete. INVALID_ARGUMENT where a line is too long.
  absl::Status Feed(absl::string_view bytes);

 private:
  const std::function<void(absl::string_view)> on_data_;
  // The beginning of a line whose end is still to come.
  std::string line_;
};

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_BENCH_SSE_H_
