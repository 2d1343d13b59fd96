#include <cstring>

#include "engine/kernels/ops.h"

namespace ropeway::kernels {
namespace {
#include "engine/kernels/kv_layout_inl.h"
}  // namespace

KvLayout MakeKvLayout(KvType type, int num_kv_heads, int head_dim, int value_dim) {
  KvLayout kv{.bf16 = type == KvType::kBF16,
              .num_kv_heads = num_kv_heads,
              .head_dim = head_dim,
              .value_dim = value_dim,
              .padded_head_dim = type == KvType::kBF16 ? (head_dim + 3) / 4 * 4 : head_dim,
              .padded_value_dim = (value_dim + 15) / 16 * 16};
  constexpr int64_t kQuadTokens = kQuadPages * kPageTokens;
  kv.value_columns = kv.padded_value_dim % 32 == 0 ? 32 : 16;
  kv.value_offset = kQuadTokens * kv.padded_head_dim;
  kv.head_elements = kv.value_offset + kQuadTokens * kv.padded_value_dim;
  kv.quad_bytes = num_kv_heads * kv.head_elements * (kv.bf16 ? 2 : 4);
  kv.page_bytes = kv.quad_bytes / kQuadPages;
  return kv;
}

void CopyPage(const KvLayout& kv, uint8_t* cache, int64_t from, int64_t to) {
  const int64_t element_bytes = kv.bf16 ? 2 : 4;
  const auto at = [&](int64_t page, int64_t element) {
    return cache + page / kQuadPages * kv.quad_bytes + element * element_bytes;
  };
  const auto copy = [&](int64_t source, int64_t target, int64_t elements) {
    std::memcpy(at(to, target), at(from, source), static_cast<size_t>(elements * element_bytes));
  };
  for (int head = 0; head < kv.num_kv_heads; ++head) {
    for (int64_t line = 0; line < KeyLines(kv); ++line)
      copy(KeyLine(kv, head, from, line), KeyLine(kv, head, to, line), KeyLineElements(kv));
    for (int64_t column = 0; column < kv.padded_value_dim; column += kv.value_columns)
      copy(ValueBlock(kv, head, from, column), ValueBlock(kv, head, to, column),
           kPageTokens * kv.value_columns);
  }
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
