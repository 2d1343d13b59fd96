// Sockets on which no test waits for ever, whatever the other side does.
#ifndef ROPEWAY_TESTS_TESTING_PATIENT_SOCKET_H_
#define ROPEWAY_TESTS_TESTING_PATIENT_SOCKET_H_

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "absl/time/time.h"
#include "tests/testing/patience.h"

namespace ropeway::testing {

// Each call on it that waits for the other side fails after kPatience.
inline void BoundWaits(int socket) {
  const timeval patience = absl::ToTimeval(kPatience);
  for (const int way : {SO_RCVTIMEO, SO_SNDTIMEO})  // connect() waits to send
    setsockopt(socket, SOL_SOCKET, way, &patience, sizeof patience);
}

inline int PatientSocket(int family = AF_INET) {
  const int made = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  BoundWaits(made);
  return made;
}

// To a port of this machine; whether it got there.
inline bool ConnectTo(int port, int socket) {
  sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_PATIENT_SOCKET_H_
