// Leads what gRPC and protobuf write about themselves into the server's log: their errors as warnings, some
// per second at most, the rest at level debug. (They would write to standard error in forms of their own.)
#ifndef ROPEWAY_SERVER_OBS_LIBRARY_LOG_H_
#define ROPEWAY_SERVER_OBS_LIBRARY_LOG_H_

#include "server/obs/log.h"

namespace ropeway::server {

// At most one lives at a time: the libraries have one hook per process.
class LibraryLog {
 public:
  explicit LibraryLog(const Log& log);  // outlives it
  ~LibraryLog();                        // the libraries are silent from then on
  LibraryLog(const LibraryLog&) = delete;
  LibraryLog& operator=(const LibraryLog&) = delete;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OBS_LIBRARY_LOG_H_
