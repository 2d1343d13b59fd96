// A weight matrix in device memory, and how its bytes are laid out on the host before they go there.
//
// Q4_0, Q4_1, Q8_0, Q4_K, Q6_K and MXFP4 stay packed: codes and scales in planes of their own, so that a warp loads
// 128 bits a lane. Other types are converted to the element type of the activations.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_DEVICE_MATRIX_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_DEVICE_MATRIX_H_

#include <cstdint>

#include "engine/kernels/cuda/element.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/tensor_view.h"

namespace ropeway::cuda {

struct DeviceMatrix {
  DType type = DType::kBF16;   // as stored here: kF32, kF16, kBF16 (dense, row-major), or a packed type
  int64_t rows = 0;            // M
  int64_t columns = 0;         // K
  const void* data = nullptr;  // 256-byte aligned
};

constexpr bool IsPacked(DType type) {
  return type == DType::kQ4_0 || type == DType::kQ4_1 || type == DType::kQ8_0 || type == DType::kQ4_K ||
         type == DType::kQ6_K || type == DType::kMXFP4;
}

constexpr DType DenseType(Element element) {
  return element == Element::kF32 ? DType::kF32 : element == Element::kF16 ? DType::kF16 : DType::kBF16;
}

// How a tensor of a file is stored on the device.
constexpr DType DeviceType(DType file_type, Element element) {
  return IsPacked(file_type) ? file_type : DenseType(element);
}

// Where the planes of a packed matrix lie, in bytes from its start, each at a multiple of 256. A unit is 32
// columns of a row, a group four units; groups follow each other row by row, and what the last of a row has beyond
// the row may be anything. The planes, with the bytes of a unit (or, for blocks, of 8 units):
//
//            codes                high              scales                       blocks
//   Q4_0     16: four bits        -                 2: d                         -
//   Q4_1     16: four bits        -                 4: d, m                      -
//   MXFP4    16: four bits        -                 2: d                         -
//   Q8_0     32: a byte, code + 128                 2: d                         -
//   Q4_K     16: four bits        -                 2: scale and min, as bytes   4: d, dmin
//   Q6_K     16: four low bits    8: two high bits  2: int8 scales of columns    2: d
//                                                   0..15 and 16..31
//
// Codes lie as lanes of a warp multiply them (packed_matmul.cuh): of a unit, columns 8 (i / 2) + 2 j + i % 2 for
// i = 0 to 7 are part j, and what part j of a group's units takes follows that of part j - 1. Of four bits a part is a
// word of 32: code i in bits 4 i to 4 i + 3, except that MXFP4's signs are bits 7, 15, 23, 31, 3, 11, 19, 27. Of eight
// it is eight bytes. The two high bits of part j of two units are a word: those of code i < 4 are bits
// 4 (i % 2) + 2 (i / 2) and the next, of code i + 4 those 16 above, and all of the second unit 8 above. d, m and dmin are
// fp16, MXFP4's d is bf16.
struct PackedLayout {
  int64_t codes = 0;
  int64_t high = 0;
  int64_t scales = 0;
  int64_t blocks = 0;
  int64_t bytes = 0;  // of all
};

inline constexpr int kUnitColumns = 32;
inline constexpr int kGroupUnits = 4, kUnitParts = 4, kPartColumns = 8;
inline constexpr int kBlockUnits = 8;  // of Q4_K and Q6_K

// Bytes of a unit in each plane; `block` is of kBlockUnits units.
struct UnitBytes {
  int codes = 0, high = 0, scales = 0, block = 0;
};

// REQUIRES: IsPacked(type)
constexpr UnitBytes UnitBytesOf(DType type) {
  const QuantCode& code = kDTypes[static_cast<int>(type)].code;
  UnitBytes bytes = {.codes = 4 * code.low_bits, .high = 4 * code.high_bits, .scales = 2};
  if (code.scales == QuantScales::kScaleMin) bytes.scales = 4;
  if (code.scales == QuantScales::kSuperScaleMin) bytes.block = 4;
  if (code.scales == QuantScales::kHalvesScale) bytes.block = 2;
  return bytes;
}

// Of a row, up to a whole group.
constexpr int64_t RowUnits(int64_t columns) {
  constexpr int kGroupColumns = kGroupUnits * kUnitColumns;
  return (columns + kGroupColumns - 1) / kGroupColumns * kGroupUnits;
}

// REQUIRES: IsPacked(type), and columns is a multiple of the type's block.
constexpr PackedLayout LayoutOf(DType type, int64_t rows, int64_t columns) {
  const auto aligned = [](int64_t bytes) { return (bytes + 255) / 256 * 256; };
  const UnitBytes bytes = UnitBytesOf(type);
  const int64_t units = rows * RowUnits(columns);
  PackedLayout layout;
  layout.high = aligned(units * bytes.codes);
  layout.scales = layout.high + aligned(units * bytes.high);
  layout.blocks = layout.scales + aligned(units * bytes.scales);
  layout.bytes = layout.blocks + aligned(units / kBlockUnits * bytes.block);
  return layout;
}

// Bytes of a matrix on the device.
int64_t DeviceMatrixBytes(DType device_type, int64_t rows, int64_t columns);

// Writes rows [first_row, first_row + view.rows()) of a matrix of total_rows rows into `out`, the host image
// of the whole matrix (DeviceMatrixBytes). REQUIRES: device_type == DeviceType(view.type, element).
void PackRows(const TensorView& view, DType device_type, int64_t total_rows, int64_t first_row, uint8_t* out);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_DEVICE_MATRIX_H_
