#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/net/address.h"
#include "server/net/listener.h"
#include "tests/testing/patient_socket.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::ConnectTo;
using ::ropeway::testing::PatientSocket;
using ::ropeway::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(AddressTest, ReadsNamesAndNumbers) {
  const std::vector<std::pair<const char*, Address>> cases = {
      {"127.0.0.1:80", {"127.0.0.1", 80}}, {"localhost:0", {"localhost", 0}},
      {"[::1]:65535", {"::1", 65535}},     {"[::]:010", {"::", 10}},
      {"a-b_c.d:1", {"a-b_c.d", 1}},       {"[fe80::1%eth0]:7", {"fe80::1%eth0", 7}},
  };
  for (const auto& [text, expected] : cases) {
    ASSERT_OK_AND_ASSIGN(const Address address, ParseAddress(text));
    EXPECT_EQ(address.host, expected.host);
    EXPECT_EQ(address.port, expected.port);
  }
}

TEST(AddressTest, EachMistakeHasItsOwnWords) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"", "no port"},
      {"here", "no port"},
      {"here:", "no port"},
      {"[::1]", "no port"},
      {"[::1]:", "no port"},
      {":80", "no host"},
      {"http://here:80", "leave away \"http://\""},
      {"unix:///a/b", "leave away \"unix://\""},
      {"here:65536", "the port must be in [0, 65535], is 65536"},
      {"here:99999999999999999999", "the port must be in [0, 65535], is 99999999999999999999"},
      {"here:http", "decimal number in [0, 65535], is \"http\""},
      {"here:0x50", "decimal number"},
      {"here:-1", "decimal number"},
      {"here:+1", "decimal number"},
      {"here: 1", "decimal number"},
      {"here:80/metrics", "decimal number"},
      {"[::1:80", "bracket is not closed"},
      {"::1]:80", "bracket is not opened"},
      {"::1", "stands in brackets"},
      {"::1:80", "stands in brackets"},
      {"a:b:80", "stands in brackets"},
      {"[::1]80", "colon and the port must follow"},
      {"[localhost]:80", "no IPv6 address"},
      {"[]:80", "no IPv6 address"},
      {"a b:80", "a host has no \" \""},
      {"a\n:80", "a host has no \"\\n\""},
      {std::string(300, 'a') + ":80", "at most 253 bytes"},
  };
  for (const auto& [text, words] : cases)
    EXPECT_THAT(ParseAddress(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(words))) << text;
}

bool Connects(int family, int port) {
  const int connection = PatientSocket(family);
  sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(static_cast<uint16_t>(port))};
  v6.sin6_addr = in6addr_loopback;
  const bool connects = family == AF_INET6
                            ? connect(connection, reinterpret_cast<sockaddr*>(&v6), sizeof v6) == 0
                            : ConnectTo(port, connection);
  close(connection);
  return connects;
}

TEST(ListenerTest, TakesAFreePortAndGivesItBack) {
  int port = 0;
  {
    ASSERT_OK_AND_ASSIGN(const Listener listener, Listener::Listen("127.0.0.1:0"));
    port = listener.port();
    EXPECT_TRUE(Connects(AF_INET, port));
  }
  EXPECT_FALSE(Connects(AF_INET, port));
}

TEST(ListenerTest, ListensWithIpv6) {
  const absl::StatusOr<Listener> loopback = Listener::Listen("[::1]:0");
  if (!loopback.ok()) {
    EXPECT_THAT(loopback, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot listen at [::1]:0: ")));
    GTEST_SKIP() << loopback.status();
  }
  EXPECT_TRUE(Connects(AF_INET6, loopback->port()));
  ASSERT_OK_AND_ASSIGN(const Listener all, Listener::Listen("[::]:0"));
  EXPECT_TRUE(Connects(AF_INET6, all.port()));
  EXPECT_TRUE(Connects(AF_INET, all.port()));
}

TEST(ListenerTest, ANameMayHaveSeveralAddresses) {
  ASSERT_OK_AND_ASSIGN(const Listener listener, Listener::Listen("localhost:0"));
  EXPECT_TRUE(Connects(AF_INET, listener.port()) || Connects(AF_INET6, listener.port()));
}

TEST(ListenerTest, SaysWhyItCannot) {
  ASSERT_OK_AND_ASSIGN(const Listener first, Listener::Listen("127.0.0.1:0"));
  const std::string taken = absl::StrCat("127.0.0.1:", first.port());
  const std::vector<std::pair<std::string, const char*>> cases = {
      {taken, "address in use"},
      {"192.0.2.1:0", "not an address of this machine"},
      {"no-such-host.invalid:0", "the host \"no-such-host.invalid\" cannot be resolved"},
      {"1.2.3.4.5:0", "cannot be resolved"},
      {"here", "no port"},
  };
  for (const auto& [address, words] : cases) {
    EXPECT_THAT(Listener::Listen(address),
                StatusIs(absl::StatusCode::kUnavailable,
                         AllOf(HasSubstr(absl::StrCat("cannot listen at ", address)), HasSubstr(words))));
  }
}

}  // namespace
}  // namespace ropeway::server
