#include "server/memory.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>

namespace ropeway::server {
namespace {

// Used where the system tells nothing.
constexpr int64_t kUnknownBytes = int64_t{2} << 30;

// The number that a file of one number holds; none where it says "max" or is not there.
std::optional<int64_t> ReadNumber(const char* path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

std::optional<int64_t> MachineBytes() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  int64_t kibibytes = 0;
  while (file >> key >> kibibytes && std::getline(file, unit)) {
    if (key == "MemAvailable:") return kibibytes * 1024;
  }
  return std::nullopt;
}

std::optional<int64_t> ControlGroupBytes() {
  const auto limit = ReadNumber("/sys/fs/cgroup/memory.max");
  const auto used = ReadNumber("/sys/fs/cgroup/memory.current");
  if (!limit || !used) return std::nullopt;
  return std::max<int64_t>(*limit - *used, 0);
}

}  // namespace

int64_t AvailableMemoryBytes() {
  const int64_t machine = MachineBytes().value_or(kUnknownBytes);
  return std::min(machine, ControlGroupBytes().value_or(machine));
}

}  // namespace ropeway::server
