// A server of the real model behind TLS, with its certificates, its files and its log in a folder of its own.
#ifndef ROPEWAY_TESTS_INTEGRATION_GUARDED_SERVER_H_
#define ROPEWAY_TESTS_INTEGRATION_GUARDED_SERVER_H_

#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/ropeway_client.h"
#include "gtest/gtest.h"
#include "server/server.h"
#include "tests/integration/model_server.h"
#include "tests/testing/certificates.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::testing {

class GuardedServerTest : public ::testing::Test {
 protected:
  GuardedServerTest() {
    PutCertificate(authority_.Sign("server"));
    folder_.Write("ca.pem", authority_.certificate());
  }

  // TLS; clients need no certificate.
  server::Config TlsConfig() const {
    server::Config config = SmallConfig();
    config.tls_cert = folder_.File("cert.pem");
    config.tls_key = folder_.File("key.pem");
    config.reload_interval = absl::Milliseconds(100);
    return config;
  }

  void Start(const server::Config& config) {
    auto server = server::Server::Start(config, log_);
    ASSERT_OK(server);
    server_ = *std::move(server);
  }

  void PutCertificate(const Certified& certified) const {
    folder_.Write("cert.pem", certified.certificate);
    folder_.Write("key.pem", certified.key);
  }

  // Of a client that trusts the authority.
  client::ClientOptions Options(const std::optional<Certified>& own = std::nullopt) const {
    client::TlsOptions tls = {.authorities = authority_.certificate()};
    if (own) tls.certificate = own->certificate, tls.key = own->key;
    return {.server = absl::StrCat("127.0.0.1:", server_->port()), .tls = tls, .retry = {.max_attempts = 1}};
  }

  static client::Request ShortRequest(int max_tokens = 2) {
    return {.prompt = client::TextPrompt{.text = "Once upon a time"},
            .sampling = {.temperature = 0.f},
            .stopping = {.max_tokens = max_tokens, .ignore_eos = true}};
  }

  static absl::Status Ask(const client::ClientOptions& options,
                          const client::Request& request = ShortRequest()) {
    return client::Client::Create(options)->Generate(request, {.timeout = kPatience}).status;
  }

  std::string Metrics() const { return HttpGet(server_->metrics_port(), "/metrics"); }

  // Waits until so many requests wait for a limit of their key; whether they do.
  bool AwaitQueued(int count) const {
    for (const absl::Time end = absl::Now() + kPatience; absl::Now() < end;
         absl::SleepFor(absl::Milliseconds(5))) {
      if (MetricValue(Metrics(), "ropeway_key_requests_queued") == count) return true;
    }
    return false;
  }

  std::string LogText() const {
    log_.Flush();
    std::ifstream file(folder_.File("log"));
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  // Waits until the log has `count` lines with `text`; how many it has.
  int WaitForLog(const std::string& text, int count) const {
    int found = 0;
    for (const absl::Time end = absl::Now() + kPatience; absl::Now() < end;
         absl::SleepFor(absl::Milliseconds(20))) {
      found = 0;
      const std::string log = LogText();
      for (size_t at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) ++found;
      if (found >= count) break;
    }
    return found;
  }

  const TempFolder folder_;
  const TestAuthority authority_{"authority"};
  const int log_file_ = open(folder_.File("log").c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  const server::Log log_{server::LogLevel::kDebug, {.descriptor = log_file_}};
  std::unique_ptr<server::Server> server_;
};

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_INTEGRATION_GUARDED_SERVER_H_
