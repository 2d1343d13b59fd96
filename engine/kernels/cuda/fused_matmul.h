// Which products take their neighbours into their kernel, and for how many tokens.
//
// Plain C++, pure functions: the answer depends on the layer alone, so that the same step takes the same way
// again, and every way gives the same bytes.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_FUSED_MATMUL_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_FUSED_MATMUL_H_

#include <algorithm>
#include <climits>
#include <cstdint>

#include "engine/kernels/cuda/ops.h"

namespace ropeway::cuda {

// The most tokens, except of warpgroups, which take any number: two tiles of mma.
inline constexpr int kFusedTokens = 16;
// What a block may keep of normed rows: two of 4096 columns. With more each block would norm for longer than
// its first weights are under way, where the norm's own kernel divides the rows among blocks; and two blocks,
// of a kernel or of one and the next, must find room on a processor. Not measured.
inline constexpr int kNormedBytes = 16 << 10;

// Of a row in shared memory: a whole number of 128 bytes.
constexpr int64_t NormedRowBytes(int64_t columns) { return (columns + 63) / 64 * 128; }

// Products that warpgroups make, on devices that have them (HasWarpgroups of attention.h).
constexpr bool TakesWarpgroups(const MatMulArgs& product) {
  if (!product.warpgroups || product.element == Element::kF32) return false;
  return IsPacked(product.weights.type) ||
         (product.weights.type == DenseType(product.element) && product.weights.columns % 8 == 0);
}

constexpr bool FusesNorm(const MatMulArgs& product, const NormArgs& norm) {
  return norm.branch == nullptr && norm.rows == nullptr && norm.element == product.element &&
         norm.columns == product.weights.columns && norm.columns % 8 == 0;
}

constexpr bool FusesAdd(const MatMulArgs& product, const NormArgs& add) {
  return add.post_kind == NormKind::kNone && add.out == nullptr && add.columns == product.weights.rows;
}

constexpr bool FusesGate(const MatMulArgs& product, const GateArgs& gate) {
  return gate.experts == nullptr && GateUpColumns(gate) == product.weights.rows;
}

// The rows of a tile are of one head, and both halves of a pair are in one.
constexpr bool FusesQkv(const MatMulArgs& product, const QkvArgs& qkv) {
  const KvPages& kv = qkv.kv;
  const int64_t outputs =
      int64_t{qkv.num_heads + kv.num_kv_heads} * kv.head_dim + kv.num_kv_heads * kv.value_dim;
  const bool own_type = kv.element == (product.element == Element::kF16 ? KvElement::kF16 : KvElement::kBF16);
  return own_type && outputs == product.weights.rows && qkv.shared_keys == nullptr &&
         qkv.norms.kind == NormKind::kNone && qkv.previous.out == nullptr && kv.head_dim % 16 == 0 &&
         kv.value_dim % 16 == 0 && qkv.rotary_dim % 16 == 0;
}

// Up to so many tokens `fused_matmul` takes these; 0: never.
constexpr int FusedTokens(const FusedMatMulArgs& args) {
  const MatMulArgs& product = args.product;
  if (product.element == Element::kF32) return 0;
  if (!IsPacked(product.weights.type) &&
      (product.weights.type != DenseType(product.element) || product.weights.columns % 8 != 0))
    return 0;
  const int ends = args.add.has_value() + args.gate.has_value() + args.qkv.has_value();
  // Blocks that norm rows of the residual would meet what others have added to them.
  if (args.norm && args.add) return 0;
  if (ends > 1 || (ends == 1 && product.out != product.element)) return 0;
  if (args.add && !FusesAdd(product, *args.add)) return 0;
  if (args.gate && !FusesGate(product, *args.gate)) return 0;
  if (args.qkv && !FusesQkv(product, *args.qkv)) return 0;
  if (TakesWarpgroups(product)) return args.norm ? 0 : INT_MAX;
  if (!args.norm) return kFusedTokens;
  if (!FusesNorm(product, *args.norm)) return 0;
  return static_cast<int>(std::min<int64_t>(kFusedTokens, kNormedBytes / NormedRowBytes(args.norm->columns)));
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_FUSED_MATMUL_H_
