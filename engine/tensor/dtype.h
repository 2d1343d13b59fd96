// Element types of weights, as they lie in model files, and their block geometry.
#ifndef ROPEWAY_ENGINE_TENSOR_DTYPE_H_
#define ROPEWAY_ENGINE_TENSOR_DTYPE_H_

#include <cstdint>

namespace ropeway {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};
inline constexpr int kNumDTypes = 13;

struct DTypeInfo {
  const char* name;
  int block_columns;  // values that are stored together
  int block_bytes;    // bytes they take
};

// Geometry of `type`.
const DTypeInfo& InfoOf(DType type);

inline const char* NameOf(DType type) { return InfoOf(type).name; }

// Bytes of one row. REQUIRES: columns is a multiple of the type's block.
inline int64_t RowBytes(DType type, int64_t columns) {
  return columns / InfoOf(type).block_columns * InfoOf(type).block_bytes;
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_DTYPE_H_
