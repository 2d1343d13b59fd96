#include "engine/model/mapped_file.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "engine/base/exhaustion.h"
#include "engine/base/regular_file.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

// What a signal handler can find out about an address: no lock, no allocation. Mappings beyond these are not
// explained.
constexpr int kMaxKnown = 256;
constexpr size_t kMaxPathBytes = 512;
struct KnownMapping {
  std::atomic<bool> taken = false;
  std::atomic<uintptr_t> begin = 0;  // 0: not filled in
  size_t size = 0;
  char path[kMaxPathBytes] = {};
};
KnownMapping known_mappings[kMaxKnown];

// The place of a mapping among the known ones; -1 where there is none.
int Remember(const void* data, size_t size, const std::string& path) {
  for (int i = 0; i < kMaxKnown; ++i) {
    KnownMapping& known = known_mappings[i];
    if (known.taken.exchange(true)) continue;
    known.size = size;
    known.path[path.copy(known.path, kMaxPathBytes - 1)] = '\0';
    known.begin.store(reinterpret_cast<uintptr_t>(data), std::memory_order_release);
    return i;
  }
  return -1;
}

void Forget(int place) {
  if (place < 0) return;
  known_mappings[place].begin = 0;
  known_mappings[place].taken = false;
}

// Writes the parts of a line without waiting for a reader.
void WriteParts(std::initializer_list<const char*> parts) {
  pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
  if (poll(&ready, 1, 0) != 1) return;
  for (const char* part : parts) (void)!write(STDERR_FILENO, part, std::strlen(part));
}

// Runs inside a signal handler: functions that are safe there, and nothing else.
void OnLostBytes(int signal, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const KnownMapping& known : known_mappings) {
    const uintptr_t begin = known.begin.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address - begin >= known.size) continue;
    char digits[24] = {};
    char* first = digits + sizeof digits - 1;
    for (uintptr_t offset = address - begin; offset > 0 || *first == '\0'; offset /= 10)
      *--first = static_cast<char>('0' + offset % 10);
    WriteParts({"fatal: '", known.path, "' was changed while it was in use and has no byte ", first,
                " any more: replace such files by renaming new ones over them\n"});
    _exit(1);
  }
  raise(signal);  // SA_RESETHAND: ends the process as if there were no handler
}

}  // namespace

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(const RegularFile file, RegularFile::Open(path));
  if (file.size() == 0) return absl::InvalidArgumentError(absl::StrCat("'", path, "' is empty"));
  const size_t size = static_cast<size_t>(file.size());
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (data == MAP_FAILED && errno == ENOMEM)
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot map '", path, "': ", OutOfMemoryStatus(OutOfMemory(file.size())).message()));
  if (data == MAP_FAILED) return absl::ErrnoToStatus(errno, absl::StrCat("cannot map '", path, "'"));
  return MappedFile(static_cast<const uint8_t*>(data), size, Remember(data, size, path));
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  Forget(place_);
  munmap(const_cast<uint8_t*>(data_), size_);
}

void ExplainLostMappings() {
  struct sigaction action = {};
  action.sa_sigaction = &OnLostBytes;
  action.sa_flags = SA_SIGINFO | SA_RESETHAND;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace ropeway
