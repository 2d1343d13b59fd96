#include "server/net/open_connections.h"

#include <sys/stat.h>

namespace ropeway::server {
namespace {

// 0 where the descriptor is closed.
ino_t InodeOf(int descriptor) {
  struct stat info;
  return fstat(descriptor, &info) == 0 ? info.st_ino : 0;
}

}  // namespace

// One of the same descriptor, if there is any, was closed.
void OpenConnections::Add(int socket) { inodes_[socket] = InodeOf(socket); }

void OpenConnections::ForgetClosed() {
  for (auto it = inodes_.begin(); it != inodes_.end();) {
    if (InodeOf(it->first) == it->second) {
      ++it;
    } else {
      inodes_.erase(it++);
    }
  }
}

}  // namespace ropeway::server
