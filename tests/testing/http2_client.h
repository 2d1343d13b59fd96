// As much of HTTP/2 as it takes to be a client of gRPC that gRPC's own cannot play: one that never comes to
// the end of a message, reads nothing, or pings.
//
// Not thread-safe.
#ifndef ROPEWAY_TESTS_TESTING_HTTP2_CLIENT_H_
#define ROPEWAY_TESTS_TESTING_HTTP2_CLIENT_H_

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/testing/patient_socket.h"

namespace ropeway::testing {

// Big-endian, `bytes` of it.
inline std::string BigEndian(uint32_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) text += static_cast<char>(value >> shift);
  return text;
}

inline uint32_t ParseBigEndian(const std::string& text) {
  uint32_t value = 0;
  for (const unsigned char c : text) value = value << 8 | c;
  return value;
}

class Http2Client {
 public:
  // The server may send `receive_window` bytes of each answer.
  explicit Http2Client(int port, uint32_t receive_window = 65'535) : socket_(PatientSocket()) {
    EXPECT_TRUE(ConnectTo(port, socket_));
    Write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    WriteFrame(kSettings, 0, 0, BigEndian(kInitialWindowSetting, 2) + BigEndian(receive_window, 4));
  }
  ~Http2Client() { close(socket_); }

  // Begins a call of Generate with a message of `length` bytes, or with `message` and the end.
  void BeginEndless(uint32_t length) { Begin(length, std::string(length - 1, 'x'), /*ends=*/false); }
  void Begin(const std::string& message) {
    Begin(static_cast<uint32_t>(message.size()), message, /*ends=*/true);
  }

  // Gives up the call that was begun as number `index`.
  void Reset(uint32_t index) { WriteFrame(kReset, 0, 2 * index + 1, BigEndian(kCancel, 4)); }

  void Ping() { WriteFrame(kPing, 0, 0, std::string(8, 'p')); }

  // Sends what the server lets it send, and reads what it says, for a while.
  void Pump() {
    for (auto& [id, stream] : streams_) {
      const int64_t size = std::min<int64_t>({window_, stream.window, kMaxFrame, std::ssize(stream.unsent)});
      if (size <= 0) continue;
      const bool last = stream.ends && size == std::ssize(stream.unsent);
      WriteFrame(kData, last ? kEndStream : 0, id, stream.unsent.substr(0, size));
      stream.unsent.erase(0, size);
      stream.window -= size;
      window_ -= size;
    }
    std::string part(1 << 16, '\0');
    const ssize_t size = recv(socket_, part.data(), part.size(), MSG_DONTWAIT);
    if (size > 0) received_.append(part, 0, size);
    closed_ = closed_ || size == 0;
    if (size < 0) absl::SleepFor(absl::Milliseconds(1));
    while (ReadFrame()) {
    }
  }

  int resets() const { return resets_; }
  int pongs() const { return pongs_; }
  bool going_away() const { return going_away_; }
  bool closed() const { return closed_; }

 private:
  enum Type : uint8_t {
    kData = 0,
    kHeaders = 1,
    kReset = 3,
    kSettings = 4,
    kPing = 6,
    kGoAway = 7,
    kWindowUpdate = 8
  };
  static constexpr uint8_t kAck = 1, kEndStream = 1, kEndHeaders = 4;
  static constexpr uint32_t kCancel = 8;
  static constexpr int64_t kMaxFrame = 16'384;
  static constexpr uint16_t kInitialWindowSetting = 4;

  struct Stream {
    int64_t window;
    std::string unsent;
    bool ends = false;
  };

  void Begin(uint32_t length, const std::string& message, bool ends) {
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
    streams_[stream] = {.window = initial_window_,
                        .unsent = absl::StrCat(std::string(1, '\0'), BigEndian(length, 4), message),
                        .ends = ends};
  }

  void Write(const std::string& bytes) {
    closed_ = closed_ || send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) != std::ssize(bytes);
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
    if (type == kGoAway) going_away_ = true;
    if (type == kPing && flags == kAck) ++pongs_;
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
  int pongs_ = 0;
  bool going_away_ = false;
  bool closed_ = false;
};

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_HTTP2_CLIENT_H_
