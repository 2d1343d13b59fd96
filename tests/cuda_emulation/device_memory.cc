#include "tests/cuda_emulation/device_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "tests/cuda_emulation/fiber.h"

namespace ropeway::cuda::emulation {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kGapBytes = 256;  // at least, after each allocation
constexpr size_t kPageBytes = 4096;
constexpr unsigned char kGapByte = 0xFF;

constexpr size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

// Gaps take addresses, not budget: twice the budget is reserved, and costs nothing until it is used.
DeviceMemory::DeviceMemory(size_t bytes)
    : total_bytes_(bytes), reserved_bytes_(RoundUp(2 * bytes, kPageBytes) + (size_t{64} << 20)) {
  void* memory =
      mmap(nullptr, reserved_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("cuda_emulation: device memory");
    std::abort();
  }
  base_ = static_cast<char*>(memory);
}

DeviceMemory::~DeviceMemory() {
  AllowAccess(base_, touched_bytes_);
  munmap(base_, reserved_bytes_);
}

void* DeviceMemory::Allocate(size_t bytes) {
  Access access(*this);
  std::lock_guard lock(mutex_);
  if (bytes > total_bytes_ - allocated_bytes_) return nullptr;
  const size_t span = RoundUp(std::max<size_t>(bytes, 1), kAlignment) + kGapBytes;
  size_t offset = 0;  // first fit
  for (const auto& [begin, size] : allocations_) {
    if (begin >= offset + span) break;
    offset = begin + RoundUp(std::max<size_t>(size, 1), kAlignment) + kGapBytes;
  }
  if (offset + span > reserved_bytes_) return nullptr;
  allocations_[offset] = bytes;
  allocated_bytes_ += bytes;
  if (offset + span > touched_bytes_) {
    touched_bytes_ = offset + span;
    Protect(PROT_READ | PROT_WRITE);
  }
  AllowAccess(base_ + offset, span);
  std::memset(base_ + offset, 0xFF, span);
  ForbidAccess(base_ + offset, span);
  AllowAccess(base_ + offset, bytes);
  return base_ + offset;
}

bool DeviceMemory::Free(void* memory) {
  std::lock_guard lock(mutex_);
  const auto found = allocations_.find(static_cast<size_t>(static_cast<char*>(memory) - base_));
  if (found == allocations_.end()) return false;
  ForbidAccess(memory, found->second);
  allocated_bytes_ -= found->second;
  allocations_.erase(found);
  return true;
}

bool DeviceMemory::Contains(const void* address, size_t bytes) {
  std::lock_guard lock(mutex_);
  const auto* begin = static_cast<const char*>(address);
  if (begin < base_ || begin >= base_ + reserved_bytes_) return false;
  const auto offset = static_cast<size_t>(begin - base_);
  auto after = allocations_.upper_bound(offset);
  if (after == allocations_.begin()) return false;
  const auto [start, size] = *std::prev(after);
  return offset - start <= size && bytes <= size - (offset - start);
}

const void* DeviceMemory::FindOverrun() {
  // AddressSanitizer sees the write itself, and would see this reading of the gaps too.
  if (ROPEWAY_EMULATION_ASAN) return nullptr;
  std::lock_guard lock(mutex_);
  for (const auto& [offset, bytes] : allocations_) {
    const char* gap = base_ + offset + bytes;
    const char* end = base_ + offset + RoundUp(std::max<size_t>(bytes, 1), kAlignment) + kGapBytes;
    if (std::any_of(gap, end, [](char byte) { return static_cast<unsigned char>(byte) != kGapByte; })) {
      return base_ + offset;
    }
  }
  return nullptr;
}

size_t DeviceMemory::free_bytes() {
  std::lock_guard lock(mutex_);
  return total_bytes_ - allocated_bytes_;
}

void DeviceMemory::Protect(int protection) {
  if (touched_bytes_ == 0) return;
  if (mprotect(base_, RoundUp(touched_bytes_, kPageBytes), protection) != 0) {
    std::perror("cuda_emulation: protection of device memory");
    std::abort();
  }
}

DeviceMemory::Access::Access(DeviceMemory& memory) : memory_(memory) {
  std::lock_guard lock(memory_.mutex_);
  if (memory_.num_accesses_++ == 0) memory_.Protect(PROT_READ | PROT_WRITE);
}

DeviceMemory::Access::~Access() {
  std::lock_guard lock(memory_.mutex_);
  if (--memory_.num_accesses_ == 0) memory_.Protect(PROT_NONE);
}

}  // namespace ropeway::cuda::emulation
