#include "server/open_files.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>

namespace ropeway::server {
namespace {

int64_t Count(rlim_t limit) {
  return static_cast<int64_t>(std::min<rlim_t>(limit, std::numeric_limits<int64_t>::max()));
}

}  // namespace

OpenFileLimit RaiseOpenFileLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return {};
  OpenFileLimit result = {.before = Count(limit.rlim_cur), .now = Count(limit.rlim_cur)};
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0) result.now = Count(limit.rlim_cur);
  return result;
}

}  // namespace ropeway::server
