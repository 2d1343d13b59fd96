// The KV cache of one layer as bulk copies see it.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_KV_MAPS_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_KV_MAPS_H_

#include <cstdint>

#include "engine/kernels/cuda/kv_pages.h"
#include "engine/kernels/cuda/runtime.h"
#include "engine/kernels/cuda/tensor_map.h"

namespace ropeway::cuda {

inline constexpr int kKvBoxColumns = 64;

// Keys are numbers [pages][G kPageTokens][E], values likewise with Ev; a box has the tokens of a page of one KV head, and
// kKvBoxColumns columns. Row G kPageTokens and those after it are outside: zeros.
struct KvMaps {
  TensorMap keys, values;
};

// Whether maps can be made of pages with such heads: the driver's manual wants the distance between planes to be a
// multiple of that between rows. The latter is a multiple of 16 bytes where tensor cores take the heads.
constexpr bool KvMapsFit(int head_dim, int value_dim) {
  return kPageTokens * value_dim % head_dim == 0 && kPageTokens * head_dim % value_dim == 0;
}

// REQUIRES: `kv` has 16-bit numbers and `num_pages` pages at its data.
ErrorCode MakeKvMaps(Runtime& runtime, const KvPages& kv, int64_t num_pages, KvMaps* maps);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_KV_MAPS_H_
