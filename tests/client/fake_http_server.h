// An HTTP server that answers each request on a connection of its own with bytes that a test gives.
#ifndef ROPEWAY_TESTS_CLIENT_FAKE_HTTP_SERVER_H_
#define ROPEWAY_TESTS_CLIENT_FAKE_HTTP_SERVER_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/testing/patient_socket.h"

namespace ropeway::client {

class FakeHttpServer {
 public:
  // `response`: status line, headers and body, sent as they are.
  explicit FakeHttpServer(std::string response) : response_(std::move(response)) {
    socket_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(socket_, 8), 0);
    EXPECT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~FakeHttpServer() {
    shutdown(socket_, SHUT_RDWR);
    thread_.join();
    close(socket_);
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  // Bodies of the requests so far. REQUIRES: no request is on its way.
  const std::vector<std::string>& bodies() const { return bodies_; }

 private:
  void Serve() {
    for (int connection; (connection = accept(socket_, nullptr, nullptr)) >= 0; close(connection)) {
      testing::BoundWaits(connection);
      bodies_.push_back(ReadBody(connection));
      // In small pieces, as a network may.
      for (size_t i = 0; i < response_.size(); i += 7) {
        const std::string piece = response_.substr(i, 7);
        if (send(connection, piece.data(), piece.size(), MSG_NOSIGNAL) < 0) break;
      }
    }
  }

  static std::string ReadBody(int connection) {
    std::string request;
    for (char buffer[4096];;) {
      const size_t headers_end = request.find("\r\n\r\n");
      const size_t length_at = request.find("Content-Length: ");
      if (headers_end != std::string::npos && length_at < headers_end) {
        const size_t length = std::strtoul(request.c_str() + length_at + 16, nullptr, 10);
        if (request.size() >= headers_end + 4 + length) return request.substr(headers_end + 4);
      }
      const ssize_t count = read(connection, buffer, sizeof(buffer));
      if (count <= 0) return request;
      request.append(buffer, count);
    }
  }

  const std::string response_;
  int socket_ = -1;
  int port_ = 0;
  std::vector<std::string> bodies_;
  std::thread thread_;
};

}  // namespace ropeway::client

#endif  // ROPEWAY_TESTS_CLIENT_FAKE_HTTP_SERVER_H_
