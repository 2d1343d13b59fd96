#include "server/net/acceptor.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

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

  void CloseAll() {
    absl::MutexLock lock(&mutex_);
    for (const int connection : connections_) close(connection);
    connections_.clear();
  }

 private:
  absl::Mutex mutex_;
  std::vector<int> connections_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::Status> troubles_ ABSL_GUARDED_BY(mutex_);
};

int Connect(int port) {
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return client;
}

// Whether the other side has closed it, within a while.
bool IsClosed(int client) {
  const timeval patience = {.tv_sec = 10};
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  char byte;
  return recv(client, &byte, 1, 0) <= 0;
}

TEST(AcceptorTest, HandsOverEveryConnection) {
  Connections connections;
  ASSERT_OK_AND_ASSIGN(Listener listener, Listener::Listen("127.0.0.1:0"));
  ASSERT_OK_AND_ASSIGN(const auto acceptor,
                       Acceptor::Start(std::move(listener), {.max_descriptor = 1000}, connections.Handler()));
  std::vector<int> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(Connect(acceptor->port()));
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
  EXPECT_GE(connections.WaitForAccepted(1), 1);
  close(late);
}

// What ends gRPC's own listener for ever.
TEST(AcceptorTest, GoesOnAfterThereWasNoDescriptorLeft) {
  Connections connections;
  ASSERT_OK_AND_ASSIGN(Listener listener, Listener::Listen("127.0.0.1:0"));
  ASSERT_OK_AND_ASSIGN(const auto acceptor, Acceptor::Start(std::move(listener), {.max_descriptor = 1 << 20},
                                                            connections.Handler()));
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = {.rlim_cur = static_cast<rlim_t>(client) + 1, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(acceptor->port()))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_THAT(connections.WaitForTrouble()[0],
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("no connection can be accepted now")));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
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

}  // namespace
}  // namespace ropeway::server
