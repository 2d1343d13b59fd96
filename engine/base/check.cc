#include "engine/base/check.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace ropeway::internal {
namespace {

// How long the last words may wait for whoever reads them.
constexpr int kPatienceMilliseconds = 100;

}  // namespace

void CheckFailed(const char* file, int line, const char* condition) {
  char text[1024];
  const int size = std::snprintf(text, sizeof text, "%s:%d: CHECK failed: %s\n", file, line, condition);
  pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
  if (size > 0 && poll(&ready, 1, kPatienceMilliseconds) == 1)
    (void)!write(STDERR_FILENO, text, std::min<size_t>(static_cast<size_t>(size), sizeof text - 1));
  std::abort();
}

}  // namespace ropeway::internal
