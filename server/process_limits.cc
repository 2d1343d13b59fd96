#include "server/process_limits.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <limits>

#include "engine/base/exhaustion.h"
#include "engine/base/machine.h"

namespace ropeway::server {
namespace {

// Stacks of threads and arenas of malloc reserve so much, of which little is ever used.
constexpr int64_t kReservedBytes = int64_t{768} << 20;
// A model is mapped while it is packed.
constexpr int64_t kModelCopies = 2;

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

absl::Status CheckAddressSpace(const std::string& model) {
  struct stat info;
  if (stat(model.c_str(), &info) != 0) return absl::OkStatus();
  const int64_t wanted = kModelCopies * info.st_size + kReservedBytes;
  if (wanted <= LookAtMachine().free_address_bytes) return absl::OkStatus();
  return OutOfMemoryStatus(OutOfMemory(wanted));
}

}  // namespace ropeway::server
