// Shared memory of one block: its dynamic part and the static objects, each between red zones.
//
// Not malloc: to ThreadSanitizer an allocation made by one device thread is a write by that thread.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_SHARED_MEMORY_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_SHARED_MEMORY_H_

#include <cstddef>
#include <cstdint>

namespace ropeway::cuda::emulation {

class SharedMemory {
 public:
  SharedMemory() = default;
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  // Before the first block of a launch: no static objects yet. `most_bytes`: what a block may ask for, of both.
  void Reset(size_t dynamic_bytes, size_t most_bytes);
  // Before each block: all bytes 0xFF, which is NaN, so that nothing survives from the block before.
  void Poison();

  // The object of `key`, made where there is none; null where all of them and the dynamic part are more than such
  // a launch gives.
  void* Static(const void* key, size_t bytes, size_t alignment);
  void* dynamic() const { return dynamic_; }  // null where there is none
  bool Contains(const void* address, size_t bytes) const;
  // As kernels that name shared memory by numbers see it; null where nothing is at the address.
  uint32_t AddressOf(const void* memory) const;
  const void* At(uint32_t address) const;

 private:
  static constexpr int kMaxObjects = 64;
  struct Object {
    const void* key;
    char* memory;
    size_t bytes;
  };
  char* Take(size_t bytes, size_t alignment);

  char* arena_ = nullptr;
  size_t used_ = 0;
  size_t static_bytes_ = 0;
  char* dynamic_ = nullptr;
  size_t dynamic_bytes_ = 0, most_bytes_ = 0;
  Object objects_[kMaxObjects];
  int num_objects_ = 0;
};

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_SHARED_MEMORY_H_
