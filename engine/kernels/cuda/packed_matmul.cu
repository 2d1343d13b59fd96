// y [T, M] = x [T, K] W^T, W [M, K] in its packed type, float32 sums.
//
// Every product of a token is made of the same operations in the same order however many tokens there are
// beside it.
//
// 16-bit activations: the rule of sums (gemm.h), W being rounded to the type of x. An output's chain over K
// is serial, and a step of it takes its time, but the unpacking in front of it is not: a block has 16 rows
// and 8 warps that unpack a slab of 512 columns of them into shared memory, a unit of 32 columns a thread,
// while one or two more warps multiply the slab before it. Packed numbers are loaded two slabs ahead, into
// registers, 128 bits at a time; those of the first slabs before the wait for the kernel in front. Several
// blocks on a processor hide each other's chains. Reads W once per 32 tokens.
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

constexpr int kTileRows = 16, kTileTokens = 8;  // of one mma
constexpr int kStep = 16;                       // columns of one mma
constexpr int kChunk = 8;                       // numbers in 16 bytes
constexpr int kUnpackWarps = 8;
constexpr int kSlabUnits = kUnpackWarps * 32 / kTileRows;  // a thread a unit
constexpr int kSlabColumns = kSlabUnits * kUnitColumns;
constexpr int kSlabRowBytes = kSlabColumns * 2;
constexpr int kSlabBytes = kTileRows * kSlabRowBytes;

// What is in shared memory: two slabs of W, and for each warp that multiplies two slabs of its tokens.
template <int kTokenTiles>
struct Slabs {
  static constexpr int kWarpTiles = kTokenTiles < 2 ? kTokenTiles : 2;  // of tokens, of a warp
  static constexpr int kWarps = kTokenTiles / kWarpTiles;               // that multiply
  static constexpr int kTokens = kTokenTiles * kTileTokens;
  static constexpr int kWarpTokens = kWarpTiles * kTileTokens;
  static constexpr int kTokenBytes = kWarpTokens * kSlabRowBytes;
  static constexpr int kThreads = (kUnpackWarps + kWarps) * 32;
  static constexpr int kBytes = 2 * (kSlabBytes + kWarps * kTokenBytes);
};

// Such that neither ldmatrix, which takes a chunk of eight rows, nor a quarter of a warp that stores chunks
// of eight units meets a bank twice.
ROPEWAY_DEVICE uint8_t* ChunkAt(uint8_t* slab, int row, int chunk) {
  return slab + row * kSlabRowBytes + ((chunk ^ (chunk >> 3 & 3) ^ (row & 7)) << 4);
}

// A thread's unit of a slab.
template <DType kType>
ROPEWAY_DEVICE RawUnit<kType> LoadMine(const Product& product, int row, int slab) {
  const int unit = slab * kSlabUnits + static_cast<int>(threadIdx.x) % kSlabUnits;
  if (unit >= product.units) return {};
  return LoadUnit<kType>(product.planes, static_cast<int64_t>(row) * product.units + unit);
}

template <DType kType, class T>
ROPEWAY_DEVICE void StoreMine(const RawUnit<kType>& raw, uint8_t* slab) {
  const int row = static_cast<int>(threadIdx.x) / kSlabUnits;
  const int unit = static_cast<int>(threadIdx.x) % kSlabUnits;
  float weights[kUnitColumns];
  UnpackRaw(raw, weights);
#pragma unroll
  for (int chunk = 0; chunk < kUnitColumns / kChunk; ++chunk) {
    Vector128<uint32_t> pairs;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      pairs.values[i] = PackPair<T>(weights[chunk * kChunk + 2 * i], weights[chunk * kChunk + 2 * i + 1]);
    Store128(reinterpret_cast<uint32_t*>(ChunkAt(slab, row, unit * 4 + chunk)), pairs);
  }
}

// A slab of the tokens of a warp; past the last token that one again.
template <class T, int kWarpTokens>
ROPEWAY_DEVICE void CopyTokens(const Product& product, int first_token, int slab, uint8_t* to) {
  const int columns = min(product.units * kUnitColumns - slab * kSlabColumns, kSlabColumns);
  const int chunks = columns / kChunk;
  const int64_t stride = int64_t{product.units} * kUnitColumns;
  for (int at = static_cast<int>(threadIdx.x % 32); at < kWarpTokens * chunks; at += 32) {
    const int row = at / chunks, chunk = at % chunks;
    const int64_t token = min(first_token + row, product.num_tokens - 1);
    CpAsync16(ChunkAt(to, row, chunk),
              static_cast<const T*>(product.x) + token * stride + slab * kSlabColumns + chunk * kChunk);
  }
}

