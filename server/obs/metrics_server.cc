#include "server/obs/metrics_server.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "prometheus/exposer.h"

namespace ropeway::server {
namespace {

// Connects to a port of this machine and leaves, where anybody listens there.
void ConnectOnce(absl::string_view host, int port) {
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  const addrinfo hints = {.ai_flags = AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  if (getaddrinfo(std::string(host).c_str(), absl::StrCat(port).c_str(), &hints, &found) != 0) return;
  const int connection =
      socket(found->ai_family, found->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, found->ai_protocol);
  if (connection >= 0) {
    (void)connect(connection, found->ai_addr, found->ai_addrlen);
    close(connection);
  }
  freeaddrinfo(found);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(
    const std::string& address, std::shared_ptr<prometheus::Collectable> metrics) {
  try {
    // A client that does not come to the end of its request holds a thread: there are some, and not for long.
    const std::vector<std::string> options = {"listening_ports",    address, "num_threads", "8",
                                              "request_timeout_ms", "2000"};
    auto exposer = std::make_unique<prometheus::Exposer>(options);
    exposer->RegisterCollectable(metrics);
    const std::vector<int> ports = exposer->GetListeningPorts();
    const int port = ports.empty() ? 0 : ports.front();
    return absl::WrapUnique(new MetricsServer(std::move(exposer), std::move(metrics),
                                              address.substr(0, address.rfind(':')), port));
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen for metrics at ", address, ": address in use or not this machine's"));
  }
}

MetricsServer::MetricsServer(std::unique_ptr<prometheus::Exposer> exposer,
                             std::shared_ptr<prometheus::Collectable> metrics, std::string host, int port)
    : metrics_(std::move(metrics)), exposer_(std::move(exposer)), host_(std::move(host)), port_(port) {}

// The HTTP library looks whether it is to end only every two seconds, or when somebody connects.
MetricsServer::~MetricsServer() {
  std::atomic<bool> ended = false;
  std::thread ending([&] {
    exposer_ = nullptr;
    ended = true;
  });
  while (!ended) {
    ConnectOnce(host_, port_);
    absl::SleepFor(absl::Milliseconds(5));
  }
  ending.join();
}

}  // namespace ropeway::server
