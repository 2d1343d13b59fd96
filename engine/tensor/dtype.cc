#include "engine/tensor/dtype.h"

#include "engine/base/check.h"

namespace ropeway {
namespace {

constexpr bool InOrder() {
  for (int i = 0; i < kNumDTypes; ++i)
    if (static_cast<int>(kDTypes[i].type) != i) return false;
  return true;
}
static_assert(InOrder(), "kDTypes lists the types in the order of DType");

}  // namespace

const DTypeInfo& InfoOf(DType type) {
  ROPEWAY_DCHECK(static_cast<int>(type) < kNumDTypes);
  return kDTypes[static_cast<int>(type)];
}

const char* NameOf(DType type) { return InfoOf(type).name; }

int64_t RowBytes(DType type, int64_t columns) {
  return columns / InfoOf(type).block_columns * InfoOf(type).block_bytes;
}

}  // namespace ropeway
