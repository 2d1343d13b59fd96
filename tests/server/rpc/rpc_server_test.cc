// The server against clients that gRPC's own client cannot play.
#include "server/rpc/rpc_server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/grpcpp.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(30);

// Big-endian, `bytes` of it.
std::string BigEndian(uint32_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) text += static_cast<char>(value >> shift);
  return text;
}

uint32_t ParseBigEndian(const std::string& text) {
  uint32_t value = 0;
  for (const unsigned char c : text) value = value << 8 | c;
  return value;
}

// As much of HTTP/2 as it takes to begin calls with long messages and never to end them.
class StallingClient {
 public:
  explicit StallingClient(int port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    Write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    WriteFrame(kSettings, 0, 0, "");
  }
  ~StallingClient() { close(socket_); }

  // Begins a call with a message of `length` bytes.
  void Begin(uint32_t length) {
    std::string headers;
    for (const auto& [name, value] : {std::pair{":method", "POST"},
                                      {":scheme", "http"},
                                      {":path", "/ropeway.v1.Ropeway/Generate"},
                                      {":authority", "test"},
                                      {"content-type", "application/grpc"},
                                      {"te", "trailers"}}) {
      headers += '\0';  // a literal, not to be remembered
      for (const std::string& text : {std::string(name), std::string(value)})
        headers += static_cast<char>(text.size()) + text;
    }
    const uint32_t stream = 2 * static_cast<uint32_t>(streams_.size()) + 1;
    WriteFrame(kHeaders, kEndHeaders, stream, headers);
    std::string message = std::string(1, '\0') + BigEndian(length, 4) + std::string(length - 1, 'x');
    streams_[stream] = {.window = initial_window_, .unsent = std::move(message)};
  }

  // Sends what the server lets it send, and reads what it says, for a while.
  void Pump() {
    for (auto& [id, stream] : streams_) {
      const int64_t size = std::min<int64_t>({window_, stream.window, kMaxFrame, std::ssize(stream.unsent)});
      if (size <= 0) continue;
      WriteFrame(kData, 0, id, stream.unsent.substr(0, size));
      stream.unsent.erase(0, size);
      stream.window -= size;
      window_ -= size;
    }
    std::string part(1 << 16, '\0');
    const ssize_t size = recv(socket_, part.data(), part.size(), MSG_DONTWAIT);
    if (size > 0) received_.append(part, 0, size);
    if (size < 0) absl::SleepFor(absl::Milliseconds(1));
    while (ReadFrame()) {
    }
  }

  int resets() const { return resets_; }

 private:
  enum Type : uint8_t { kData = 0, kHeaders = 1, kReset = 3, kSettings = 4, kPing = 6, kWindowUpdate = 8 };
  static constexpr uint8_t kAck = 1, kEndHeaders = 4;
  static constexpr int64_t kMaxFrame = 16'384;
  static constexpr uint16_t kInitialWindowSetting = 4;

  struct Stream {
    int64_t window;
    std::string unsent;
  };

  void Write(const std::string& bytes) {
    EXPECT_EQ(send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL), std::ssize(bytes));
  }
  void WriteFrame(Type type, uint8_t flags, uint32_t stream, const std::string& payload) {
    Write(absl::StrCat(BigEndian(static_cast<uint32_t>(payload.size()), 3),
                       std::string(1, static_cast<char>(type)), std::string(1, static_cast<char>(flags)),
                       BigEndian(stream, 4), payload));
  }

  // Takes a whole frame out of what was received; false where there is none.
  bool ReadFrame() {
    constexpr size_t kHead = 9;
    if (received_.size() < kHead) return false;
    const uint32_t length = ParseBigEndian(received_.substr(0, 3));
    if (received_.size() < kHead + length) return false;
    const uint8_t type = received_[3], flags = received_[4];
    const uint32_t stream = ParseBigEndian(received_.substr(5, 4));
    const std::string payload = received_.substr(kHead, length);
    received_.erase(0, kHead + length);
    if (type == kSettings && flags != kAck) TakeSettings(payload);
    if (type == kPing && flags != kAck) WriteFrame(kPing, kAck, 0, payload);
    if (type == kWindowUpdate) (stream == 0 ? window_ : streams_[stream].window) += ParseBigEndian(payload);
    if (type == kReset) {
      ++resets_;
      streams_[stream].unsent.clear();
    }
    return true;
  }

  void TakeSettings(const std::string& payload) {
    for (size_t i = 0; i + 6 <= payload.size(); i += 6) {
      if (ParseBigEndian(payload.substr(i, 2)) != kInitialWindowSetting) continue;
      const int64_t initial = ParseBigEndian(payload.substr(i + 2, 4));
      for (auto& [id, stream] : streams_) stream.window += initial - initial_window_;
      initial_window_ = initial;
    }
    WriteFrame(kSettings, kAck, 0, "");
  }

  const int socket_;
  std::string received_;
  int64_t initial_window_ = 65'535;
  int64_t window_ = 65'535;
  std::map<uint32_t, Stream> streams_;
  int resets_ = 0;
};

TEST(RpcServerTest, MessagesThatNeverEndAreResetBeforeTheyTakeTheMemory) {
  constexpr int kCalls = 64;
  constexpr uint32_t kLength = 1 << 20;
  v1::Ropeway::CallbackService service;
  ASSERT_OK_AND_ASSIGN(
      const auto server,
      RpcServer::Start(
          {.address = "127.0.0.1:0", .max_request_bytes = kLength, .max_message_memory = 16 << 20}, service));
  StallingClient client(server->port());
  for (int i = 0; i < kCalls; ++i) client.Begin(kLength);
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

TEST(RpcServerTest, APortInUseIsAnErrorThatNamesTheAddress) {
  v1::Ropeway::Service service;
  ASSERT_OK_AND_ASSIGN(const auto first, RpcServer::Start({.address = "127.0.0.1:0"}, service));
  v1::Ropeway::Service other;
  const std::string address = absl::StrCat("127.0.0.1:", first->port());
  EXPECT_THAT(RpcServer::Start({.address = address}, other),
              ::ropeway::testing::StatusIs(absl::StatusCode::kUnavailable, HasSubstr(address)));
}

}  // namespace
}  // namespace ropeway::server
