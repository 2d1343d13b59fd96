#include "engine/tensor/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "engine/base/check.h"

namespace ropeway {
namespace {

constexpr int64_t kCacheLine = 64;
constexpr int64_t kHugePage = 2 << 20;

}  // namespace

AlignedBuffer::AlignedBuffer(int64_t bytes) : bytes_(bytes) {
  ROPEWAY_CHECK(bytes >= 0);
  if (bytes == 0) return;
  const int64_t alignment = bytes >= kHugePage ? kHugePage : kCacheLine;
  const int64_t rounded = (bytes + alignment - 1) / alignment * alignment;
  data_.reset(static_cast<uint8_t*>(std::aligned_alloc(alignment, rounded)));
  ROPEWAY_CHECK(data_ != nullptr);
  // Only an advice: without huge pages everything works, with more misses of the address cache.
  if (alignment == kHugePage) madvise(data_.get(), rounded, MADV_HUGEPAGE);
  std::memset(data_.get(), 0, rounded);
}

void AlignedBuffer::Free::operator()(uint8_t* data) const { std::free(data); }

}  // namespace ropeway
