#include "engine/kernels/cuda/kv_maps.h"

namespace ropeway::cuda {

ErrorCode MakeKvMaps(Runtime& runtime, const KvPages& kv, int64_t num_pages, KvMaps* maps) {
  const int64_t rows = int64_t{kv.num_kv_heads} * kPageTokens, bytes = BytesOf(kv.element);
  const auto encode = [&](uint8_t* data, int columns, TensorMap* map) {
    return runtime.EncodeTensorMap({.data = data,
                                    .sizes = {columns, rows, num_pages},
                                    .strides = {columns * bytes, kv.page_bytes()},
                                    .box = {kKvBoxColumns, kPageTokens, 1}},
                                   map);
  };
  if (const ErrorCode error = encode(kv.data, kv.head_dim, &maps->keys)) return error;
  return encode(kv.data + rows * kv.head_dim * bytes, kv.value_dim, &maps->values);
}

}  // namespace ropeway::cuda
