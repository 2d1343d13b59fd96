// How the KV cache of one layer lies in device memory.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_KV_PAGES_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_KV_PAGES_H_

#include <cstdint>

#include "engine/kernels/cuda/element.h"
#include "engine/tensor/shape.h"

namespace ropeway::cuda {

// A page holds kPageTokens tokens of all KV heads, keys first:
//   page:   { keys [G][kPageTokens][E], values [G][kPageTokens][Ev] }
//   scales: { keys [G][kPageTokens], values [G][kPageTokens] } float32, where the type has them;
//           number = code * scale
// Kernels of 16-bit activations load 128 bits at a time: every row of a head must be a multiple of 16 bytes.
// Those of float32 activations take any E and Ev.
struct KvPages {
  KvElement element = KvElement::kBF16;
  int num_kv_heads = 0;
  int head_dim = 0;
  int value_dim = 0;
  uint8_t* data = nullptr;  // page p at data + p * page_bytes()
  float* scales = nullptr;  // page p at scales + p * page_scales(); null where the type has none

  constexpr int64_t page_bytes() const {
    return int64_t{kPageTokens} * num_kv_heads * (head_dim + value_dim) * BytesOf(element);
  }
  constexpr int64_t page_scales() const {
    return HasScales(element) ? int64_t{2} * kPageTokens * num_kv_heads : 0;
  }
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_KV_PAGES_H_
