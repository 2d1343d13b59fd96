// y [T, M] = x [T, K] W^T, W [M, K] in its packed type, float32 sums.
//
// Every product of a token is made of the same operations in the same order however many tokens there are
// beside it.
//
// 16-bit activations: a block takes 16 output rows and up to 64 tokens, on tensor cores. Weights are unpacked
// in registers and rounded to the type of x. Since the order of columns inside a sum is
// free, a lane feeds the tensor cores with whole units: of 4 consecutive units (a group), lane 4 g + j has
// unit j of rows g and g + 8, and of token g, so that every load is of 128 bits, and none goes through shared
// memory. Warp w takes groups w, w + 8,
// ...; at the end the warps' sums are added in order. Reads W once per 64 tokens.
//
// float32 activations: a warp an output row, over up to 8 tokens; lane l takes units l, l + 32, ... in order,
// then the lanes' sums are added as a tree. Reads W once per 8 tokens.
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/packed_units.cuh"

namespace ropeway::cuda {
namespace {

struct Product {
  PackedPlanes planes;
  int rows, units;  // M, K / 32
  int num_tokens;
  const void* x;
  void* y;
  int64_t y_stride;
  bool float_out;
};

// ---- 16-bit activations.

constexpr int kMmaWarps = 8;
constexpr int kMmaRows = 16, kMmaTokens = 8;  // of one mma
constexpr int kGroupUnits = 4;
constexpr int kPairs = kUnitColumns / 2;

// A unit as pairs of the activations' type; zeros past the end of the row.
template <DType kType, class T>
ROPEWAY_DEVICE void LoadPairs(const Product& product, int row, int unit, uint32_t (&pairs)[kPairs]) {
  float weights[kUnitColumns] = {};
  if (unit < product.units)
    UnpackUnit<kType>(product.planes, static_cast<int64_t>(row) * product.units + unit, weights);
#pragma unroll
  for (int i = 0; i < kPairs; ++i) pairs[i] = PackPair<T>(weights[2 * i], weights[2 * i + 1]);
}

// sums [kTiles][rows g, g + 8][tokens 2 j, 2 j + 1] += the products of this lane's group.
template <class T, int kTiles>
ROPEWAY_DEVICE void AddGroup(const Product& product, const uint32_t (&low_row)[kPairs],
                             const uint32_t (&high_row)[kPairs], int first_token, int unit,
                             float (&sums)[kTiles][4]) {
  // So many offsets of 64 bits do not fit the registers of sm_120; fewer are quicker to add.
  using Offset = std::conditional_t<kTiles == 8, int, int64_t>;
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    // Tokens past the last repeat it; their sums are not stored.
    const int token = min(first_token + tile * kMmaTokens + lane / 4, product.num_tokens - 1);
    const int64_t first_unit = Offset{token} * product.units + unit;
    const T* x = static_cast<const T*>(product.x) + first_unit * kUnitColumns;
#pragma unroll
    for (int part = 0; part < kUnitColumns / 8; ++part) {  // 8 columns, two steps
      Vector128<uint32_t> tokens = {};
      if (unit < product.units) tokens = Load128(reinterpret_cast<const uint32_t*>(x + part * 8));
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        const int pair = part * 4 + step * 2;
        MmaM16N8K16<T>(sums[tile], {low_row[pair], high_row[pair], low_row[pair + 1], high_row[pair + 1]},
                       {tokens.values[step * 2], tokens.values[step * 2 + 1]}, sums[tile]);
      }
    }
  }
}

// Adds the warps' sums, in order, and stores them.
template <class T, int kTiles>
ROPEWAY_DEVICE void StoreTile(const Product& product, int first_row, int first_token,
                              const float (&sums)[kTiles][4]) {
  constexpr int kTokens = kTiles * kMmaTokens;
  ROPEWAY_SHARED(parts, float[kMmaWarps][kTokens][kMmaRows]);
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      parts[warp][tile * kMmaTokens + lane % 4 * 2 + i % 2][lane / 4 + i / 2 * 8] = sums[tile][i];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kTokens * kMmaRows; i += kMmaWarps * 32) {
    const int row = i % kMmaRows, token = i / kMmaRows;
    float sum = parts[0][token][row];
#pragma unroll
    for (int w = 1; w < kMmaWarps; ++w) sum += parts[w][token][row];
    if (first_row + row >= product.rows || first_token + token >= product.num_tokens) continue;
    const int64_t place = (first_token + token) * product.y_stride + first_row + row;
    if (product.float_out)
      static_cast<float*>(product.y)[place] = sum;
    else
      static_cast<T*>(product.y)[place] = FromFloat<T>(sum);
  }
}

