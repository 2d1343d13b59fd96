#include <cstring>

#include "engine/kernels/ops.h"

namespace ropeway::kernels {

KvLayout MakeKvLayout(KvType type, int num_kv_heads, int head_dim, int value_dim) {
  KvLayout kv{.bf16 = type == KvType::kBF16,
              .num_kv_heads = num_kv_heads,
              .head_dim = head_dim,
              .value_dim = value_dim,
              .padded_head_dim = type == KvType::kBF16 ? (head_dim + 3) / 4 * 4 : head_dim,
              .padded_value_dim = (value_dim + 15) / 16 * 16};
  kv.value_offset = kPageTokens * kv.padded_head_dim;
  kv.head_elements = kv.value_offset + kPageTokens * kv.padded_value_dim;
  kv.page_bytes = num_kv_heads * kv.head_elements * (kv.bf16 ? 2 : 4);
  return kv;
}

const KernelTable* SelectKernels(const char* name) {
  const bool best = std::strcmp(name, "auto") == 0;
  if (best || std::strcmp(name, "avx512") == 0) {
    const KernelTable* table = Avx512Kernels();
    if (table != nullptr || !best) return table;
  }
  if (best || std::strcmp(name, "avx2") == 0) {
    const KernelTable* table = Avx2Kernels();
    if (table != nullptr || !best) return table;
  }
  return best || std::strcmp(name, "ref") == 0 ? &RefKernels() : nullptr;
}

}  // namespace ropeway::kernels
