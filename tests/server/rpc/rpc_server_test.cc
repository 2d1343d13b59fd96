// The server against clients that gRPC's own client cannot play.
#include "server/rpc/rpc_server.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "grpcpp/grpcpp.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "tests/testing/http2_client.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::Http2Client;
using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(30);

TEST(RpcServerTest, MessagesThatNeverEndAreResetBeforeTheyTakeTheMemory) {
  constexpr int kCalls = 64;
  constexpr uint32_t kLength = 1 << 20;
  v1::Ropeway::CallbackService service;
  ASSERT_OK_AND_ASSIGN(const auto server,
                       RpcServer::Start({.address = "127.0.0.1:0", .max_message_memory = 16 << 20}, service));
  Http2Client client(server->port());
  for (int i = 0; i < kCalls; ++i) client.BeginEndless(kLength);
  for (const absl::Time end = absl::Now() + kPatience; client.resets() < kCalls / 2 && absl::Now() < end;)
    client.Pump();
  EXPECT_GE(client.resets(), kCalls / 2);

  const auto stub = v1::Ropeway::NewStub(
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", server->port()), grpc::InsecureChannelCredentials()));
  grpc::Status status;
  for (const absl::Time end = absl::Now() + kPatience; absl::Now() < end;) {
    grpc::ClientContext call;
    v1::GetServerInfoResponse response;
    status = stub->GetServerInfo(&call, {}, &response);
    if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) break;  // the service was reached
  }
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << status.error_message();
  server->Shutdown(absl::ZeroDuration());
}

// Pings `count` times, one each `interval`, while a call waits where there is one; or until it is sent away.
void PingOften(Http2Client& client, int count, absl::Duration interval) {
  for (int i = 0; i < count && !client.going_away(); ++i) {
    client.Ping();
    for (const absl::Time end = absl::Now() + interval; absl::Now() < end;) client.Pump();
  }
}

TEST(RpcServerTest, ClientsMayPingAsOftenAsPromisedWithCallsAndWithout) {
  constexpr absl::Duration kInterval = absl::Milliseconds(100);
  EXPECT_LT(RpcServer::Options().min_ping_interval, RpcServer::kPromisedPingInterval);
  EXPECT_LE(RpcServer::kPromisedPingInterval, absl::Seconds(5));
  v1::Ropeway::CallbackService service;
  ASSERT_OK_AND_ASSIGN(
      const auto server,
      RpcServer::Start({.address = "127.0.0.1:0", .min_ping_interval = kInterval / 2}, service));
  for (const bool with_call : {false, true}) {
    Http2Client polite(server->port());
    if (with_call) polite.BeginEndless(1000);
    PingOften(polite, 12, kInterval);
    EXPECT_FALSE(polite.going_away()) << with_call;
    EXPECT_GE(polite.pongs(), 11) << with_call;
    Http2Client rude(server->port());
    if (with_call) rude.BeginEndless(1000);
    PingOften(rude, 12, absl::Milliseconds(5));
    EXPECT_TRUE(rude.going_away()) << with_call;
  }
  server->Shutdown(absl::ZeroDuration());
}

TEST(RpcServerTest, ClientsThatVanishLoseTheirConnection) {
  v1::Ropeway::CallbackService service;
  ASSERT_OK_AND_ASSIGN(const auto server, RpcServer::Start({.address = "127.0.0.1:0",
                                                            .ping_interval = absl::Milliseconds(1100),
                                                            .ping_timeout = absl::Milliseconds(100)},
                                                           service));
  Http2Client client(server->port());
  client.BeginEndless(1000);
  for (int i = 0; i < 100; ++i) client.Pump();
  absl::SleepFor(absl::Seconds(3));  // in which it answers nothing
  for (const absl::Time end = absl::Now() + kPatience; !client.closed() && absl::Now() < end;) client.Pump();
  EXPECT_TRUE(client.closed());
  server->Shutdown(absl::ZeroDuration());
}

TEST(RpcServerTest, RefusesConnectionsBeyondTheOpenFilesAndSaysSo) {
  v1::Ropeway::CallbackService service;
  absl::Mutex mutex;
  std::vector<absl::Status> troubles;
  ASSERT_OK_AND_ASSIGN(const auto server, RpcServer::Start({.address = "127.0.0.1:0",
                                                            .connections = {.max_descriptor = 1},
                                                            .on_trouble =
                                                                [&](const absl::Status& status) {
                                                                  absl::MutexLock lock(&mutex);
                                                                  troubles.push_back(status);
                                                                }},
                                                           service));
  Http2Client client(server->port());
  for (const absl::Time end = absl::Now() + kPatience; !client.closed() && absl::Now() < end;) client.Pump();
  EXPECT_TRUE(client.closed());
  absl::MutexLock lock(&mutex);
  ASSERT_FALSE(troubles.empty());
  EXPECT_THAT(troubles[0], StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("refused")));
  server->Shutdown(absl::ZeroDuration());
}

TEST(RpcServerTest, MetadataBeyondTheLimitIsRefusedByName) {
  v1::Ropeway::CallbackService service;
  ASSERT_OK_AND_ASSIGN(const auto server,
                       RpcServer::Start({.address = "127.0.0.1:0", .max_header_bytes = 2048}, service));
  const auto stub = v1::Ropeway::NewStub(
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", server->port()), grpc::InsecureChannelCredentials()));
  for (const int bytes : {100, 4000}) {
    grpc::ClientContext call;
    call.AddMetadata("x", std::string(bytes, 'x'));
    v1::GetServerInfoResponse response;
    EXPECT_EQ(stub->GetServerInfo(&call, {}, &response).error_code(),
              bytes < 2048 ? grpc::StatusCode::UNIMPLEMENTED : grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
  server->Shutdown(absl::ZeroDuration());
}

TEST(RpcServerTest, ConnectionsWithoutACallAreClosedInTime) {
  v1::Ropeway::CallbackService service;
  ASSERT_OK_AND_ASSIGN(
      const auto server,
      RpcServer::Start({.address = "127.0.0.1:0", .idle_timeout = absl::Seconds(1)}, service));
  Http2Client idle(server->port()), busy(server->port());
  busy.BeginEndless(1000);
  for (const absl::Time end = absl::Now() + kPatience; !idle.going_away() && absl::Now() < end;) {
    idle.Pump();
    busy.Pump();
  }
  EXPECT_TRUE(idle.going_away());
  EXPECT_FALSE(busy.going_away());
  server->Shutdown(absl::ZeroDuration());
}

TEST(RpcServerTest, APortInUseIsAnErrorThatNamesTheAddress) {
  v1::Ropeway::Service service;
  ASSERT_OK_AND_ASSIGN(const auto first, RpcServer::Start({.address = "127.0.0.1:0"}, service));
  v1::Ropeway::Service other;
  const std::string address = absl::StrCat("127.0.0.1:", first->port());
  EXPECT_THAT(RpcServer::Start({.address = address}, other),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(address)));
}

}  // namespace
}  // namespace ropeway::server
