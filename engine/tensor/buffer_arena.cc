#include "engine/tensor/buffer_arena.h"

#include "engine/base/ceil_div.h"
#include "engine/base/check.h"

namespace ropeway {

AlignedBuffer BufferArena::Take(int64_t bytes) {
  ROPEWAY_CHECK(bytes >= 0);
  if (bytes == 0 || bytes > kLargest) return AlignedBuffer(bytes);
  const int64_t rounded = CeilDiv(bytes, AlignedBuffer::kAlignment) * AlignedBuffer::kAlignment;
  if (block_ == nullptr || used_ + rounded > block_->bytes()) {
    block_ = std::make_shared<AlignedBuffer>(kBlockBytes);
    used_ = 0;
  }
  uint8_t* const data = block_->data() + used_;
  used_ += rounded;
  return AlignedBuffer(data, bytes, block_);
}

}  // namespace ropeway
