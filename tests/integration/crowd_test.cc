// The server among crowds that mean no good: connections that say nothing, handshakes and messages that do not come
// to their end. Others are served; how fast is printed, and not asserted, since machines of tests are busy.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "openssl/ssl.h"
#include "tests/integration/guarded_server.h"
#include "tests/testing/http2_client.h"

namespace ropeway::testing {
namespace {

constexpr int kSilent = 1000, kSlow = 200;
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
      const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      ASSERT_GE(connection, 0) << "ulimit -n is too low";
      sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      EXPECT_EQ(connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
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

  static void Tell(const char* what, absl::Duration among, absl::Duration alone) {
    std::printf("first token among %s: %s, alone: %s, ratio %.2f\n", what,
                absl::FormatDuration(among).c_str(), absl::FormatDuration(alone).c_str(),
                absl::FDivDuration(among, alone));
  }
};

TEST_F(CrowdTest, HalfOpenConnectionsAndSlowHandshakesKeepNobodyOut) {
  Start(TlsConfig());
  const int port = server_->port();
  FirstToken(Options());
  const absl::Duration alone = FirstToken(Options());
  const std::string hello = ClientHello();
  {
    Crowd silent;
    silent.Add(port, kSilent, "");
    Tell("1000 half-open connections", FirstToken(Options()), alone);
    EXPECT_GE(MetricValue(Metrics(), "ropeway_connections_refused_total"), kSilent - 512);
  }
  {
    Crowd slow;
    slow.Add(port, kSlow, hello.substr(0, hello.size() / 2));
    Tell("200 who say half of a ClientHello", FirstToken(Options()), alone);
  }
  Crowd slower;
  slower.Add(port, kSlow, hello);
  Tell("200 handshakes that are not gone on with", FirstToken(Options()), alone);
  EXPECT_LE(MetricValue(Metrics(), "ropeway_handshakes"), 256);
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
