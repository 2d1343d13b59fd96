#include "engine/base/memory_nodes.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "engine/base/check.h"

namespace ropeway {
namespace {

constexpr int kMostNodes = 1024;
constexpr int kWordBits = sizeof(unsigned long) * CHAR_BIT;

}  // namespace

absl::Status TakeMemoryInTurn(const std::vector<int>& nodes) {
  unsigned long mask[kMostNodes / kWordBits] = {};
  for (const int node : nodes) {
    ROPEWAY_CHECK(0 <= node && node < kMostNodes);
    mask[node / kWordBits] |= 1ul << node % kWordBits;
  }
  // The system takes one bit fewer than it is told of.
  const long result = nodes.empty() ? syscall(SYS_set_mempolicy, MPOL_DEFAULT, nullptr, 0ul)
                                    : syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, mask, kMostNodes + 1ul);
  if (result != 0) return absl::ErrnoToStatus(errno, "set_mempolicy");
  return absl::OkStatus();
}

}  // namespace ropeway
