// The memory of an emulated device: one range of addresses of a fixed size.
//
// Allocations are filled with 0xFF (NaN), lie apart, and what lies between them is watched. While nothing
// executes on the device, the host can neither read nor write it: doing so ends the process, as it would with
// a real device. Thread-safe.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_DEVICE_MEMORY_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_DEVICE_MEMORY_H_

#include <cstddef>
#include <map>
#include <mutex>

namespace ropeway::cuda::emulation {

class DeviceMemory {
 public:
  explicit DeviceMemory(size_t bytes);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  void* Allocate(size_t bytes);  // 256-byte aligned; null where it does not fit
  bool Free(void* memory);       // whether `memory` was allocated
  // Whether [address, address + bytes) lies in one allocation.
  bool Contains(const void* address, size_t bytes);
  // An allocation that was written past its end, or null. REQUIRES: an Access is open.
  const void* FindOverrun();

  size_t total_bytes() const { return total_bytes_; }
  size_t free_bytes();

  // While one is open, the memory can be read and written.
  class Access {
   public:
    explicit Access(DeviceMemory& memory);
    ~Access();
    Access(const Access&) = delete;
    Access& operator=(const Access&) = delete;

   private:
    DeviceMemory& memory_;
  };

 private:
  void Protect(int protection);

  const size_t total_bytes_;
  char* base_ = nullptr;
  size_t reserved_bytes_ = 0;
  std::mutex mutex_;
  std::map<size_t, size_t> allocations_;  // offset -> bytes
  size_t allocated_bytes_ = 0;
  size_t touched_bytes_ = 0;  // [0, touched_bytes_) was ever part of an allocation
  int num_accesses_ = 0;
};

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_DEVICE_MEMORY_H_
