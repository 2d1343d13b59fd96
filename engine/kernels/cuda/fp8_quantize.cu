// Rows of activations x [T, K] as e4m3 numbers and a scale each (fp8.h): reads x, the second time from the cache, and
// writes a byte a number.
//
// A block has a row. A thread takes 16 columns at a time, those of a step, and writes them as the step wants them, or as
// numbers of f16.
#include <cfloat>

#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/fp8.h"
#include "engine/kernels/cuda/fp8_pair.cuh"
#include "engine/tensor/fp8.h"

namespace ropeway::cuda {
namespace {

constexpr int kWarps = 8;

// Columns [first, first + 16) of a row, zeros behind its end. kWidth 16: rows are a whole number of them.
template <int kWidth, class T>
ROPEWAY_DEVICE void LoadColumns(const T* row, int first, int columns, float (&values)[kFp8StepColumns]) {
  if constexpr (kWidth == kFp8StepColumns) {
    if (first < columns) return LoadFloats<kFp8StepColumns>(row + first, values);
#pragma unroll
    for (float& value : values) value = 0;
  } else {
#pragma unroll
    for (int i = 0; i < kFp8StepColumns; ++i)
      values[i] = first + i < columns ? ToFloat(row[first + i]) : 0.0f;
  }
}

// `at` counts numbers.
ROPEWAY_DEVICE void StorePairs(const QuantizeArgs& args, int64_t at,
                               const uint32_t (&pairs)[kFp8StepColumns / 2]) {
  Vector128<uint32_t> vectors[2];
  if (args.as_f16) {
#pragma unroll
    for (int i = 0; i < kFp8StepColumns / 2; ++i) vectors[i / 4].values[i % 4] = HalvesOfFp8Pair(pairs[i]);
    uint32_t* const to = reinterpret_cast<uint32_t*>(args.out.codes + 2 * at);
    Store128(to, vectors[0]);
    Store128(to + 4, vectors[1]);
  } else {
#pragma unroll
    for (int lane = 0; lane < 4; ++lane) vectors[0].values[lane] = pairs[lane] | pairs[lane + 4] << 16;
    Store128(reinterpret_cast<uint32_t*>(args.out.codes + at), vectors[0]);
  }
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kWarps * 32) QuantizeKernel(QuantizeArgs args) {
  LaunchDependents();
  GridDependencyWait();
  const int64_t token = blockIdx.x;
  const T* const row = static_cast<const T*>(args.x) + token * args.columns;
  const int row_bytes = static_cast<int>(Fp8RowBytes(args.columns));
  const int begin = static_cast<int>(threadIdx.x) * kFp8StepColumns, apart = kWarps * 32 * kFp8StepColumns;
  float values[kFp8StepColumns], most = 0;
  for (int first = begin; first < row_bytes; first += apart) {
    LoadColumns<kWidth>(row, first, args.columns, values);
#pragma unroll
    for (const float value : values) most = fmaxf(most, fabsf(value));
  }
  const float scale = fmaxf(__fdiv_rn(BlockMax<kWarps>(most), kLargestFp8), FLT_MIN);
  for (int first = begin; first < row_bytes; first += apart) {
    LoadColumns<kWidth>(row, first, args.columns, values);
    uint32_t pairs[kFp8StepColumns / 2];
#pragma unroll
    for (int i = 0; i < kFp8StepColumns / 2; ++i)
      pairs[i] = PackFp8Pair(__fdiv_rn(values[2 * i], scale), __fdiv_rn(values[2 * i + 1], scale));
    StorePairs(args, token * row_bytes + first, pairs);
  }
  if (threadIdx.x == 0) args.out.scales[token] = scale;
}

}  // namespace

ErrorCode QuantizeToFp8(const QuantizeArgs& args, Stream stream) {
  const dim3 grid(static_cast<unsigned>(args.num_tokens));
  return WithElement(args.element, [&]<class T>() {
    const bool whole = args.columns % kFp8StepColumns == 0;
    return LaunchDependent(stream, whole ? QuantizeKernel<T, kFp8StepColumns> : QuantizeKernel<T, 1>, grid,
                           dim3(kWarps * 32), 0, args);
  });
}

}  // namespace ropeway::cuda
