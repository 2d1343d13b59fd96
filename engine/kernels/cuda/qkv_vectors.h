// Which queries, keys and values qkv_vectors.cu takes; qkv.cu takes all others. The answer depends on the layer alone.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_QKV_VECTORS_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_QKV_VECTORS_H_

#include "engine/kernels/cuda/ops.h"

namespace ropeway::cuda {

constexpr bool TakesVectorHeads(const QkvArgs& args) {
  const KvPages& kv = args.kv;
  const HeadNorms& norms = args.norms;
  const bool own_type = (args.element == Element::kF16 && kv.element == KvElement::kF16) ||
                        (args.element == Element::kBF16 && kv.element == KvElement::kBF16);
  const bool simple_norm = norms.kind == NormKind::kNone ||
                           (norms.kind == NormKind::kRms && !norms.all_heads && !norms.after_rotation);
  const int halves =
      args.interleaved ? 8 : 16;  // columns: of lanes that turn, each has one half of pairs or both
  return own_type && simple_norm && args.shared_keys == nullptr && args.previous.out == nullptr &&
         kv.head_dim % 8 == 0 && kv.head_dim <= 256 && kv.value_dim % 8 == 0 && kv.value_dim <= 256 &&
         args.rotary_dim % halves == 0;
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_QKV_VECTORS_H_
