// One connection of the metrics server: read a request, write the answer, wait for the client to close.
//
// Never blocks; used by one thread.
#ifndef ROPEWAY_SERVER_OBS_HTTP_CONNECTION_H_
#define ROPEWAY_SERVER_OBS_HTTP_CONNECTION_H_

#include <string>
#include <utility>

#include "absl/time/time.h"
#include "server/obs/http_answer.h"

namespace ropeway::server {

class HttpConnection {
 public:
  HttpConnection(int socket, absl::Time now);  // takes the socket
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  int socket() const { return socket_; }
  short events() const;  // what to poll for
  bool is_reading() const { return state_ == State::kReading; }
  absl::Time deadline() const { return deadline_; }  // then it is to be closed

  // Goes on as far as it comes. False where the connection is at its end.
  bool Advance(const HttpPage& page, absl::Time now);

 private:
  enum class State { kReading, kWriting, kClosing };

  bool Read(const HttpPage& page, absl::Time now);
  bool Write(absl::Time now);
  bool Discard() const;

  const int socket_;
  State state_ = State::kReading;
  absl::Time deadline_;
  std::string received_;
  std::string answer_;
  size_t written_ = 0;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OBS_HTTP_CONNECTION_H_
