#include "engine/tensor/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/exhaustion.h"

namespace ropeway {
namespace {

constexpr int64_t kHugePage = 2 << 20;
constexpr int64_t kMostBytes = int64_t{1} << 62;  // beyond, sums would overflow

}  // namespace

AlignedBuffer::AlignedBuffer(int64_t bytes) : bytes_(bytes) {
  ROPEWAY_CHECK(bytes >= 0);
  if (bytes == 0) return;
  data_ = bytes >= kHugePage ? Map(bytes) : Allocate(bytes);
}

AlignedBuffer::AlignedBuffer(uint8_t* data, int64_t bytes, std::shared_ptr<const void> owner)
    : data_(data, Free{.mapped_bytes = 0, .owner = std::move(owner)}), bytes_(bytes) {
  ROPEWAY_CHECK(bytes >= 0 && reinterpret_cast<uintptr_t>(data) % kAlignment == 0);
}

void AlignedBuffer::Free::operator()(uint8_t* data) const {
  if (owner != nullptr) return;
  if (mapped_bytes == 0)
    std::free(data);
  else
    munmap(data, mapped_bytes);
}

AlignedBuffer::Memory AlignedBuffer::Allocate(int64_t bytes) {
  const int64_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  Memory memory(static_cast<uint8_t*>(std::aligned_alloc(kAlignment, rounded)));
  if (memory == nullptr) throw OutOfMemory(bytes);
  std::memset(memory.get(), 0, rounded);
  return memory;
}

// The system maps zeroed memory at any 4 KB: one huge page more, and what lies around the aligned part given
// back.
AlignedBuffer::Memory AlignedBuffer::Map(int64_t bytes) {
  if (bytes > kMostBytes) throw OutOfMemory(bytes);
  const int64_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* mapped =
      mmap(nullptr, rounded + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw OutOfMemory(bytes);
  auto* const begin = static_cast<uint8_t*>(mapped);
  const int64_t before = kHugePage - static_cast<int64_t>(reinterpret_cast<uintptr_t>(begin) % kHugePage);
  munmap(begin, before);
  if (before != kHugePage) munmap(begin + before + rounded, kHugePage - before);
  Memory memory(begin + before, Free{.mapped_bytes = rounded, .owner = nullptr});
  // Only an advice: without huge pages everything works, with more misses of the address cache.
  madvise(memory.get(), rounded, MADV_HUGEPAGE);
  return memory;
}

}  // namespace ropeway
