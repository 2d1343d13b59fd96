// y [T, M] = x [T, K] W^T for few tokens, W [M, K] of 16 bits, with what stands in front of it and behind it in
// a layer (FusedMatMulArgs): reads W once per 16 tokens, the least up to 16 (stream_matmul.cuh).
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/stream_matmul.cuh"
#include "engine/kernels/cuda/stream_matmul.h"

namespace ropeway::cuda {
namespace {

template <class T, int kTokenTiles>
ErrorCode LaunchFor(const FusedMatMulArgs& args, const Product<OneMatrix>& product, Stream stream) {
  const int processors = args.product.processors;
  if (!args.norm) return LaunchStream<OneMatrix, T, kTokenTiles, false>(product, 0, processors, stream);
  const int64_t normed_bytes = product.source.num_tokens * NormedRowBytes(product.columns);
  return LaunchStream<OneMatrix, T, kTokenTiles, true>(product, normed_bytes, processors, stream);
}

}  // namespace

ErrorCode FusedDenseMatMul(const FusedMatMulArgs& args, Stream stream) {
  const MatMulArgs& matmul = args.product;
  if (matmul.element == Element::kF32 || matmul.weights.columns % kChunkColumns != 0) return kInvalidValue;
  if (matmul.out != Element::kF32 && matmul.out != matmul.element) return kInvalidValue;
  const Product<OneMatrix> product = {
      .source = {.weights = matmul.weights.data,
                 .num_tokens = static_cast<int>(matmul.num_tokens),
                 .tile_tokens = matmul.num_tokens <= kMmaTokens ? kMmaTokens : 2 * kMmaTokens},
      .x = matmul.x,
      .rows = static_cast<int>(matmul.weights.rows),
      .columns = static_cast<int>(matmul.weights.columns),
      .fresh_weights = matmul.fresh_weights,
      .norm = args.norm.value_or(NormArgs()),
      .end = EndOf(args)};
  if (TakesWarpgroups(matmul))
    return DenseMatMulByWarpgroups(product, matmul.element, matmul.processors, stream);
  if (TakesBulkCopies(matmul))
    return StreamByBulkCopies(product, matmul.element, args.norm.has_value(), matmul.processors, stream);
  return WithElement(matmul.element, [&]<class T>() -> ErrorCode {
    if constexpr (std::is_same_v<T, float>) {
      return kInvalidValue;
    } else {
      return product.source.tile_tokens == kMmaTokens ? LaunchFor<T, 1>(args, product, stream)
                                                      : LaunchFor<T, 2>(args, product, stream);
    }
  });
}

ErrorCode DenseMatMul(const MatMulArgs& args, Stream stream) {
  return FusedDenseMatMul({.product = args, .norm = {}, .add = {}, .gate = {}, .qkv = {}}, stream);
}

}  // namespace ropeway::cuda
