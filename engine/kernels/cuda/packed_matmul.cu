// y [T, M] = x [T, K] W^T, W [M, K] in its packed type, float32 sums.
//
// A warp an output row, over up to 8 tokens, so that a weight is unpacked once for all of them: lane l takes
// units l, l + 32, ... of 32 columns in order, then the lanes' sums are added as a tree. A token's sum is
// made of the same operations in the same order however many tokens there are beside it; tiles only share the
// weights. Reads W once per 8 tokens, 128 bits at a time, and x from the cache: at T = 1 it is bound by
// reading W.
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/packed_units.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kWarps = 4;  // rows of a block

template <class T, class Out>
struct Product {
  PackedPlanes planes;
  int rows, units;  // M, K / 32
  int num_tokens;
  const T* x;
  Out* y;
  int64_t y_stride;
};

// sums[t] += the part of unit `unit`; 8 columns of every token at a time.
template <int kTokens, class T>
ROPEWAY_DEVICE void AddUnit(const float (&weights)[kUnitColumns], const T* x, int columns, int tokens,
                            float (&sums)[kTokens]) {
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    // Tokens past the last repeat it; their sums are not stored.
    const T* token = x + static_cast<int64_t>(t < tokens ? t : tokens - 1) * columns;
#pragma unroll
    for (int first = 0; first < kUnitColumns; first += 8) {
      float values[8];
      LoadFloats(token + first, values);
#pragma unroll
      for (int i = 0; i < 8; ++i) sums[t] = __fmaf_rn(weights[first + i], values[i], sums[t]);
    }
  }
}

template <DType kType, int kTokens, class T, class Out>
__global__ void __launch_bounds__(kWarps * 32) PackedMatMulKernel(Product<T, Out> product) {
  const int row = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  if (row >= product.rows) return;  // whole warps, and no barrier follows
  const int first_token = static_cast<int>(blockIdx.y) * kTokens;
  const int tokens = min(product.num_tokens - first_token, kTokens);
  const int columns = product.units * kUnitColumns;
  const T* x = product.x + static_cast<int64_t>(first_token) * columns;
  float sums[kTokens] = {};
  for (int unit = lane; unit < product.units; unit += 32) {
    float weights[kUnitColumns];
    UnpackUnit<kType>(product.planes, static_cast<int64_t>(row) * product.units + unit, weights);
    AddUnit(weights, x + unit * kUnitColumns, columns, tokens, sums);
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    const float sum = WarpSum(sums[t]);
    if (lane == 0 && t < tokens) product.y[(first_token + t) * product.y_stride + row] = FromFloat<Out>(sum);
  }
}

template <DType kType, int kTokens, class T, class Out>
ErrorCode LaunchProduct(const PackedMatMulArgs& args, Stream stream) {
  const Product<T, Out> product = {.planes = PlanesOf(args.weights),
                                   .rows = static_cast<int>(args.weights.rows),
                                   .units = static_cast<int>(args.weights.columns / kUnitColumns),
                                   .num_tokens = static_cast<int>(args.num_tokens),
                                   .x = static_cast<const T*>(args.x),
                                   .y = static_cast<Out*>(args.y),
                                   .y_stride = args.y_stride};
  const dim3 grid(static_cast<unsigned>((product.rows + kWarps - 1) / kWarps),
                  static_cast<unsigned>((product.num_tokens + kTokens - 1) / kTokens));
  return Launch(stream, PackedMatMulKernel<kType, kTokens, T, Out>, grid, dim3(kWarps * 32), 0, product);
}

template <DType kType, class T, class Out>
ErrorCode LaunchFor(const PackedMatMulArgs& args, Stream stream) {
  if (args.num_tokens == 1) return LaunchProduct<kType, 1, T, Out>(args, stream);
  if (args.num_tokens <= 4) return LaunchProduct<kType, 4, T, Out>(args, stream);
  return LaunchProduct<kType, 8, T, Out>(args, stream);
}

}  // namespace

ErrorCode PackedMatMul(const PackedMatMulArgs& args, Stream stream) {
  return WithPackedType(args.weights.type, [&]<DType kType>() {
    return WithElement(args.element, [&]<class T>() {
      if (args.out == Element::kF32) return LaunchFor<kType, T, float>(args, stream);
      return args.out == args.element ? LaunchFor<kType, T, T>(args, stream) : kInvalidValue;
    });
  });
}

}  // namespace ropeway::cuda
