// What is done to queries, keys and values between their product and attention, number by number: kernels
// that share it give the same bytes.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_HEAD_ROTATION_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_HEAD_ROTATION_CUH_

#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/ops.h"

namespace ropeway::cuda {

ROPEWAY_DEVICE float Clipped(const QkvArgs& args, float x) {
  return args.clip <= 0 ? x : x > args.clip ? args.clip : x < -args.clip ? -args.clip : x;
}

// A pair (x, y) turned by an angle.
ROPEWAY_DEVICE float2 Rotated(float x, float y, float cosine, float sine) {
  return {__fmaf_rn(x, cosine, -__fmul_rn(y, sine)), __fmaf_rn(y, cosine, __fmul_rn(x, sine))};
}

// The row of the angles of a token whose position is given; padding has that of position 0.
ROPEWAY_DEVICE int AngleRow(const QkvArgs& args, int token, int position) {
  return max(args.angle_rows == nullptr ? position : args.angle_rows[token], 0);
}

// Where a head of a token begins in its page, and where its scale lies; null where the type has none.
// `kv_head` counts keys or values.
struct KvPlace {
  uint8_t* row;
  float* scale;
};
ROPEWAY_DEVICE KvPlace KvPlaceIn(const KvPages& kv, int64_t page, int position, bool is_value, int kv_head) {
  const int slot = kv_head * kPageTokens + position % kPageTokens;
  const int64_t keys = is_value ? int64_t{kv.num_kv_heads} * kPageTokens : 0;
  const int64_t width = is_value ? kv.value_dim : kv.head_dim;
  return {kv.data + page * kv.page_bytes() + (keys * kv.head_dim + slot * width) * BytesOf(kv.element),
          kv.scales == nullptr ? nullptr : kv.scales + page * kv.page_scales() + keys + slot};
}
// The page of a token.
ROPEWAY_DEVICE int64_t KvPageOf(const QkvArgs& args, int token, int position) {
  const int64_t table = static_cast<int64_t>(args.token_rows[token]) * args.max_pages;
  return args.page_tables[table + position / kPageTokens];
}
ROPEWAY_DEVICE KvPlace KvPlaceOf(const QkvArgs& args, int token, int position, bool is_value, int kv_head) {
  return KvPlaceIn(args.kv, KvPageOf(args, token, position), position, is_value, kv_head);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_HEAD_ROTATION_CUH_
