#include "tests/cuda_emulation/shared_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/kernels/cuda/shared_bytes.h"
#include "tests/cuda_emulation/fiber.h"

namespace ropeway::cuda::emulation {
namespace {

constexpr size_t kArenaBytes = 512 * 1024;
constexpr size_t kRedZoneBytes = 64;
constexpr size_t kDynamicAlignment = 128;

}  // namespace

SharedMemory::~SharedMemory() {
  if (arena_ == nullptr) return;
  AllowAccess(arena_, kArenaBytes);
  munmap(arena_, kArenaBytes);
}

void SharedMemory::Reset(size_t dynamic_bytes, size_t most_bytes) {
  if (arena_ == nullptr) {
    void* memory = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      std::perror("cuda_emulation: shared memory");
      std::abort();
    }
    arena_ = static_cast<char*>(memory);
    used_ = kArenaBytes;
  }
  // Objects are made while threads run: the whole of it must be poison beforehand.
  AllowAccess(arena_, kArenaBytes);
  std::memset(arena_, 0xFF, used_);
  ForbidAccess(arena_, kArenaBytes);
  used_ = static_bytes_ = 0;
  num_objects_ = 0;
  dynamic_bytes_ = dynamic_bytes;
  most_bytes_ = most_bytes;
  dynamic_ = dynamic_bytes == 0 ? nullptr : Take(dynamic_bytes, kDynamicAlignment);
}

void SharedMemory::Poison() {
  if (dynamic_ != nullptr) std::memset(dynamic_, 0xFF, dynamic_bytes_);
  for (int i = 0; i < num_objects_; ++i) std::memset(objects_[i].memory, 0xFF, objects_[i].bytes);
}

void* SharedMemory::Static(const void* key, size_t bytes, size_t alignment) {
  for (int i = 0; i < num_objects_; ++i) {
    if (objects_[i].key == key) return objects_[i].memory;
  }
  const size_t most = MustAskForShared(dynamic_bytes_) ? most_bytes_ : kUnaskedSharedBytes;
  if (num_objects_ == kMaxObjects || static_bytes_ + bytes + dynamic_bytes_ > most) return nullptr;
  char* memory = Take(bytes, std::max<size_t>(alignment, 16));
  if (memory == nullptr) return nullptr;
  static_bytes_ += bytes;
  objects_[num_objects_++] = {key, memory, bytes};
  return memory;
}

bool SharedMemory::Contains(const void* address, size_t bytes) const {
  const auto* begin = static_cast<const char*>(address);
  const auto inside = [&](const char* memory, size_t size) {
    return memory != nullptr && begin >= memory && begin + bytes <= memory + size;
  };
  if (inside(dynamic_, dynamic_bytes_)) return true;
  return std::any_of(objects_, objects_ + num_objects_,
                     [&](const Object& object) { return inside(object.memory, object.bytes); });
}

uint32_t SharedMemory::AddressOf(const void* memory) const {
  return static_cast<uint32_t>(static_cast<const char*>(memory) - arena_);
}

const void* SharedMemory::At(uint32_t address) const {
  return address < kArenaBytes && Contains(arena_ + address, 1) ? arena_ + address : nullptr;
}

char* SharedMemory::Take(size_t bytes, size_t alignment) {
  const size_t at = (used_ + kRedZoneBytes + alignment - 1) / alignment * alignment;
  if (at + bytes + kRedZoneBytes > kArenaBytes) return nullptr;
  used_ = at + bytes + kRedZoneBytes;
  AllowAccess(arena_ + at, bytes);
  return arena_ + at;
}

}  // namespace ropeway::cuda::emulation