// sums [kTiles][rows g, g + 8][tokens 2 j, 2 j + 1], of lane 4 g + j, += the products of so many columns of
// a slab, a multiple of 32.
template <class T, int kTiles>
ROPEWAY_DEVICE void MultiplySlab(uint8_t* slab, uint8_t* x, int columns, float (&sums)[kTiles][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32), matrix = lane / 8, row = lane % 8;
#pragma unroll 4
  for (int step = 0; step < columns / kStep; step += 2) {
    // [tile][step][columns 0..7, 8..15]: four matrices are two steps of a tile.
    uint32_t tokens[kTiles][4];
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
      LoadMatrixX4(tokens[t], ChunkAt(x, t * kTileTokens + row, step * 2 + matrix));
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      uint32_t weights[4];
      LoadMatrixX4(weights, ChunkAt(slab, matrix % 2 * 8 + row, (step + s) * 2 + matrix / 2));
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
        MmaM16N8K16<T>(sums[t], weights, {tokens[t][2 * s], tokens[t][2 * s + 1]}, sums[t]);
    }
  }
}

template <class T, int kTiles>
ROPEWAY_DEVICE void StoreSums(const Product& product, int first_token, const float (&sums)[kTiles][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = static_cast<int>(blockIdx.x) * kTileRows + lane / 4 + i / 2 * 8;
      const int token = first_token + t * kTileTokens + lane % 4 * 2 + i % 2;
      if (row >= product.rows || token >= product.num_tokens) continue;
      const int64_t place = token * product.y_stride + row;
      if (product.float_out)
        static_cast<float*>(product.y)[place] = sums[t][i];
      else
        static_cast<T*>(product.y)[place] = FromFloat<T>(sums[t][i]);
    }
  }
}

template <DType kType, int kTokenTiles, class T>
__global__ void __launch_bounds__(Slabs<kTokenTiles>::kThreads, 2) PackedStreamKernel(Product product) {
  using S = Slabs<kTokenTiles>;
  ROPEWAY_DYNAMIC_SHARED(uint8_t, shared);
  LaunchDependents();
  const int slabs = (product.units + kSlabUnits - 1) / kSlabUnits;
  const int multiplier = static_cast<int>(threadIdx.x / 32) - kUnpackWarps;  // < 0: this warp unpacks
  const int row = min(static_cast<int>(blockIdx.x) * kTileRows + static_cast<int>(threadIdx.x) / kSlabUnits,
                      product.rows - 1);
  const int first_token = static_cast<int>(blockIdx.y) * S::kTokens + multiplier * S::kWarpTokens;
  uint8_t* const x = shared + 2 * kSlabBytes + max(multiplier, 0) * 2 * S::kTokenBytes;
  RawUnit<kType> next = {}, after = {};
  if (multiplier < 0) {
    next = LoadMine<kType>(product, row, 0);
    after = LoadMine<kType>(product, row, 1);
  }
  GridDependencyWait();
  float sums[S::kWarpTiles][4] = {};
  for (int slab = 0; slab <= slabs; ++slab) {
    const int here = slab % 2;
    if (multiplier < 0) {
      if (slab < slabs) StoreMine<kType, T>(next, shared + here * kSlabBytes);
      next = after;
      after = LoadMine<kType>(product, row, slab + 2);
    } else {
      if (slab < slabs) CopyTokens<T, S::kWarpTokens>(product, first_token, slab, x + here * S::kTokenBytes);
      CpAsyncCommit();
      CpAsyncWait<1>();
      __syncwarp();
      const int columns = (product.units - (slab - 1) * kSlabUnits) * kUnitColumns;
      if (slab > 0)
        MultiplySlab<T>(shared + (1 - here) * kSlabBytes, x + (1 - here) * S::kTokenBytes,
                        min(columns, kSlabColumns), sums);
    }
    __syncthreads();
  }
  if (multiplier < 0) return;
  CpAsyncWait<0>();
  StoreSums<T>(product, first_token, sums);
}

template <DType kType, int kTokenTiles, class T>
ErrorCode LaunchStream(const Product& product, Stream stream) {
  using S = Slabs<kTokenTiles>;
  const dim3 grid(static_cast<unsigned>((product.rows + kTileRows - 1) / kTileRows),
                  static_cast<unsigned>((product.num_tokens + S::kTokens - 1) / S::kTokens));
  return LaunchDependent(stream, PackedStreamKernel<kType, kTokenTiles, T>, grid, dim3(S::kThreads),
                         S::kBytes, product);
}

// ---- float32 activations.

constexpr int kFloatWarps = 4;  // rows of a block

// sums[t] += the products of a unit, column by column.
template <int kTokens>
ROPEWAY_DEVICE void AddUnit(const float (&weights)[kUnitColumns], const float* x, int64_t columns, int tokens,
                            float (&sums)[kTokens]) {
#pragma unroll
  for (int first = 0; first < kUnitColumns; first += 8) {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      float values[8];
      LoadFloats(x + min(t, tokens - 1) * columns + first, values);
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
    if (product.num_tokens <= kTileTokens) return LaunchStream<kType, 1, T>(product, stream);
    if (product.num_tokens <= 2 * kTileTokens) return LaunchStream<kType, 2, T>(product, stream);
    return LaunchStream<kType, 4, T>(product, stream);
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
