// residual [T, D] f32 = scale * rows token_ids [T] of a table [V, D], dense or packed.
//
// A block a token. Moves a row of the table and 4 D bytes per token, 128 bits at a time.
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/packed_units.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 128;

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    EmbedDense(const T* table, const int32_t* token_ids, int columns, float scale, float* residual) {
  const T* source = table + static_cast<int64_t>(token_ids[blockIdx.x]) * columns;
  float* out = residual + static_cast<int64_t>(blockIdx.x) * columns;
  for (int i = static_cast<int>(threadIdx.x) * kWidth; i < columns; i += kThreads * kWidth) {
    float values[kWidth];
    LoadFloats(source + i, values);
#pragma unroll
    for (float& value : values) value *= scale;
    StoreFloats(out + i, values);
  }
}

template <DType kType>
__global__ void __launch_bounds__(kThreads)
    EmbedPacked(PackedPlanes table, const int32_t* token_ids, int columns, float scale, float* residual) {
  const int units = columns / kUnitColumns;
  const int64_t first = static_cast<int64_t>(token_ids[blockIdx.x]) * units;
  float* out = residual + static_cast<int64_t>(blockIdx.x) * columns;
  for (int unit = static_cast<int>(threadIdx.x); unit < units; unit += kThreads) {
    float values[kUnitColumns];
    UnpackUnit<kType>(table, first + unit, values);
#pragma unroll
    for (float& value : values) value *= scale;
    StoreFloats(out + unit * kUnitColumns, values);
  }
}

template <class T>
ErrorCode LaunchDense(const EmbedArgs& args, Stream stream) {
  const int columns = static_cast<int>(args.table.columns);
  const auto kernel = TakesVectors(columns) ? EmbedDense<T, 8> : EmbedDense<T, 1>;
  return Launch(stream, kernel, dim3(static_cast<unsigned>(args.num_tokens)), dim3(kThreads), 0,
                static_cast<const T*>(args.table.data), args.token_ids, columns, args.scale, args.residual);
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
                      static_cast<int>(args.table.columns), args.scale, args.residual);
      });
  }
}

}  // namespace ropeway::cuda
