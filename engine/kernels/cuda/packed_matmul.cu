// y [T, M] = x [T, K] W^T, W [M, K] in its packed type, float32 sums; with 16-bit activations and up to 16
// tokens with what stands in front of it and behind it in a layer (FusedMatMulArgs).
//
// Every product of a token is made of the same operations in the same order however many tokens there are
// beside it.
//
// 16-bit activations: the rule of sums (gemm.h), W being rounded to the type of x. An output's chain over K
// is serial, and a step of it takes its time, but the unpacking in front of it is not: a block has 16 rows
// and 8 warps that unpack a slab of 512 columns of them into shared memory, a unit of 32 columns a thread,
// while one or two more warps multiply the slab before it. Packed numbers are loaded two slabs ahead, into
// registers, 128 bits at a time; those of the first slabs before the wait for the kernel in front. As many
// blocks as find room go from tile to tile without a pause; several on a processor hide each other's chains.
// Reads W once per 32 tokens.
//
// float32 activations: a warp an output row, over up to 8 tokens; lane l takes units l, l + 32, ... in order,
// then the lanes' sums are added as a tree. Reads W once per 8 tokens.
#include <algorithm>

#include "engine/kernels/cuda/fused_matmul.h"
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/normed_tokens.cuh"
#include "engine/kernels/cuda/packed_units.cuh"
#include "engine/kernels/cuda/product_end.cuh"

namespace ropeway::cuda {
namespace {

struct Product {
  PackedPlanes planes;
  int rows, units;  // M, K / 32
  int num_tokens;
  const void* x;
  NormArgs norm;  // where tokens are normed here
  ProductEnd end;
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
// kNormed: whole rows of them lie beside it.
template <int kTokenTiles, bool kNormed>
struct Slabs {
  static constexpr int kWarpTiles = kTokenTiles < 2 ? kTokenTiles : 2;  // of tokens, of a warp
  static constexpr int kWarps = kTokenTiles / kWarpTiles;               // that multiply
  static constexpr int kTokens = kTokenTiles * kTileTokens;
  static constexpr int kWarpTokens = kWarpTiles * kTileTokens;
  static constexpr int kTokenBytes = kNormed ? 0 : kWarpTokens * kSlabRowBytes;
  static constexpr int kThreads = (kUnpackWarps + kWarps) * 32;
  static constexpr int kBytes = 2 * (kSlabBytes + kWarps * kTokenBytes);
};

// Such that neither ldmatrix, which takes a chunk of eight rows, nor a quarter of a warp that stores chunks
// of eight units meets a bank twice.
ROPEWAY_DEVICE uint8_t* ChunkAt(uint8_t* slab, int row, int chunk) {
  return slab + row * kSlabRowBytes + ((chunk ^ (chunk >> 3 & 3) ^ (row & 7)) << 4);
}

// Where a block is in its tiles, a slab at a time.
struct Place {
  int tile, slab;

