// Memory for many buffers that live as long as each other: they lie one behind the other in blocks of huge pages, where one by
// one they would be too small for these.
//
// What is read as one stream, once a step, should not be in pages of 4 KB: at the end of each the processor's prefetchers stop,
// and the next one's address is looked for.
//
// Of one thread; the buffers are anybody's.
#ifndef ROPEWAY_ENGINE_TENSOR_BUFFER_ARENA_H_
#define ROPEWAY_ENGINE_TENSOR_BUFFER_ARENA_H_

#include <cstdint>
#include <memory>

#include "engine/tensor/aligned_buffer.h"

namespace ropeway {

class BufferArena {
 public:
  // Of a block only what is used is taken from the system, but for the rest of a huge page.
  static constexpr int64_t kBlockBytes = 32 << 20;
  // A larger buffer has memory of its own.
  static constexpr int64_t kLargest = kBlockBytes / 4;

  // Zeroed. Its block lives as long as any buffer in it. Throws OutOfMemory.
  AlignedBuffer Take(int64_t bytes);

 private:
  std::shared_ptr<AlignedBuffer> block_;
  int64_t used_ = 0;  // of the block
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_BUFFER_ARENA_H_
