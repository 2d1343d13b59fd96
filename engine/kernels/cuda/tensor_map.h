// Tensor maps: how bulk copies (bulk_copy.h) find boxes of an array in device memory.
//
// Plain C++. Runtime::EncodeTensorMap makes one, on the host; kernels take it by value, as a parameter.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_TENSOR_MAP_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_TENSOR_MAP_H_

#include <cstdint>

namespace ropeway::cuda {

// What the driver makes of a layout, for the device alone to read. Its manual wants 64 bytes of alignment, its header 128.
struct alignas(128) TensorMap {
  uint64_t words[16] = {};
};

// An array of numbers of 16 bits in three dimensions, the innermost first, and the box of it that a copy takes. In
// shared memory a box has its rows one after the other, with the swizzle of 128 bytes; what of it lies outside of the
// array is zeros there.
struct TensorMapLayout {
  void* data = nullptr;     // 16-byte aligned
  int64_t sizes[3] = {};    // numbers, rows, planes: 1 to 2^32
  int64_t strides[2] = {};  // bytes from row to row, and from plane to plane: multiples of 16 below 2^40
  int box[3] = {1, 1, 1};   // each up to 256; a row is up to 128 bytes, and a multiple of 16
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_TENSOR_MAP_H_
