// The server among crowds that mean no good: connections that say nothing, handshakes and messages that do not come
// to their end. Others are served; how fast is printed, and not asserted, since machines of tests are busy.
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "openssl/ssl.h"
#include "tests/integration/guarded_server.h"
#include "tests/testing/http2_client.h"
#include "tests/testing/patient_socket.h"

namespace ropeway::testing {
namespace {

constexpr int kSilent = 1000, kSlow = 200;
constexpr int kLimit = 100;  // of half-open connections, and of handshakes
constexpr int kAsked = 15;

// Connections of one kind, which end with this.
class Crowd {
 public:
  ~Crowd() {
    for (const int connection : connections_) close(connection);
  }
  // Each says `words`.
  void Add(int port, int count, const std::string& words) {
    for (int i = 0; i < count; ++i) {
      const int connection = PatientSocket();
      ASSERT_GE(connection, 0) << "ulimit -n is too low";
      EXPECT_TRUE(ConnectTo(port, connection));
      if (!words.empty()) (void)!send(connection, words.data(), words.size(), MSG_NOSIGNAL);
      connections_.push_back(connection);
    }
  }

 private:
  std::vector<int> connections_;
};

// What a client of TLS says first.
std::string ClientHello() {
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  SSL* const tls = SSL_new(context);
  BIO* const sent = BIO_new(BIO_s_mem());
  SSL_set_bio(tls, BIO_new(BIO_s_mem()), sent);
  SSL_connect(tls);
  char* data = nullptr;
  const long size = BIO_get_mem_data(sent, &data);
  std::string hello(data, static_cast<size_t>(size));
  SSL_free(tls);
  SSL_CTX_free(context);
  return hello;
}

class CrowdTest : public GuardedServerTest {
 protected:
  CrowdTest() {
    rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }

  // The median time to the first token of requests on new connections.
  static absl::Duration FirstToken(const client::ClientOptions& options) {
    std::vector<absl::Duration> times;
    for (int i = 0; i < kAsked; ++i) {
      const absl::Time begin = absl::Now();
      EXPECT_OK(Ask(options, ShortRequest(1)));
      times.push_back(absl::Now() - begin);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

  // Of connections for `reason`, one of the metric's.
  int Refused(const char* reason) const {
    const std::string metrics = Metrics();
    for (const absl::string_view line : absl::StrSplit(metrics, '\n'))
      if (absl::StartsWith(line, "ropeway_connections_refused_total{") &&
          absl::StrContains(line, absl::StrCat("reason=\"", reason, "\"")))
        return static_cast<int>(MetricValue(std::string(line), "ropeway_connections_refused_total"));
    ADD_FAILURE() << "no connections are counted as refused for " << reason;
    return 0;
  }

  // Waits until `count` connections at least were refused for `reason`, or had no time left; how many were.
  int AwaitRefused(const char* reason, int count) const {
    int refused = 0;
    for (const absl::Time end = absl::Now() + kPatience; absl::Now() < end && refused < count;
         absl::SleepFor(absl::Milliseconds(20)))
      refused = Refused(reason) + Refused("handshake_timeout");
    return refused;
  }

  static void Tell(const char* what, absl::Duration among, absl::Duration alone) {
    std::printf("first token among %s: %s, alone: %s, ratio %.2f\n", what,
                absl::FormatDuration(among).c_str(), absl::FormatDuration(alone).c_str(),
                absl::FDivDuration(among, alone));
  }
};

TEST_F(CrowdTest, HalfOpenConnectionsAndSlowHandshakesKeepNobodyOut) {
  server::Config config = TlsConfig();
  config.max_half_open = config.max_handshakes = kLimit;
  Start(config);
  const int port = server_->port();
  FirstToken(Options());
  const absl::Duration alone = FirstToken(Options());
  const std::string hello = ClientHello();
  {
    Crowd silent;
    silent.Add(port, kSilent, "");
    Tell("1000 half-open connections", FirstToken(Options()), alone);
    EXPECT_GE(AwaitRefused("max_half_open", kSilent - kLimit), kSilent - kLimit);
    EXPECT_LE(MetricValue(Metrics(), "ropeway_half_open_connections"), kLimit);
  }
  const int refused = Refused("max_half_open") + Refused("handshake_timeout");
  {
    Crowd slow;
    slow.Add(port, kSlow, hello.substr(0, hello.size() / 2));
    Tell("200 who say half of a ClientHello", FirstToken(Options()), alone);
    EXPECT_GE(AwaitRefused("max_half_open", refused + kSlow - kLimit), refused + kSlow - kLimit);
    EXPECT_LE(MetricValue(Metrics(), "ropeway_half_open_connections"), kLimit);
  }
  const int ended = Refused("max_handshakes") + Refused("handshake_timeout");
  Crowd slower;
  slower.Add(port, kSlow, hello);
  Tell("200 handshakes that are not gone on with", FirstToken(Options()), alone);
  EXPECT_GE(AwaitRefused("max_handshakes", ended + kSlow - kLimit), ended + kSlow - kLimit);
  EXPECT_LE(MetricValue(Metrics(), "ropeway_handshakes"), kLimit);
}

TEST_F(CrowdTest, MessagesThatDoNotEndKeepNobodyOut) {
  Start(SmallConfig());
  client::ClientOptions options = Options();
  options.tls.reset();
  FirstToken(options);
  const absl::Duration alone = FirstToken(options);
  std::vector<std::unique_ptr<Http2Client>> clients;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(std::make_unique<Http2Client>(server_->port()));
    for (int call = 0; call < 20; ++call) clients.back()->BeginEndless(1 << 20);
    for (int part = 0; part < 3; ++part) clients.back()->Pump();
  }
  Tell("1000 calls whose messages do not end", FirstToken(options), alone);
}

}  // namespace
}  // namespace ropeway::testing
