#include "engine/base/machine.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/regular_file.h"

namespace ropeway {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 20;
constexpr int kMostNodes = 1024;
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
// Used where the system tells nothing.
constexpr int64_t kUnknownBytes = int64_t{2} << 30;

// The content, without white space at its end; empty where it cannot be read.
std::string Read(const std::string& path) {
  absl::StatusOr<std::string> content = ReadRegularFile(path, kMaxFileBytes);
  if (!content.ok()) return "";
  absl::StripTrailingAsciiWhitespace(&*content);
  return *std::move(content);
}

std::optional<int64_t> Number(absl::string_view text) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value)) return std::nullopt;
  return value;
}

std::optional<int64_t> ReadNumber(const std::string& path) { return Number(Read(path)); }

// The word behind `key` in lines such as "MemAvailable:  12 kB"; empty where there is none.
std::string ReadWord(const std::string& path, absl::string_view key) {
  const std::string content = Read(path);
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.size() >= 2 && words[0] == key) return std::string(words[1]);
  }
  return "";
}

std::optional<int64_t> ReadField(const std::string& path, absl::string_view key) {
  return Number(ReadWord(path, key));
}

// Of a list such as "0-3,8"; numbers from `end` on are left out, and so is what is no number.
std::set<int> NumbersOf(absl::string_view list, int end) {
  std::set<int> numbers;
  for (const absl::string_view part : absl::StrSplit(list, ',')) {
    const std::vector<absl::string_view> ends = absl::StrSplit(part, absl::MaxSplits('-', 1));
    const std::optional<int64_t> first = Number(ends.front()), last = Number(ends.back());
    if (!first || !last) continue;
    for (int64_t i = std::max<int64_t>(*first, 0); i <= *last && i < end; ++i)
      numbers.insert(static_cast<int>(i));
  }
  return numbers;
}

// A control group that this process is in, or one around it.
struct ControlGroup {
  std::string folder;
  bool is_version_2 = false;
};

void AddGroups(const std::string& mount, absl::string_view path, bool is_version_2,
               std::vector<ControlGroup>& groups) {
  // A path that leads out of the mount is one of another name space: the mount itself is what is seen here.
  if (path.find("..") != path.npos) path = "/";
  for (path = absl::StripSuffix(path, "/"); !path.empty(); path = path.substr(0, path.rfind('/')))
    groups.push_back({absl::StrCat(mount, path), is_version_2});
  groups.push_back({mount, is_version_2});
}

// Those that may limit what `controller` counts. Lines are "4:cpu,cpuacct:/path", of version 2 "0::/path".
std::vector<ControlGroup> ControlGroups(const std::string& root, absl::string_view controller) {
  const std::string mounts = absl::StrCat(root, "/sys/fs/cgroup");
  const std::string content = Read(absl::StrCat(root, "/proc/self/cgroup"));
  std::vector<ControlGroup> groups;
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    if (parts[1].empty()) {
      AddGroups(mounts, parts[2], /*is_version_2=*/true, groups);
      AddGroups(absl::StrCat(mounts, "/unified"), parts[2], /*is_version_2=*/true, groups);
      continue;
    }
    const std::vector<absl::string_view> controllers = absl::StrSplit(parts[1], ',');
    if (std::find(controllers.begin(), controllers.end(), controller) == controllers.end()) continue;
    for (const absl::string_view folder : {parts[1], controller})
      AddGroups(absl::StrCat(mounts, "/", folder), parts[2], /*is_version_2=*/false, groups);
  }
  return groups;
}

