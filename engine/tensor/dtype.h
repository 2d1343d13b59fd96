// Element types of weights, as they lie in model files: what is known of each, in one table. A new type is a
// row of it, its block in quant_blocks.h, and a tile where a kernel set has none for its codes and scales.
//
// Plain data, for translation units of any instruction set: functions are defined in dtype.cc.
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

// What the codes q of a quantised type are multiplied by, and what is added. `d` and `m` are fp16, of a block
// of 32 columns or of a super-block of 256.
enum class QuantScales : uint8_t {
  kScale,           // d q
  kScaleMin,        // d q + m
  kSuperScaleMin,   // (d scale) q - (m min): scale and min uint8, per 32 columns
  kHalvesScale,     // (d scale) q: scale int8, per 16 columns
  kHalvesScaleMin,  // (d scale) q - (m min): scale and min 4 bits each, per 16 columns
};

// Codes are unsigned; where they are centred, q is the code less half its range.
struct QuantCode {
  int low_bits = 0;   // 0: not quantised
  int high_bits = 0;  // stored apart
  bool centred = false;
  QuantScales scales = QuantScales::kScale;

  constexpr int bits() const { return low_bits + high_bits; }
  constexpr int zero() const { return centred ? 1 << (bits() - 1) : 0; }
};

struct DTypeInfo {
  DType type;
  const char* name;
  int block_columns;  // values that are stored together
  int block_bytes;    // bytes they take
  QuantCode code;     // of quantised types
};

// In the order of DType.
inline constexpr DTypeInfo kDTypes[kNumDTypes] = {
    {DType::kF32, "F32", 1, 4, {}},
    {DType::kF16, "F16", 1, 2, {}},
    {DType::kBF16, "BF16", 1, 2, {}},
    {DType::kQ4_0, "Q4_0", 32, 18, {4, 0, true, QuantScales::kScale}},
    {DType::kQ4_1, "Q4_1", 32, 20, {4, 0, false, QuantScales::kScaleMin}},
    {DType::kQ5_0, "Q5_0", 32, 22, {4, 1, true, QuantScales::kScale}},
    {DType::kQ5_1, "Q5_1", 32, 24, {4, 1, false, QuantScales::kScaleMin}},
    {DType::kQ8_0, "Q8_0", 32, 34, {8, 0, true, QuantScales::kScale}},
    {DType::kQ2_K, "Q2_K", 256, 84, {2, 0, false, QuantScales::kHalvesScaleMin}},
    {DType::kQ3_K, "Q3_K", 256, 110, {2, 1, true, QuantScales::kHalvesScale}},
    {DType::kQ4_K, "Q4_K", 256, 144, {4, 0, false, QuantScales::kSuperScaleMin}},
    {DType::kQ5_K, "Q5_K", 256, 176, {4, 1, false, QuantScales::kSuperScaleMin}},
    {DType::kQ6_K, "Q6_K", 256, 210, {4, 2, true, QuantScales::kHalvesScale}},
};

// Of types known when the program is compiled.
template <DType kType>
inline constexpr DTypeInfo kInfoOf = kDTypes[static_cast<int>(kType)];
template <DType kType>
inline constexpr bool kIsQuantised = kInfoOf<kType>.code.low_bits != 0;

const DTypeInfo& InfoOf(DType type);
const char* NameOf(DType type);

// Bytes of one row. REQUIRES: columns is a multiple of the type's block.
int64_t RowBytes(DType type, int64_t columns);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_DTYPE_H_
