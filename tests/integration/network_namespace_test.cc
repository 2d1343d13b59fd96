// The server on an address that is not loopback, in a network of its own: nothing without a key gets in, by any
// listener; keys and tenants are kept apart; and the log tells no key.
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "proto/ropeway/v1/admin.pb.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "tests/integration/every_method.h"
#include "tests/integration/keyed_server.h"

namespace ropeway::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kAddress[] = "10.99.0.1";

bool Configure(int control, const char* interface, unsigned long request, ifreq wanted) {
  strncpy(wanted.ifr_name, interface, sizeof wanted.ifr_name - 1);
  return ioctl(control, request, &wanted) == 0;
}

// Moves this process into a network of its own that has loopback and kAddress. Empty, or why that cannot be.
std::string EnterNetwork() {
  if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
    return absl::StrCat("unshare: ", std::strerror(errno));
  const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq up = {}, address = {};
  up.ifr_flags = IFF_UP | IFF_RUNNING;
  auto* const place = reinterpret_cast<sockaddr_in*>(&address.ifr_addr);
  place->sin_family = AF_INET;
  inet_pton(AF_INET, kAddress, &place->sin_addr);
  const bool done =
      Configure(control, "lo", SIOCSIFFLAGS, up) && Configure(control, "lo:1", SIOCSIFADDR, address);
  const int error = errno;
  close(control);
  return done ? "" : absl::StrCat("setting up the network: ", std::strerror(error));
}

class NetworkNamespaceTest : public KeyedServerTest {
 protected:
  // Before there are threads, which would stay where they are.
  static void SetUpTestSuite() { why_not_ = new std::string(EnterNetwork()); }

  std::string Address(int port) const { return absl::StrCat(kAddress, ":", port); }
  // Asks everything of a listener without a key that it knows.
  int ExpectClosed(int port, const std::string& service) {
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride("localhost");
    const auto channel = grpc::CreateCustomChannel(
        Address(port), grpc::SslCredentials({.pem_root_certs = authority_.certificate()}), arguments);
    int asked = 0;
    for (const std::string& method : EveryMethod({service})) {
      for (const std::string& authorization :
           {std::string(), std::string("Bearer x"), "Bearer " + server::NewApiKey().Text()}) {
        const MethodAnswer answer = AskMethod(channel, method, authorization);
        EXPECT_TRUE(answer.is_closed()) << method << answer.status.error_message();
        ++asked;
      }
    }
    const auto plain = grpc::CreateChannel(Address(port), grpc::InsecureChannelCredentials());
    EXPECT_EQ(AskMethod(plain, "/grpc.health.v1.Health/Check", "").status.error_code(),
              grpc::StatusCode::UNAVAILABLE)
        << "without TLS";
    return asked;
  }

  static inline const std::string* why_not_ = nullptr;  // empty where this is a network of its own
};

TEST_F(NetworkNamespaceTest, NothingGetsInWithoutAKeyAndTenantsAreApart) {
  if (!why_not_->empty())
    GTEST_SKIP() << "NOT TESTED: the server on an address of a network of its own (" << *why_not_ << ")";
  const std::string alice = AddKey("alice", {.tenant = "acme"}), bob = AddKey("bob", {.tenant = "bobs"}),
                    root = AddKey("root", {.role = server::KeyRole::kAdmin});
  server::Config config = TlsConfig();
  config.listen = absl::StrCat(kAddress, ":0");
  config.admin_listen = absl::StrCat(kAddress, ":0");
  config.metrics_listen = "127.0.0.1:0";
  config.keys_file = folder_.File("keys");
  config.health_needs_key = config.metrics_needs_key = server::Needed::kYes;
  Start(config);
  EXPECT_THAT(LogText(), Not(HasSubstr("OPEN TO THE NETWORK"))) << "it has TLS and keys";
  EXPECT_GE(ExpectClosed(server_->port(), "ropeway.v1.Ropeway"), 3 * 15);
  EXPECT_GE(ExpectClosed(server_->admin_port(), "ropeway.v1.Admin"), 3 * 12);
  EXPECT_EQ(Metrics(), "not authenticated\n");
  EXPECT_EQ(HttpGet(server_->metrics_port(), "/metrics", "Authorization: Bearer " + alice),
            "not permitted\n");

  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("localhost");
  const auto channel = grpc::CreateCustomChannel(
      Address(server_->port()), grpc::SslCredentials({.pem_root_certs = authority_.certificate()}),
      arguments);
  const auto stub = v1::Ropeway::NewStub(channel);
  const auto generate = [&](const std::string& key, const std::string& tenant,
                            v1::GenerateResponse& response) {
    v1::GenerateRequest request;
    for (int i = 0; i < 100; ++i) request.mutable_text()->mutable_text()->append("Once upon a time. ");
    request.mutable_stopping()->set_max_tokens(1);
    request.set_tenant(tenant);
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + key);
    return stub->GenerateUnary(&context, request, &response);
  };
  v1::GenerateResponse first, again, other;
  EXPECT_TRUE(generate(alice, "", first).ok());
  EXPECT_TRUE(generate(alice, "acme", again).ok());
  EXPECT_TRUE(generate(bob, "", other).ok());
  EXPECT_EQ(first.receipt().cached_tokens(), 0);
  EXPECT_GT(again.receipt().cached_tokens(), 0);
  EXPECT_EQ(other.receipt().cached_tokens(), 0) << "another tenant's prefix is no hit";
  EXPECT_EQ(generate(bob, "acme", other).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  const std::string metrics = HttpGet(server_->metrics_port(), "/metrics", "Authorization: Bearer " + root);
  EXPECT_THAT(metrics, HasSubstr("ropeway_keys"));
  for (const char* name : {"acme", "bobs", "alice", "bob\""}) EXPECT_THAT(metrics, Not(HasSubstr(name)));
}

}  // namespace
}  // namespace ropeway::testing