// In processors; 0 where there is no quota.
double QuotaOf(const ControlGroup& group) {
  std::optional<int64_t> quota, period;
  if (group.is_version_2) {
    const std::string content = Read(group.folder + "/cpu.max");
    const std::vector<absl::string_view> words = absl::StrSplit(content, ' ');
    if (words.size() == 2) quota = Number(words[0]), period = Number(words[1]);
  } else {
    quota = ReadNumber(group.folder + "/cpu.cfs_quota_us");
    period = ReadNumber(group.folder + "/cpu.cfs_period_us");
  }
  if (!quota || !period || *quota <= 0 || *period <= 0) return 0;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

struct Memory {
  int64_t limit = kNoLimit;
  int64_t free = kNoLimit;
};

// What was read of files and not touched lately is given back where memory is wanted, so it counts as free.
Memory MemoryOf(const ControlGroup& group) {
  const bool v2 = group.is_version_2;
  const auto limit = ReadNumber(group.folder + (v2 ? "/memory.max" : "/memory.limit_in_bytes"));
  const auto used = ReadNumber(group.folder + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
  if (!limit || !used || *limit < 0) return {};
  const int64_t idle =
      ReadField(group.folder + "/memory.stat", v2 ? "inactive_file" : "total_inactive_file").value_or(0);
  return {.limit = *limit, .free = std::max<int64_t>(*limit - std::max<int64_t>(*used - idle, 0), 0)};
}

int CountCores(const std::string& root, const std::vector<int>& processors) {
  std::set<std::string> cores;
  for (const int processor : processors) {
    const std::string siblings =
        Read(absl::StrCat(root, "/sys/devices/system/cpu/cpu", processor, "/topology/thread_siblings_list"));
    cores.insert(siblings.empty() ? absl::StrCat("processor ", processor) : siblings);
  }
  return std::max<int>(static_cast<int>(cores.size()), 1);
}

// What `ulimit -v` leaves.
int64_t FreeAddressSpace(const std::string& root) {
  rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kNoLimit;
  const int64_t used = ReadField(root + "/proc/self/status", "VmSize:").value_or(0) * 1024;
  const auto most = static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, kNoLimit));
  return std::max<int64_t>(most - used, 0);
}

void LookAtMemory(const std::string& root, UsableMachine& machine) {
  const auto kibibytes = [&](absl::string_view key) { return ReadField(root + "/proc/meminfo", key); };
  const auto total = kibibytes("MemTotal:"), available = kibibytes("MemAvailable:");
  machine.memory_bytes = total ? *total * 1024 : kUnknownBytes;
  machine.free_bytes = available ? *available * 1024 : std::min(machine.memory_bytes, kUnknownBytes);
  machine.free_address_bytes = FreeAddressSpace(root);
  machine.free_bytes = std::min(machine.free_bytes, machine.free_address_bytes);
  for (const ControlGroup& group : ControlGroups(root, "memory")) {
    const Memory memory = MemoryOf(group);
    machine.memory_bytes = std::min(machine.memory_bytes, memory.limit);
    machine.free_bytes = std::min(machine.free_bytes, memory.free);
  }
}

void LookAtNodes(const std::string& root, const std::vector<int>& processors, UsableMachine& machine) {
  const std::string folder = root + "/sys/devices/system/node";
  const std::set<int> with_memory = NumbersOf(Read(folder + "/has_memory"), kMostNodes);
  const std::string allowed_list = ReadWord(root + "/proc/self/status", "Mems_allowed_list:");
  const std::set<int> allowed = NumbersOf(allowed_list, kMostNodes);
  machine.all_nodes = std::max<int>(static_cast<int>(with_memory.size()), 1);
  for (const int node : with_memory) {
    if (!allowed_list.empty() && allowed.count(node) == 0) continue;
    const std::set<int> of_node =
        NumbersOf(Read(absl::StrCat(folder, "/node", node, "/cpulist")), CPU_SETSIZE);
    const bool is_ours = std::any_of(processors.begin(), processors.end(),
                                     [&](int processor) { return of_node.count(processor) != 0; });
    if (is_ours) machine.nodes.push_back(node);
  }
}

}  // namespace

int UsableMachine::threads() const {
  if (cpu_quota <= 0) return cores;
  return std::clamp(static_cast<int>(std::min<double>(cpu_quota, cores)), 1, cores);
}

std::vector<int> UsableProcessors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> processors;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return processors;
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(i, &set)) processors.push_back(i);
  return processors;
}

UsableMachine LookAtMachine(const std::string& root, const std::vector<int>& processors) {
  UsableMachine machine;
  machine.processors = std::max<int>(static_cast<int>(processors.size()), 1);
  machine.cores = CountCores(root, processors);
  for (const ControlGroup& group : ControlGroups(root, "cpu")) {
    const double quota = QuotaOf(group);
    if (quota > 0 && (machine.cpu_quota == 0 || quota < machine.cpu_quota)) machine.cpu_quota = quota;
  }
  LookAtMemory(root, machine);
  LookAtNodes(root, processors, machine);
  return machine;
}

}  // namespace ropeway
