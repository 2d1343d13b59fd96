// A server under load, behind whichever protocol.
#ifndef ROPEWAY_CLIENT_BENCH_BACKEND_H_
#define ROPEWAY_CLIENT_BENCH_BACKEND_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/bench/workload.h"
#include "client/ropeway_client.h"

namespace ropeway::client {

// What was measured of one request. A message is one that brings tokens; times are from the sending of the
// request.
struct RequestRecord {
  absl::Status status;
  int32_t prompt_tokens = 0;  // tokens of the prompt
  int32_t output_tokens = 0;  // tokens generated
  double first_seconds = 0;
  double last_seconds = 0;
  std::vector<double> gaps;  // between messages
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
  std::string model;           // name on the wire; empty: the one served
  double temperature = 0;      // 0: greedy
  bool ignore_eos = true;      // every answer has its full length
  double timeout_seconds = 0;  // 0: none
};

// Thread-safe.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual RequestRecord Run(const WorkItem& item) = 0;  // blocks until the answer ended
};

// Ropeway's own protocol. `client` outlives it.
std::unique_ptr<Backend> MakeGrpcBackend(Client& client, const RunOptions& options);

// The streaming completions of OpenAI's API, POST SERVER/v1/completions, as llama.cpp's server and others
// have it. `server`: HOST:PORT or http://HOST:PORT.
std::unique_ptr<Backend> MakeOpenAiBackend(const std::string& server, const RunOptions& options);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_BENCH_BACKEND_H_
