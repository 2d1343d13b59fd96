// Memory for vectors: zeroed, aligned to 2 MB pages where it is large and to 64 bytes where it is not. Large
// memory is the system's only from its first use on, so that a KV cache of gigabytes costs nothing at start.
//
// Movable, not copyable; as thread-safe as the bytes in it.
#ifndef ROPEWAY_ENGINE_TENSOR_ALIGNED_BUFFER_H_
#define ROPEWAY_ENGINE_TENSOR_ALIGNED_BUFFER_H_

#include <cstdint>
#include <memory>

namespace ropeway {

class AlignedBuffer {
 public:
  static constexpr int64_t kAlignment = 64;

  AlignedBuffer() = default;
  // Throws OutOfMemory (engine/base/exhaustion.h), as the containers of the standard library do.
  explicit AlignedBuffer(int64_t bytes);
  // Memory that is there as long as `owner`. REQUIRES: zeroed, a multiple of kAlignment, of no other buffer.
  AlignedBuffer(uint8_t* data, int64_t bytes, std::shared_ptr<const void> owner);

  uint8_t* data() { return data_.get(); }
  const uint8_t* data() const { return data_.get(); }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_.get());
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_.get());
  }
  int64_t bytes() const { return bytes_; }

 private:
  struct Free {
    int64_t mapped_bytes;               // 0, from the heap or the owner's, unless set
    std::shared_ptr<const void> owner;  // may be null
    void operator()(uint8_t* data) const;
  };
  using Memory = std::unique_ptr<uint8_t[], Free>;
  static Memory Allocate(int64_t bytes);
  static Memory Map(int64_t bytes);

  Memory data_;
  int64_t bytes_ = 0;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_ALIGNED_BUFFER_H_
