#include "server/net/acceptor.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "tests/testing/patient_socket.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::ConnectTo;
using ::ropeway::testing::PatientSocket;
using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

// Keeps what is accepted, and what was wrong.
class Connections {
 public:
  ~Connections() { CloseAll(); }

  Acceptor::Handler Handler() {
    return {.on_connection =
                [this](int connection) {
                  absl::MutexLock lock(&mutex_);
                  connections_.push_back(connection);
                  const auto may_go_on = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !held_; };
                  mutex_.AwaitWithTimeout(absl::Condition(&may_go_on), absl::Seconds(30));
                },
            .on_trouble =
                [this](const absl::Status& status) {
                  absl::MutexLock lock(&mutex_);
                  troubles_.push_back(status);
                }};
  }

  size_t WaitForAccepted(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return connections_.size() >= count; };
    mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(10));
    return connections_.size();
  }

  std::vector<absl::Status> WaitForTrouble() {
    absl::MutexLock lock(&mutex_);
    const auto any = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !troubles_.empty(); };
    mutex_.AwaitWithTimeout(absl::Condition(&any), absl::Seconds(10));
    return troubles_;
  }

  // While `held`, the acceptor's thread stays in on_connection.
  void Hold(bool held) {
    absl::MutexLock lock(&mutex_);
    held_ = held;
  }

  void CloseAll() {
    absl::MutexLock lock(&mutex_);
    for (const int connection : connections_) close(connection);
    connections_.clear();
  }

 private:
  absl::Mutex mutex_;
  std::vector<int> connections_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::Status> troubles_ ABSL_GUARDED_BY(mutex_);
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
};

int Connect(int port) {
  const int client = PatientSocket();
  EXPECT_TRUE(ConnectTo(port, client));
  return client;
}

constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

void Say(int client, const std::string& words) {
  EXPECT_EQ(send(client, words.data(), words.size(), MSG_NOSIGNAL), static_cast<ssize_t>(words.size()));
}

// Whether the other side closes it while there is patience.
bool IsClosed(int client) {
  char byte;
  const ssize_t size = recv(client, &byte, 1, 0);
  return size == 0 || (size < 0 && errno == ECONNRESET);
}

TEST(AcceptorTest, HandsOverEveryConnection) {
  Connections connections;
  ASSERT_OK_AND_ASSIGN(Listener listener, Listener::Listen("127.0.0.1:0"));
  ASSERT_OK_AND_ASSIGN(const auto acceptor,
                       Acceptor::Start(std::move(listener), {.max_descriptor = 1000}, connections.Handler()));
  std::vector<int> clients;
  for (int i = 0; i < 20; ++i) Say(clients.emplace_back(Connect(acceptor->port())), kPreface);
  EXPECT_EQ(connections.WaitForAccepted(20), 20);
  for (const int client : clients) close(client);
}

TEST(AcceptorTest, RefusesBeyondTheLimitAndGoesOn) {
  Connections connections;
  const int lowest = dup(STDERR_FILENO);  // what is below is in use
  close(lowest);
  ASSERT_OK_AND_ASSIGN(Listener listener, Listener::Listen("127.0.0.1:0"));
  ASSERT_OK_AND_ASSIGN(
      const auto acceptor,
      Acceptor::Start(std::move(listener), {.max_descriptor = lowest + 7}, connections.Handler()));
  std::vector<int> clients;
  for (int i = 0; i < 6; ++i) clients.push_back(Connect(acceptor->port()));
  EXPECT_THAT(connections.WaitForTrouble()[0],
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("a connection was refused")));
  EXPECT_TRUE(IsClosed(clients.back()));
  for (const int client : clients) close(client);
  connections.CloseAll();
  const int late = Connect(acceptor->port());
  Say(late, kPreface);
  EXPECT_GE(connections.WaitForAccepted(1), 1);
  close(late);
}

// What ends gRPC's own listener for ever.
TEST(AcceptorTest, GoesOnAfterThereWasNoDescriptorLeft) {
  Connections connections;
  ASSERT_OK_AND_ASSIGN(Listener listener, Listener::Listen("127.0.0.1:0"));
  ASSERT_OK_AND_ASSIGN(const auto acceptor, Acceptor::Start(std::move(listener), {.max_descriptor = 1 << 20},
                                                            connections.Handler()));
  const int client = PatientSocket();
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = {.rlim_cur = static_cast<rlim_t>(client) + 1, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_TRUE(ConnectTo(acceptor->port(), client));
  EXPECT_THAT(connections.WaitForTrouble()[0],
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("no connection can be accepted now")));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  Say(client, kPreface);
  EXPECT_EQ(connections.WaitForAccepted(1), 1);
  close(client);
}

