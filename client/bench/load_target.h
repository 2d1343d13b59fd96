// A server under load, behind whichever protocol.
#ifndef ROPEWAY_CLIENT_BENCH_LOAD_TARGET_H_
#define ROPEWAY_CLIENT_BENCH_LOAD_TARGET_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/bench/workload.h"
#include "client/ropeway_client.h"

namespace ropeway::client {

// What was measured of one request. Messages are those that bring tokens; times begin with its sending.
struct RequestRecord {
  absl::Status status;
  int32_t prompt_tokens = 0;
  // Of these, taken from a prefix cache.
  int32_t cached_tokens = 0;
  int32_t output_tokens = 0;
  // Of the first and the last message, and the seconds between messages.
  double first_seconds = 0;
  double last_seconds = 0;
  std::vector<double> gaps;
};

// Takes the times of a request's messages.
class MessageTimer {
 public:
  void OnMessage(RequestRecord& record) {
    const double now = Elapsed();
    if (seen_ == 0) {
      record.first_seconds = now;
    } else {
      record.gaps.push_back(now - record.last_seconds);
    }
    record.last_seconds = now;
    ++seen_;
  }
  int32_t seen() const { return seen_; }

 private:
  double Elapsed() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int32_t seen_ = 0;
};

// What all requests of a run have in common.
struct RunOptions {
  // Name on the wire; empty: the one served.
  std::string model;
  // 0: greedy.
  double temperature = 0;
  // Every answer has its full length.
  bool ignore_eos = true;
  // 0: none.
  double timeout_seconds = 0;
};

// Thread-safe.
class LoadTarget {
 public:
  virtual ~LoadTarget() = default;
  // Blocks until the answer ended.
  virtual RequestRecord Run(const WorkItem& item) = 0;
};

// Ropeway's own protocol. `client` outlives it.
std::unique_ptr<LoadTarget> MakeGrpcTarget(Client& client, const RunOptions& options);

// The streaming completions of OpenAI's API, POST SERVER/v1/completions, as llama.cpp's server and others
// have it. Of `connection` it heeds server (HOST:PORT or http://HOST:PORT), tls and api_key. The variables
// http_proxy and all_proxy (https_proxy for https) may name a proxy to it, as FindProxy says.
std::unique_ptr<LoadTarget> MakeOpenAiTarget(const ClientOptions& connection, const RunOptions& options);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_BENCH_LOAD_TARGET_H_
