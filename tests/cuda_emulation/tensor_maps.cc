#include "tests/cuda_emulation/tensor_maps.h"

namespace ropeway::cuda::emulation {
namespace {

constexpr uint64_t kMark = 0x70616d726f736e74;
constexpr int64_t kNumberBytes = 2, kSwizzledBytes = 128;

}  // namespace

const char* WrongOfLayout(const TensorMapLayout& layout) {
  if (reinterpret_cast<uintptr_t>(layout.data) % 16 != 0) return "its data is not 16-byte aligned";
  for (int i = 0; i < 3; ++i) {
    if (layout.sizes[i] < 1 || layout.sizes[i] > int64_t{1} << 32) return "a size is not from 1 to 2^32";
    if (layout.box[i] < 1 || layout.box[i] > 256) return "a side of its box is not from 1 to 256";
  }
  const int64_t row = layout.box[0] * kNumberBytes;
  if (row % 16 != 0) return "a row of its box is not a multiple of 16 bytes";
  if (row > kSwizzledBytes) return "a row of its box is more than the swizzle has";
  int64_t inner = kNumberBytes;
  for (int i = 0; i < 2; ++i) {
    const int64_t stride = layout.strides[i];
    if (stride % 16 != 0 || stride < 0 || stride >= int64_t{1} << 40)
      return "a stride is not a multiple of 16 below 2^40";
    if (stride % inner != 0 || stride < layout.sizes[i] * inner)
      return "a stride is not a multiple of the one inside of it, or less than what is there";
    inner = stride;
  }
  return nullptr;
}

TensorMap ToTensorMap(const TensorMapLayout& layout) {
  TensorMap map;
  uint64_t* word = map.words;
  *word++ = kMark;
  *word++ = reinterpret_cast<uintptr_t>(layout.data);
  for (const int64_t size : layout.sizes) *word++ = static_cast<uint64_t>(size);
  for (const int64_t stride : layout.strides) *word++ = static_cast<uint64_t>(stride);
  for (const int side : layout.box) *word++ = static_cast<uint64_t>(side);
  return map;
}

bool FromTensorMap(const TensorMap& map, TensorMapLayout* layout) {
  const uint64_t* word = map.words;
  if (*word++ != kMark) return false;
  layout->data = reinterpret_cast<void*>(*word++);
  for (int64_t& size : layout->sizes) size = static_cast<int64_t>(*word++);
  for (int64_t& stride : layout->strides) stride = static_cast<int64_t>(*word++);
  for (int& side : layout->box) side = static_cast<int>(*word++);
  return true;
}

}  // namespace ropeway::cuda::emulation
