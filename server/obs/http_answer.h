// What the metrics server answers to a request of HTTP/1: a function of bytes to bytes.
#ifndef ROPEWAY_SERVER_OBS_HTTP_ANSWER_H_
#define ROPEWAY_SERVER_OBS_HTTP_ANSWER_H_

#include <cstddef>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace ropeway::server {

inline constexpr size_t kMaxHttpHeaderBytes = 8192;

// What is served, and to whom.
struct HttpPage {
  std::function<std::string()> metrics;  // in Prometheus' text format
  // Whether a request of `peer` with this header, or without it, may read them: UNAUTHENTICATED becomes 401,
  // PERMISSION_DENIED 403. Null: everybody may.
  std::function<absl::Status(const std::optional<std::string>& authorization, absl::string_view peer)> guard =
      nullptr;
};

// The answer to the request that `received` begins with, head and body; nothing while its header has not come
// to its end. GET and HEAD of /metrics are answered with the metrics, to those whom the guard lets see them,
// all else with an error of one line. The connection is to be closed after the answer. `peer` is told to the guard.
std::optional<std::string> AnswerHttp(absl::string_view received, const HttpPage& page,
                                      absl::string_view peer = "");

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OBS_HTTP_ANSWER_H_
