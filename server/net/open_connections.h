// The connections that were handed to gRPC, which closes them without a word: how many still are open.
//
// A socket is known by its descriptor and inode. A descriptor that has another inode, or none, was closed. Not
// thread-safe.
#ifndef ROPEWAY_SERVER_NET_OPEN_CONNECTIONS_H_
#define ROPEWAY_SERVER_NET_OPEN_CONNECTIONS_H_

#include <sys/types.h>

#include <cstddef>

#include "absl/container/flat_hash_map.h"

namespace ropeway::server {

class OpenConnections {
 public:
  void Add(int socket);

  // Looks at all of them: a microsecond each.
  void ForgetClosed();

  // As of the last look.
  size_t count() const { return inodes_.size(); }

 private:
  absl::flat_hash_map<int, ino_t> inodes_;  // by descriptor
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_NET_OPEN_CONNECTIONS_H_
