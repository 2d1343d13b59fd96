// Tensor maps of an emulated device: the layout itself, in words.
//
// Thread-safe: no state.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_TENSOR_MAPS_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_TENSOR_MAPS_H_

#include "engine/kernels/cuda/tensor_map.h"

namespace ropeway::cuda::emulation {

// What cuTensorMapEncodeTiled would refuse of a layout, or what its manual forbids; null for nothing.
const char* WrongOfLayout(const TensorMapLayout& layout);

TensorMap ToTensorMap(const TensorMapLayout& layout);
// False of what ToTensorMap has not made.
bool FromTensorMap(const TensorMap& map, TensorMapLayout* layout);

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_TENSOR_MAPS_H_
