// out [M, K] of the element type = packed weights, exactly the numbers of engine/tensor/dequantize, rounded
// to the element type: what the products of packed_matmul.cu are made of, for a product by Gemm.
//
// A thread eight columns, of which each part of their unit has two: what a warp stores lies side by side, and so does
// what it loads. Moves the packed rows and M K elements, the latter 128 bits at a time.
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/packed_units.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 256;

constexpr int kChunks = kUnitColumns / kPartColumns;  // of a unit

// Byte `chunk` of each of four words.
ROPEWAY_DEVICE uint32_t BytesOf(const uint32_t (&words)[kUnitParts], int chunk) {
  const auto name = static_cast<unsigned>(chunk | (4 + chunk) << 4);
  return __byte_perm(__byte_perm(words[0], words[1], name), __byte_perm(words[2], words[3], name), 0x5410);
}

// The signs of MXFP4, of codes 2 `chunk` and the next of four parts, as those of the eight codes of one.
ROPEWAY_DEVICE uint32_t SignsOf(const uint32_t (&words)[kUnitParts], int chunk) {
  uint32_t signs = 0;
#pragma unroll
  for (int part = 0; part < kUnitParts; ++part) {
    const uint32_t two = words[part] >> (chunk % 2 * 16 + (chunk < 2 ? 4 : 0)) & 0x0808;
    signs |= two << (part % 2 * 16 + (part < 2 ? 4 : 0));
  }
  return signs;
}

// Eight columns side by side as if they were a part: a unit's parts have two codes each of them.
template <DType kType>
ROPEWAY_DEVICE PartCodes<kType> ChunkOf(const PartCodes<kType> (&parts)[kUnitParts], int chunk) {
  PartCodes<kType> codes = {};
  if constexpr (kType == DType::kQ8_0) {
    const auto word = [&](int part) { return chunk < 2 ? parts[part].low[0] : parts[part].low[1]; };
    const unsigned names = chunk % 2 == 0 ? 0x5410 : 0x7632;
    codes.low[0] = __byte_perm(word(0), word(1), names);
    codes.low[1] = __byte_perm(word(2), word(3), names);
  } else {
    const uint32_t words[kUnitParts] = {parts[0].low[0], parts[1].low[0], parts[2].low[0], parts[3].low[0]};
    codes.low[0] = BytesOf(words, chunk);
    if constexpr (kType == DType::kMXFP4)
      codes.low[0] = MaskedOr(codes.low[0], 0x77777777, SignsOf(words, chunk));
  }
  if constexpr (kType == DType::kQ6_K) {
    const int from = chunk % 2 * 2 + chunk / 2 * 16;
#pragma unroll
    for (int part = 0; part < kUnitParts; ++part)
      codes.high |= (parts[part].high >> from & 0x33) << (part % 2 * 2 + part / 2 * 16);
  }
  return codes;
}

template <DType kType, class T>
__global__ void __launch_bounds__(kThreads)
    UnpackKernel(PackedPlanes planes, int64_t first_row, unsigned chunks, unsigned row_chunks, T* out) {
  const unsigned at = blockIdx.x * kThreads + threadIdx.x;
  if (at >= chunks) return;
  const unsigned row = at / row_chunks, in_row = at - row * row_chunks;
  const int chunk = static_cast<int>(in_row % kChunks);
  const int64_t unit = (first_row + row) * RowUnits(int64_t{row_chunks} * kPartColumns) + in_row / kChunks;
  const RawUnit<kType> raw = LoadUnit<kType>(planes, unit);
  UnitScale<kType> scale = ScaleOf<kType>(raw.scales, 0, raw.block);
  if constexpr (UnitScale<kType>::kScales == 2)
    scale.scale[0] = scale.scale[1] = chunk < 2 ? scale.scale[0] : scale.scale[1];
  float weights[kPartColumns];
  UnpackPart(ChunkOf(raw.parts, chunk), scale, weights);
  StoreFloats(out + int64_t{at} * kPartColumns, weights);
}

}  // namespace

ErrorCode Unpack(const UnpackArgs& args, Stream stream) {
  const int64_t row_chunks = args.weights.columns / kPartColumns, chunks = args.num_rows * row_chunks;
  return WithPackedType(args.weights.type, [&]<DType kType>() {
    return WithElement(args.element, [&]<class T>() {
      return Launch(stream, UnpackKernel<kType, T>,
                    dim3(static_cast<unsigned>((chunks + kThreads - 1) / kThreads)), dim3(kThreads), 0,
                    PlanesOf(args.weights), args.first_row, static_cast<unsigned>(chunks),
                    static_cast<unsigned>(row_chunks), static_cast<T*>(args.out));
    });
  });
}

}  // namespace ropeway::cuda
