#include "client/address.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::client {
namespace {

using ::ropeway::testing::IsOk;
using ::ropeway::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(AddressTest, WhatGrpcReadsIsTaken) {
  for (const char* address : {"127.0.0.1:50051", "localhost:1", "host.example:65535", "[::1]:50051",
                              "[fe80::1%eth0]:50051", "unix:/run/ropeway.sock", "unix-abstract:name",
                              "dns:///host:50051", "ipv4:10.0.0.1:50051", "ipv6:[::1]:50051"})
    EXPECT_OK(CheckAddress(address)) << address;
}

TEST(AddressTest, EveryFaultHasItsOwnWords) {
  for (const auto& [address, why] : {std::pair{"http://127.0.0.1:50051", "no scheme"},
                                     {"grpc://127.0.0.1:50051", "no scheme"},
                                     {"", "its port is missing"},
                                     {"127.0.0.1", "its port is missing"},
                                     {":50051", "its host is missing"},
                                     {"[::1:50051", "a bracket is missing"},
                                     {"::1]:50051", "a bracket is missing"},
                                     {"::1:50051", "stands in brackets"},
                                     {"host:", "its port must be a number in [1, 65535]"},
                                     {"host:0", "its port must be a number"},
                                     {"host:65536", "its port must be a number"},
                                     {"host:99999999999", "its port must be a number"},
                                     {"host:+1", "its port must be a number"},
                                     {"host:0x10", "its port must be a number"},
                                     {"host:50051/", "its port must be a number"},
                                     {" host:1", "blanks"},
                                     {"ho\nst:1", "blanks"}}) {
    EXPECT_THAT(CheckAddress(address),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("HOST:PORT"), HasSubstr(why))))
        << address;
  }
}

TEST(AddressTest, HostsAreFoundInEveryForm) {
  for (const auto& [address, host] : {std::pair{"127.0.0.1:50051", "127.0.0.1"},
                                      {"host", "host"},
                                      {"[::1]:50051", "::1"},
                                      {"dns:///host:50051", "host"},
                                      {"dns://8.8.8.8/host:50051", "host"},
                                      {"dns:host:50051", "host"},
                                      {"ipv4:10.0.0.1:50051", "10.0.0.1"},
                                      {"ipv6:[::2]:50051", "::2"},
                                      {"http://host:80/v1/completions", "host"},
                                      {"unix:/run/ropeway.sock", ""}})
    EXPECT_EQ(HostOf(address), host) << address;
}

TEST(AddressTest, LoopbackIsThisMachine) {
  for (const char* host : {"127.0.0.1", "127.8.9.10", "localhost", "LOCALHOST", "a.localhost", "localhost.",
                           "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"})
    EXPECT_TRUE(IsLoopback(host)) << host;
  for (const char* host : {"10.0.0.1", "127.0.0.1.example", "localhost.example", "host", "::2", "1127.0.0.1"})
    EXPECT_FALSE(IsLoopback(host)) << host;
}

class ProxyTest : public ::testing::Test {
 protected:
  std::optional<Proxy> Find(const std::string& host) const {
    return FindProxy(host, {"grpc_proxy", "https_proxy", "http_proxy"}, [this](const char* name) {
      const auto found = variables_.find(name);
      return found == variables_.end() ? nullptr : found->second.c_str();
    });
  }

  std::map<std::string, std::string> variables_;
};

TEST_F(ProxyTest, TheFirstVariableThatIsNotEmptyNamesIt) {
  EXPECT_FALSE(Find("10.0.0.1"));
  variables_["http_proxy"] = "http://user:secret@proxy.example:3128/";
  ASSERT_TRUE(Find("10.0.0.1"));
  EXPECT_EQ(Find("10.0.0.1")->url, "http://user:secret@proxy.example:3128/");
  EXPECT_EQ(Find("10.0.0.1")->Description(), "proxy.example:3128 (http_proxy)");
  variables_["grpc_proxy"] = "";
  EXPECT_EQ(Find("10.0.0.1")->variable, "http_proxy");
  variables_["https_proxy"] = "other:1";
  EXPECT_EQ(Find("10.0.0.1")->url, "http://other:1");
  EXPECT_EQ(Find("10.0.0.1")->Description(), "other:1 (https_proxy)");
}

TEST_F(ProxyTest, LoopbackAndSocketsHaveNone) {
  variables_["http_proxy"] = "http://proxy.example:3128";
  for (const char* host : {"127.0.0.1", "localhost", "::1", ""}) EXPECT_FALSE(Find(host)) << host;
}

TEST_F(ProxyTest, NoProxyListsSuffixes) {
  variables_["http_proxy"] = "http://proxy.example:3128";
  variables_["no_proxy"] = "intern.example, 10.0.0.1";
  EXPECT_FALSE(Find("a.intern.example"));
  EXPECT_FALSE(Find("A.INTERN.EXAMPLE"));
  EXPECT_FALSE(Find("10.0.0.1"));
  EXPECT_TRUE(Find("10.0.0.2"));
  variables_["no_proxy"] = "*";
  EXPECT_FALSE(Find("10.0.0.2"));
  variables_["no_proxy"] = ",";
  EXPECT_TRUE(Find("10.0.0.2"));
}

}  // namespace
}  // namespace ropeway::client