TEST(AcceptorTest, KeepsSomeOfTheOpenFiles) {
  EXPECT_EQ(MaxConnectionDescriptor(64), 56);
  EXPECT_EQ(MaxConnectionDescriptor(1024), 896);
  EXPECT_EQ(MaxConnectionDescriptor(1 << 20), (1 << 20) - 128);
  EXPECT_EQ(MaxConnectionDescriptor(4), 1);
  EXPECT_EQ(MaxConnectionDescriptor(INT64_MAX), INT32_MAX);
}

class ArrivalsTest : public ::testing::Test {
 protected:
  void Start(Acceptor::Options options) {
    options.max_descriptor = 10'000;
    auto listener = Listener::Listen("127.0.0.1:0");
    ASSERT_OK(listener);
    auto acceptor = Acceptor::Start(*std::move(listener), options, connections_.Handler());
    ASSERT_OK(acceptor);
    acceptor_ = *std::move(acceptor);
  }
  int Connect() { return clients_.emplace_back(server::Connect(acceptor_->port())); }
  ~ArrivalsTest() override {
    acceptor_ = nullptr;
    for (const int client : clients_) close(client);
  }

  bool WaitFor(const std::function<bool(const ConnectionCounts&)>& condition) {
    for (const absl::Time end = absl::Now() + absl::Seconds(30); absl::Now() < end;
         absl::SleepFor(absl::Milliseconds(5)))
      if (condition(acceptor_->counts())) return true;
    return false;
  }

  Connections connections_;
  std::unique_ptr<Acceptor> acceptor_;
  std::vector<int> clients_;
};

TEST_F(ArrivalsTest, WhoSaysNothingIsNotHandedOnAndIsClosedInTime) {
  Start({.arrivals = {.timeout = absl::Milliseconds(300)}});
  const int silent = Connect(), slow = Connect(), quick = Connect();
  Say(slow, "PRI * HTT");
  Say(quick, kPreface);
  EXPECT_EQ(connections_.WaitForAccepted(1), 1);
  EXPECT_TRUE(WaitFor([](const ConnectionCounts& counts) { return counts.half_open == 2; }));
  EXPECT_TRUE(IsClosed(silent));
  EXPECT_TRUE(IsClosed(slow));
  EXPECT_TRUE(
      WaitFor([](const ConnectionCounts& counts) { return counts.timed_out == 2 && counts.half_open == 0; }));
  EXPECT_EQ(connections_.WaitForAccepted(1), 1);
  EXPECT_EQ(acceptor_->counts().open, 1);
}