// Two blocks of a processor where one token is multiplied; more tokens need more registers than that leaves.
template <DType kType, int kTiles, class T>
__global__ void __launch_bounds__(kMmaWarps * 32, kTiles == 1 ? 2 : 1) PackedMmaKernel(Product product) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int first_row = static_cast<int>(blockIdx.x) * kMmaRows, last_row = product.rows - 1;
  const int first_token = static_cast<int>(blockIdx.y) * kTiles * kMmaTokens;
  const int low = min(first_row + lane / 4, last_row), high = min(first_row + 8 + lane / 4, last_row);
  const int groups = (product.units + kGroupUnits - 1) / kGroupUnits;
  float sums[kTiles][4] = {};
  for (int group = static_cast<int>(threadIdx.x / 32); group < groups; group += kMmaWarps) {
    const int unit = group * kGroupUnits + lane % 4;
    uint32_t low_row[kPairs], high_row[kPairs];
    LoadPairs<kType, T>(product, low, unit, low_row);
    LoadPairs<kType, T>(product, high, unit, high_row);
    AddGroup<T>(product, low_row, high_row, first_token, unit, sums);
  }
  StoreTile<T>(product, first_row, first_token, sums);
}

template <DType kType, int kTiles, class T>
ErrorCode LaunchMma(const Product& product, Stream stream) {
  constexpr int kTokens = kTiles * kMmaTokens;
  const dim3 grid(static_cast<unsigned>((product.rows + kMmaRows - 1) / kMmaRows),
                  static_cast<unsigned>((product.num_tokens + kTokens - 1) / kTokens));
  return Launch(stream, PackedMmaKernel<kType, kTiles, T>, grid, dim3(kMmaWarps * 32), 0, product);
}

// ---- float32 activations.

constexpr int kFloatWarps = 4;  // rows of a block

// sums[t] += the products of a unit, column by column.
template <int kTokens>
ROPEWAY_DEVICE void AddUnit(const float (&weights)[kUnitColumns], const float* x, int64_t columns, int tokens,
                            float (&sums)[kTokens]) {
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    const float* token = x + min(t, tokens - 1) * columns;
#pragma unroll
    for (int first = 0; first < kUnitColumns; first += 8) {
      float values[8];
      LoadFloats(token + first, values);
#pragma unroll
      for (int i = 0; i < 8; ++i) sums[t] = __fmaf_rn(weights[first + i], values[i], sums[t]);
    }
  }
}

template <DType kType, int kTokens>
__global__ void __launch_bounds__(kFloatWarps * 32) PackedFloatKernel(Product product) {
  const int row = static_cast<int>(blockIdx.x * kFloatWarps + threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  if (row >= product.rows) return;  // whole warps, and no barrier follows
  const int first_token = static_cast<int>(blockIdx.y) * kTokens;
  const int tokens = min(product.num_tokens - first_token, kTokens);
  const int64_t columns = int64_t{product.units} * kUnitColumns;
  const float* x = static_cast<const float*>(product.x) + first_token * columns;
  float sums[kTokens] = {};
  for (int unit = lane; unit < product.units; unit += 32) {
    float weights[kUnitColumns];
    UnpackUnit<kType>(product.planes, static_cast<int64_t>(row) * product.units + unit, weights);
    AddUnit(weights, x + unit * kUnitColumns, columns, tokens, sums);
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    const float sum = WarpSum(sums[t]);
    if (lane == 0 && t < tokens)
      static_cast<float*>(product.y)[(first_token + t) * product.y_stride + row] = sum;
  }
}

template <DType kType, int kTokens>
ErrorCode LaunchFloat(const Product& product, Stream stream) {
  const dim3 grid(static_cast<unsigned>((product.rows + kFloatWarps - 1) / kFloatWarps),
                  static_cast<unsigned>((product.num_tokens + kTokens - 1) / kTokens));
  return Launch(stream, PackedFloatKernel<kType, kTokens>, grid, dim3(kFloatWarps * 32), 0, product);
}

template <DType kType, class T>
ErrorCode LaunchFor(const Product& product, Stream stream) {
  if constexpr (std::is_same_v<T, float>) {
    return product.num_tokens == 1 ? LaunchFloat<kType, 1>(product, stream)
                                   : LaunchFloat<kType, 8>(product, stream);
  } else {
    if (product.num_tokens <= 8) return LaunchMma<kType, 1, T>(product, stream);
    if (product.num_tokens <= 32) return LaunchMma<kType, 4, T>(product, stream);
    return LaunchMma<kType, 8, T>(product, stream);
  }
}

}  // namespace

ErrorCode PackedMatMul(const MatMulArgs& args, Stream stream) {
  if (args.out != Element::kF32 && args.out != args.element) return kInvalidValue;
  const Product product = {.planes = PlanesOf(args.weights),
                           .rows = static_cast<int>(args.weights.rows),
                           .units = static_cast<int>(args.weights.columns / kUnitColumns),
                           .num_tokens = static_cast<int>(args.num_tokens),
                           .x = args.x,
                           .y = args.y,
                           .y_stride = args.y_stride,
                           .float_out = args.out == Element::kF32};
  return WithPackedType(args.weights.type, [&]<DType kType>() {
    return WithElement(args.element, [&]<class T>() { return LaunchFor<kType, T>(product, stream); });
  });
}

}  // namespace ropeway::cuda