  // Whether that is the next tile's beginning.
  ROPEWAY_DEVICE bool Advance(int slabs) {
    if (++slab < slabs) return false;
    slab = 0;
    tile += static_cast<int>(gridDim.x);
    return true;
  }
};

// A thread's unit of a slab, of this row.
template <DType kType>
ROPEWAY_DEVICE RawUnit<kType> LoadMine(const Product& product, int64_t row, int slab) {
  const int unit = slab * kSlabUnits + static_cast<int>(threadIdx.x) % kSlabUnits;
  if (unit >= product.units) return {};
  return LoadUnit<kType>(product.planes, row * product.units + unit);
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

// Where the multiplying warp finds the tokens of a slab: in a slab of their own, or normed.
struct SlabTokens {
  uint8_t* slab;
  ROPEWAY_DEVICE uint8_t* At(int row, int chunk) const { return ChunkAt(slab, row, chunk); }
};
struct NormedSlab {
  const NormedTokens& tokens;
  int first_token, first_chunk;
  ROPEWAY_DEVICE uint8_t* At(int row, int chunk) const {
    return tokens.ChunkAt(first_token + row, first_chunk + chunk);
  }
};

// sums [kTiles][rows g, g + 8][tokens 2 j, 2 j + 1], of lane 4 g + j, += the products of so many columns of
// a slab, a multiple of 32.
template <class T, int kTiles, class Tokens>
ROPEWAY_DEVICE void MultiplySlab(uint8_t* slab, const Tokens& x, int columns, float (&sums)[kTiles][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32), matrix = lane / 8, row = lane % 8;
#pragma unroll 4
  for (int step = 0; step < columns / kStep; step += 2) {
    // [tile][step][columns 0..7, 8..15]: four matrices are two steps of a tile.
    uint32_t tokens[kTiles][4];
#pragma unroll
    for (int t = 0; t < kTiles; ++t) LoadMatrixX4(tokens[t], x.At(t * kTileTokens + row, step * 2 + matrix));
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

// What the warps that unpack do: slab after slab of the block's tiles, each loaded two slabs ahead.
template <DType kType, class T>
class Unpacker {
 public:
  ROPEWAY_DEVICE Unpacker(const Product& product, int slabs, int tiles)
      : product_(product), slabs_(slabs), tiles_(tiles), ahead_{static_cast<int>(blockIdx.x), 0} {}

  ROPEWAY_DEVICE void Start() {
    FindRow();
    next_ = Load();
    after_ = Load();
  }
  ROPEWAY_DEVICE void Step(uint8_t* slab) {
    StoreMine<kType, T>(next_, slab);
    next_ = after_;
    after_ = Load();
  }

 private:
  ROPEWAY_DEVICE void FindRow() {
    row_ = RowsOf(product_.end, ahead_.tile).Row(static_cast<int>(threadIdx.x) / kSlabUnits);
    row_ = min(row_, product_.rows - 1);
  }
  ROPEWAY_DEVICE RawUnit<kType> Load() {
    if (ahead_.tile >= tiles_) return {};
    const RawUnit<kType> raw = LoadMine<kType>(product_, row_, ahead_.slab);
    if (ahead_.Advance(slabs_)) FindRow();
    return raw;
  }

  const Product& product_;
  const int slabs_, tiles_;
  Place ahead_;
  int row_ = 0;
  RawUnit<kType> next_ = {}, after_ = {};
};

// What a warp that multiplies does: `slab` of W and of its own tokens, or of those that are normed.
template <class T, bool kNormed, int kWarpTiles>
class Multiplier {
 public:
  ROPEWAY_DEVICE Multiplier(const Product& product, int slabs, int first_token)
      : product_(product), slabs_(slabs), first_token_(first_token), at_{static_cast<int>(blockIdx.x), 0} {}

  ROPEWAY_DEVICE void Step(uint8_t* slab, uint8_t* x, const NormedTokens& normed) {
    const int columns = min((product_.units - at_.slab * kSlabUnits) * kUnitColumns, kSlabColumns);
    if constexpr (kNormed)
      MultiplySlab<T>(slab, NormedSlab{normed, first_token_, at_.slab * kSlabColumns / kChunk}, columns,
                      sums_);
    else
      MultiplySlab<T>(slab, SlabTokens{x}, columns, sums_);
    const int tile = at_.tile;
    if (!at_.Advance(slabs_)) return;
    FinishTile<T>(product_.end, tile, first_token_, max(product_.num_tokens - first_token_, 0), sums_);
#pragma unroll
    for (auto& sum : sums_) sum[0] = sum[1] = sum[2] = sum[3] = 0;
  }

 private:
  const Product& product_;
  const int slabs_, first_token_;
  Place at_;
  float sums_[kWarpTiles][4] = {};
};

template <DType kType, int kTokenTiles, bool kNormed, class T>
__global__ void __launch_bounds__(Slabs<kTokenTiles, kNormed>::kThreads, 2)
    PackedStreamKernel(Product product) {
  using S = Slabs<kTokenTiles, kNormed>;
  ROPEWAY_DYNAMIC_SHARED(uint8_t, shared);
  LaunchDependents();
  const int slabs = (product.units + kSlabUnits - 1) / kSlabUnits, tiles = TilesOf(product.end);
  const int mine = (tiles - static_cast<int>(blockIdx.x) - 1) / static_cast<int>(gridDim.x) + 1;
  const int steps = mine * slabs;
  const int warp = static_cast<int>(threadIdx.x / 32) - kUnpackWarps;  // < 0: it unpacks
  const NormedTokens normed = {shared + S::kBytes,
                               static_cast<int>(NormedRowBytes(int64_t{product.units} * kUnitColumns)),
                               product.num_tokens};
  const int first_token = static_cast<int>(blockIdx.y) * S::kTokens + max(warp, 0) * S::kWarpTokens;
  Unpacker<kType, T> unpacker(product, slabs, tiles);
  Multiplier<T, kNormed, S::kWarpTiles> multiplier(product, slabs, first_token);
  uint8_t* const x = shared + 2 * kSlabBytes + max(warp, 0) * 2 * S::kTokenBytes;
  if (warp < 0) unpacker.Start();
  if constexpr (kNormed) PrefetchNorm<S::kThreads / 32>(product.norm);
  GridDependencyWait();
  if constexpr (kNormed) NormTokens<T, S::kThreads / 32>(product.norm, normed);
  for (int step = 0, slab = 0; step <= steps; ++step) {
    const int here = step % 2;
    if (warp < 0) {
      if (step < steps) unpacker.Step(shared + here * kSlabBytes);
    } else {
      if (!kNormed && step < steps)
        CopyTokens<T, S::kWarpTokens>(product, first_token, slab, x + here * S::kTokenBytes);
      slab = slab + 1 == slabs ? 0 : slab + 1;
      CpAsyncCommit();
      CpAsyncWait<1>();
      __syncwarp();
      if (step > 0)
        multiplier.Step(shared + (1 - here) * kSlabBytes, x + (1 - here) * S::kTokenBytes, normed);
    }
    __syncthreads();
  }
  CpAsyncWait<0>();
}

// As many blocks as find room at once, each with its share of the tiles.
template <DType kType, int kTokenTiles, bool kNormed, class T>
ErrorCode LaunchStream(const Product& product, int processors, Stream stream) {
  using S = Slabs<kTokenTiles, kNormed>;
  const auto kernel = PackedStreamKernel<kType, kTokenTiles, kNormed, T>;
  const int64_t columns = int64_t{product.units} * kUnitColumns;
  const int64_t normed = kNormed ? product.num_tokens * NormedRowBytes(columns) : 0;
  const auto shared_bytes = static_cast<size_t>(S::kBytes + normed);
  const int groups = (product.num_tokens + S::kTokens - 1) / S::kTokens;
  const int resident = processors * BlocksPerProcessor(kernel, S::kThreads, shared_bytes);
  const dim3 grid(static_cast<unsigned>(std::clamp(resident / groups, 1, TilesOf(product.end))),
                  static_cast<unsigned>(groups));
  return LaunchDependent(stream, kernel, grid, dim3(S::kThreads), shared_bytes, product);
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
      static_cast<float*>(product.end.y)[(first_token + t) * product.end.y_stride + row] = sum;
  }
}

template <DType kType, int kTokens>
ErrorCode LaunchFloat(const Product& product, Stream stream) {
  const dim3 grid(static_cast<unsigned>((product.rows + kFloatWarps - 1) / kFloatWarps),
                  static_cast<unsigned>((product.num_tokens + kTokens - 1) / kTokens));
  return Launch(stream, PackedFloatKernel<kType, kTokens>, grid, dim3(kFloatWarps * 32), 0, product);
}

template <DType kType, class T>
ErrorCode LaunchFor(const FusedMatMulArgs& args, const Product& product, Stream stream) {
  if constexpr (std::is_same_v<T, float>) {
    return product.num_tokens == 1 ? LaunchFloat<kType, 1>(product, stream)
                                   : LaunchFloat<kType, 8>(product, stream);
  } else {
    const int processors = args.product.processors;
    if (product.num_tokens <= kTileTokens)
      return args.norm ? LaunchStream<kType, 1, true, T>(product, processors, stream)
                       : LaunchStream<kType, 1, false, T>(product, processors, stream);
    if (product.num_tokens <= 2 * kTileTokens)
      return args.norm ? LaunchStream<kType, 2, true, T>(product, processors, stream)
                       : LaunchStream<kType, 2, false, T>(product, processors, stream);
    return LaunchStream<kType, 4, false, T>(product, processors, stream);
  }
}

}  // namespace

ErrorCode FusedPackedMatMul(const FusedMatMulArgs& args, Stream stream) {
  const MatMulArgs& matmul = args.product;
  if (matmul.out != Element::kF32 && matmul.out != matmul.element) return kInvalidValue;
  const Product product = {.planes = PlanesOf(matmul.weights),
                           .rows = static_cast<int>(matmul.weights.rows),
                           .units = static_cast<int>(matmul.weights.columns / kUnitColumns),
                           .num_tokens = static_cast<int>(matmul.num_tokens),
                           .x = matmul.x,
                           .norm = args.norm.value_or(NormArgs()),
                           .end = EndOf(args)};
  return WithPackedType(matmul.weights.type, [&]<DType kType>() {
    return WithElement(matmul.element, [&]<class T>() { return LaunchFor<kType, T>(args, product, stream); });
  });
}

ErrorCode PackedMatMul(const MatMulArgs& args, Stream stream) {
  return FusedPackedMatMul({.product = args, .norm = {}, .add = {}, .gate = {}, .qkv = {}}, stream);
}

}  // namespace ropeway::cuda
