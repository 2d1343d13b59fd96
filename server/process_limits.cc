#include "server/process_limits.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "engine/base/exhaustion.h"
#include "engine/base/machine.h"
#include "engine/model/weight_files.h"

namespace ropeway::server {
namespace {

// Stacks of threads and arenas of malloc reserve so much, of which little is ever used.
constexpr int64_t kReservedBytes = int64_t{768} << 20;
// A model is mapped while it is packed.
constexpr int64_t kModelCopies = 2;

int64_t Count(rlim_t limit) {
  return static_cast<int64_t>(std::min<rlim_t>(limit, std::numeric_limits<int64_t>::max()));
}

// Sparse files may claim more than there is.
int64_t BytesOf(const std::vector<std::string>& paths) {
  constexpr int64_t kMost = int64_t{1} << 60;
  int64_t bytes = 0;
  for (const std::string& path : paths)
    if (struct stat info; stat(path.c_str(), &info) == 0)
      bytes = std::min(kMost, bytes + std::min<int64_t>(kMost, info.st_size));
  return bytes;
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
  const int64_t free_bytes = LookAtMachine().free_address_bytes;
  if (free_bytes == INT64_MAX) return absl::OkStatus();
  const int64_t wanted = kModelCopies * BytesOf(WeightFilesOf(model)) + kReservedBytes;
  if (wanted <= free_bytes) return absl::OkStatus();
  return OutOfMemoryStatus(OutOfMemory(wanted));
}

}  // namespace ropeway::server
