// A whole server with the real model on free ports of this machine, and what tests ask it over the network.
#ifndef ROPEWAY_TESTS_INTEGRATION_MODEL_SERVER_H_
#define ROPEWAY_TESTS_INTEGRATION_MODEL_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "client/ropeway_client.h"
#include "server/config/config.h"
#include "server/obs/log.h"
#include "server/server.h"

namespace ropeway::testing {

inline constexpr char kModelPath[] = "models/SmolLM2-135M-Instruct.Q4_1.gguf";

// The body of http://127.0.0.1:`port``path`, asked with a header where one is given; empty where there is no
// answer.
std::string HttpGet(int port, const std::string& path, const std::string& header = "");

// The value of a metric in Prometheus' text form, added up over its labels; 0 where there is none.
double MetricValue(std::string_view text, std::string_view name);

// A small KV cache, so that pages are scarce enough to be missed.
server::Config SmallConfig();

class ModelServer {
 public:
  explicit ModelServer(const server::Config& config = SmallConfig(),
                       const server::ModelLoader& load = server::LoadModel);

  server::Server& server() { return *server_; }
  std::string address() const;
  std::string Metrics() const { return HttpGet(server_->metrics_port(), "/metrics"); }

  // Waits until no request lives and every page is free; false where that takes longer than `patience`.
  bool WaitUntilIdle(absl::Duration patience);

 private:
  const server::Log log_{server::LogLevel::kError};
  std::unique_ptr<server::Server> server_;
  std::unique_ptr<client::Client> client_;
};

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_INTEGRATION_MODEL_SERVER_H_
