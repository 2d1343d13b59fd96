// residual [T, D] f32 = scale * rows token_ids [T] of a table [V, D], dense or packed, + a row for the
// position. Without ids row t of the table is token t's.
//
// A block a token. Moves a row of the table and 4 D bytes per token, 128 bits at a time, and 4 D bytes more
// where positions are added.
//
// Launched behind all that is in front of it, not as a dependent: so what is uploaded for a step is there before any
// dependent kernel of the step begins (AttentionArgs).
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/packed_units.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 128;

// What a token's position adds. Padding adds that of position 0.
struct PositionRows {
  const float* rows;
  const int32_t* positions;
  int columns;

  ROPEWAY_DEVICE const float* Of(unsigned token) const {
    if (rows == nullptr) return nullptr;
    return rows + int64_t{max(positions[token], 0)} * columns;
  }
};

PositionRows RowsOf(const EmbedArgs& args) {
  return {args.position_rows, args.positions, static_cast<int>(args.table.columns)};
}

ROPEWAY_DEVICE int64_t RowOfToken(const int32_t* token_ids) {
  return token_ids == nullptr ? int64_t{blockIdx.x} : int64_t{token_ids[blockIdx.x]};
}

// values * scale + added [column], all rounded one by one.
template <int kWidth>
ROPEWAY_DEVICE void ScaleAndAdd(float scale, const float* added, int column, float (&values)[kWidth]) {
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    values[i] = __fmul_rn(values[i], scale);
    if (added != nullptr) values[i] = __fadd_rn(values[i], added[column + i]);
  }
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) EmbedDense(const T* table, const int32_t* token_ids, int columns,
                                                       float scale, PositionRows positions, float* residual) {
  const float* added = positions.Of(blockIdx.x);
  const T* source = table + RowOfToken(token_ids) * columns;
  float* out = residual + static_cast<int64_t>(blockIdx.x) * columns;
  for (int i = static_cast<int>(threadIdx.x) * kWidth; i < columns; i += kThreads * kWidth) {
    float values[kWidth];
    LoadFloats(source + i, values);
    ScaleAndAdd(scale, added, i, values);
    StoreFloats(out + i, values);
  }
}

template <DType kType>
__global__ void __launch_bounds__(kThreads)
    EmbedPacked(PackedPlanes table, const int32_t* token_ids, int columns, float scale,
                PositionRows positions, float* residual) {
  const float* added = positions.Of(blockIdx.x);
  const int units = columns / kUnitColumns;
  const int64_t first = RowOfToken(token_ids) * RowUnits(columns);
  float* out = residual + static_cast<int64_t>(blockIdx.x) * columns;
  for (int unit = static_cast<int>(threadIdx.x); unit < units; unit += kThreads) {
    float values[kUnitColumns];
    UnpackUnit<kType>(table, first + unit, values);
    ScaleAndAdd(scale, added, unit * kUnitColumns, values);
    StoreFloats(out + unit * kUnitColumns, values);
  }
}

template <class T>
ErrorCode LaunchDense(const EmbedArgs& args, Stream stream) {
  const int columns = static_cast<int>(args.table.columns);
  const auto kernel = TakesVectors(columns) ? EmbedDense<T, 8> : EmbedDense<T, 1>;
  return Launch(stream, kernel, dim3(static_cast<unsigned>(args.num_tokens)), dim3(kThreads), 0,
                static_cast<const T*>(args.table.data), args.token_ids, columns, args.scale, RowsOf(args),
                args.residual);
}

}  // namespace

ErrorCode Embed(const EmbedArgs& args, Stream stream) {
  switch (args.table.type) {
    case DType::kF32:
      return LaunchDense<float>(args, stream);
    case DType::kF16:
      return LaunchDense<fp16>(args, stream);
    case DType::kBF16:
      return LaunchDense<bf16>(args, stream);
    default:
      return WithPackedType(args.table.type, [&]<DType kType>() {
        return Launch(stream, EmbedPacked<kType>, dim3(static_cast<unsigned>(args.num_tokens)),
                      dim3(kThreads), 0, PlanesOf(args.table), args.token_ids,
                      static_cast<int>(args.table.columns), args.scale, RowsOf(args), args.residual);
      });
  }
}

}  // namespace ropeway::cuda