TEST_F(ArrivalsTest, WordsMayComeInParts) {
  Start({});
  const int client = Connect();
  const std::string words = kPreface;
  for (const char c : words) {
    Say(client, std::string(1, c));
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(connections_.WaitForAccepted(1), 1);
  EXPECT_EQ(acceptor_->counts().timed_out, 0);
}

TEST_F(ArrivalsTest, TheOldestHalfOpenOneMakesRoom) {
  Start({.arrivals = {.max_half_open = 3}});
  const int first = Connect();
  for (int i = 0; i < 3; ++i) Connect();
  EXPECT_TRUE(IsClosed(first));
  EXPECT_TRUE(WaitFor(
      [](const ConnectionCounts& counts) { return counts.over_half_open == 1 && counts.half_open == 3; }));
  Say(Connect(), kPreface);
  EXPECT_EQ(connections_.WaitForAccepted(1), 1);
}

TEST_F(ArrivalsTest, WhoHasSaidItsWordsMakesNoRoomForOthers) {
  constexpr int kClients = 200;
  Start({.arrivals = {.max_half_open = 100}});
  connections_.Hold(true);
  Say(Connect(), kPreface);
  EXPECT_EQ(connections_.WaitForAccepted(1), 1);
  for (int i = 0; i < kClients; ++i) Say(Connect(), kPreface);
  connections_.Hold(false);
  EXPECT_EQ(connections_.WaitForAccepted(1 + kClients), 1 + kClients);
  EXPECT_EQ(acceptor_->counts().over_half_open, 0);
}

TEST_F(ArrivalsTest, WhatWasReachedIsWhatIsBlamed) {
  Start({.max_connections = 3});
  const int first = Connect();
  for (int i = 0; i < 3; ++i) Connect();
  EXPECT_TRUE(IsClosed(first));
  EXPECT_TRUE(WaitFor([](const ConnectionCounts& counts) {
    return counts.over_connections == 1 && counts.half_open == 3 && counts.over_half_open == 0;
  }));
  EXPECT_THAT(connections_.WaitForTrouble()[0], StatusIs(absl::StatusCode::kResourceExhausted,
                                                         HasSubstr("for a newer one (--max_connections)")));
}

TEST_F(ArrivalsTest, HandshakesThatAreNotGoneOnWithAreBounded) {
  Start({.arrivals = {.tls = true, .max_handshakes = 2, .timeout = absl::Seconds(20)}});
  const std::string hello = {22, 3, 1, 0, 1, 'x'};
  const int going_on = Connect();
  Say(going_on, hello);
  EXPECT_TRUE(WaitFor([](const ConnectionCounts& counts) { return counts.handshakes == 1; }));
  Say(going_on, "finished");
  EXPECT_TRUE(WaitFor([](const ConnectionCounts& counts) { return counts.handshakes == 0; }));
  const int first = Connect();
  Say(first, hello);
  EXPECT_EQ(connections_.WaitForAccepted(2), 2);
  for (int i = 0; i < 2; ++i) Say(Connect(), hello);
  EXPECT_EQ(connections_.WaitForAccepted(4), 4);
  EXPECT_TRUE(IsClosed(first)) << "the oldest is ended";
  EXPECT_TRUE(WaitFor(
      [](const ConnectionCounts& counts) { return counts.over_handshakes == 1 && counts.handshakes == 2; }));
}

TEST_F(ArrivalsTest, ConnectionsAreCountedUntilTheirOwnerClosesThem) {
  Start({.max_connections = 3});
  for (int i = 0; i < 3; ++i) Say(Connect(), kPreface);
  EXPECT_EQ(connections_.WaitForAccepted(3), 3);
  EXPECT_TRUE(IsClosed(Connect()));
  EXPECT_TRUE(WaitFor(
      [](const ConnectionCounts& counts) { return counts.over_connections == 1 && counts.open == 3; }));
  EXPECT_THAT(connections_.WaitForTrouble()[0],
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("3 are open (--max_connections)")));
  connections_.CloseAll();
  EXPECT_TRUE(WaitFor([](const ConnectionCounts& counts) { return counts.open == 0; }));
  Say(Connect(), kPreface);
  EXPECT_EQ(connections_.WaitForAccepted(1), 1);
}

TEST_F(ArrivalsTest, WhoLeavesWithoutAWordIsForgotten) {
  Start({});
  const int client = server::Connect(acceptor_->port());
  EXPECT_TRUE(WaitFor([](const ConnectionCounts& counts) { return counts.half_open == 1; }));
  close(client);
  EXPECT_TRUE(WaitFor([](const ConnectionCounts& counts) { return counts.half_open == 0; }));
  EXPECT_EQ(connections_.WaitForAccepted(0), 0);
}

TEST_F(ArrivalsTest, WhoBreaksOffIsForgottenWhateverItSaidBefore) {
  Start({});
  for (const char* const words : {"", "PRI * HTT"}) {
    for (const bool reset : {false, true}) {
      const int client = server::Connect(acceptor_->port());
      Say(client, words);
      EXPECT_TRUE(WaitFor([](const ConnectionCounts& counts) { return counts.half_open == 1; }));
      const linger at_once = {.l_onoff = 1, .l_linger = 0};
      if (reset) setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      close(client);
      EXPECT_TRUE(WaitFor([](const ConnectionCounts& counts) { return counts.half_open == 0; }))
          << '"' << words << "\", " << (reset ? "reset" : "closed");
    }
  }
  EXPECT_EQ(acceptor_->counts().timed_out, 0);
  EXPECT_EQ(connections_.WaitForAccepted(0), 0);
}

}  // namespace
}  // namespace ropeway::server
