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
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
};
inline constexpr int kNumDTypes = 16;

// What the codes q of a quantised type are multiplied by, and what is added. `d` and `m` are fp16, of a block
// of 32 columns or of a super-block of 256, but for kScaleBf16.
enum class QuantScales : uint8_t {
  kScale,           // d q
  kScaleBf16,       // d q: d is bf16
  kScaleMin,        // d q + m
  kSuperScaleMin,   // (d scale) q - (m min): scale and min uint8, per 32 columns
  kHalvesScale,     // (d scale) q: scale int8, per 16 columns
  kHalvesScaleMin,  // (d scale) q - (m min): scale and min 4 bits each, per 16 columns
};

// What codes of four bits stand for, where that is not a number of steps.
enum class QuantTable : uint8_t { kNone, kIq4Nl, kE2m1 };
inline constexpr int8_t kQuantTables[][16] = {
    {},
    {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113},
    {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12},  // floats of 4 bits, doubled
};

// Codes are unsigned; where they are centred, q is the code less half its range. Codes of a table count as codes of 8 bits,
// centred, which are what it has for them.
struct QuantCode {
  int low_bits = 0;   // 0: not quantised
  int high_bits = 0;  // stored apart
  bool centred = false;
  QuantScales scales = QuantScales::kScale;
  QuantTable table = QuantTable::kNone;

  constexpr bool has_table() const { return table != QuantTable::kNone; }
  constexpr int bits() const { return low_bits + high_bits; }  // that are stored
  constexpr int value_bits() const { return has_table() ? 8 : bits(); }
  constexpr int zero() const { return centred ? 1 << (value_bits() - 1) : 0; }
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
    {DType::kIQ4_NL, "IQ4_NL", 32, 18, {4, 0, true, QuantScales::kScale, QuantTable::kIq4Nl}},
    {DType::kIQ4_XS, "IQ4_XS", 256, 136, {4, 0, true, QuantScales::kHalvesScale, QuantTable::kIq4Nl}},
    {DType::kMXFP4, "MXFP4", 32, 17, {4, 0, true, QuantScales::kScaleBf16, QuantTable::kE2m1}},
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
