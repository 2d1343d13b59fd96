// y [T, M] = x [T, K] W^T, W [M, K] in its packed type, float32 sums; with 16-bit activations and up to 16
// tokens with what stands in front of it and behind it in a layer (FusedMatMulArgs).
//
// Every product of a token is made of the same operations in the same order however many tokens there are
// beside it. Reads W once per 32 tokens with 16-bit activations (packed_matmul.cuh), once per 8 with float32
// (float_matmul.cuh).
#include "engine/kernels/cuda/float_matmul.cuh"
#include "engine/kernels/cuda/fused_matmul.h"
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/packed_matmul.cuh"

namespace ropeway::cuda {
namespace {

template <DType kType, int kTokens>
ErrorCode LaunchFloatFor(Product<OneMatrix> product, Stream stream) {
  product.source.tile_tokens = kTokens;
  return LaunchFloat<PackedRows<kType>, kTokens>(product, stream);
}

template <DType kType, class S, class T>
ErrorCode LaunchTiles(Product<OneMatrix> product, int processors, Stream stream) {
  product.source.tile_tokens = S::kTokens;
  const int64_t normed_bytes = S::kNormed ? product.source.num_tokens * NormedRowBytes(product.columns) : 0;
  return LaunchPacked<OneMatrix, kType, S, T>(product, normed_bytes, processors, stream);
}

// Tiles of rows for each of so many warps on a processor are many: then a warp has a whole one.
constexpr int kManyTiles = 6;

template <DType kType, class T>
ErrorCode LaunchFor(const FusedMatMulArgs& args, const Product<OneMatrix>& product, Stream stream) {
  const int tokens = product.source.num_tokens, processors = args.product.processors;
  if constexpr (std::is_same_v<T, float>) {
    return tokens == 1 ? LaunchFloatFor<kType, 1>(product, stream)
                       : LaunchFloatFor<kType, 8>(product, stream);
  } else {
    const bool many = TilesOf(product.end) >= kManyTiles * processors;
    if constexpr (TakesWholeTiles(kType)) {
      if (many && tokens <= 8)
        return args.norm ? LaunchTiles<kType, PackedShape<8, 2, true>, T>(product, processors, stream)
                         : LaunchTiles<kType, PackedShape<8, 2, false>, T>(product, processors, stream);
    }
    if (args.norm) return LaunchTiles<kType, PackedShape<16, 1, true>, T>(product, processors, stream);
    if (tokens <= 16) return LaunchTiles<kType, PackedShape<16, 1, false>, T>(product, processors, stream);
    return many ? LaunchTiles<kType, PackedShape<32, 2, false>, T>(product, processors, stream)
                : LaunchTiles<kType, PackedShape<32, 1, false>, T>(product, processors, stream);
  }
}

}  // namespace

ErrorCode FusedPackedMatMul(const FusedMatMulArgs& args, Stream stream) {
  const MatMulArgs& matmul = args.product;
  const DeviceMatrix& weights = matmul.weights;
  if (matmul.out != Element::kF32 && matmul.out != matmul.element) return kInvalidValue;
  const Product<OneMatrix> product = {
      .source = {.weights = weights.data, .num_tokens = static_cast<int>(matmul.num_tokens)},
      .layout = LayoutOf(weights.type, weights.rows, weights.columns),
      .x = matmul.x,
      .rows = static_cast<int>(weights.rows),
      .columns = static_cast<int>(weights.columns),
      .norm = args.norm.value_or(NormArgs()),
      .end = EndOf(args)};
  if (TakesWarpgroups(matmul))
    return PackedMatMulByWarpgroups(product, weights.type, matmul.element, matmul.processors, stream);
  return WithPackedType(weights.type, [&]<DType kType>() {
    return WithElement(matmul.element, [&]<class T>() { return LaunchFor<kType, T>(args, product, stream); });
  });
}

ErrorCode PackedMatMul(const MatMulArgs& args, Stream stream) {
  return FusedPackedMatMul({.product = args, .norm = {}, .add = {}, .gate = {}, .qkv = {}}, stream);
}

}  // namespace ropeway::cuda
