// The norm of a row of the residual, operation by operation: kernels that norm rows by these functions give
// them the same bytes, however they divide the work.
//
// A row is divided among NormThreads(columns) places of kNormColumns columns side by side, as often as it
// takes. A place adds up what it has in order; 32 places are added as a tree (WarpSum), and then the 32 (or
// fewer) sums of those as another.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_NORM_ROW_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_NORM_ROW_CUH_

#include "engine/kernels/cuda/device.h"
#include "engine/tensor/formulas.h"

namespace ropeway::cuda {

inline constexpr int kNormColumns = 8;
inline constexpr int kMaxNormThreads = 512;
// As many as a row of 4096 columns and more needs for one load each, or half of them.
constexpr int NormThreads(int columns) {
  return columns > kMaxNormThreads / 2 * kNormColumns ? kMaxNormThreads : kMaxNormThreads / 2;
}

// What a number of a row is multiplied by after `mean` was subtracted from it.
struct Moments {
  float mean, inverse;
};

ROPEWAY_DEVICE float AddSquare(float sum, float x, float mean) {
  const float y = __fadd_rn(x, -mean);
  return __fmaf_rn(y, y, sum);
}
ROPEWAY_DEVICE float InverseRoot(float squares, int columns, float epsilon) {
  return 1.0f / sqrtf(__fadd_rn(squares / static_cast<float>(columns), epsilon));
}
// `weight` is not used by kNone; without a bias it is 0.
ROPEWAY_DEVICE float NormedNumber(NormKind kind, const Moments& moments, float x, float weight, float bias) {
  const float y = __fmul_rn(__fadd_rn(x, -moments.mean), moments.inverse);
  return kind == NormKind::kNone ? __fadd_rn(y, bias) : __fmaf_rn(weight, y, bias);
}
// residual + scale * added
ROPEWAY_DEVICE float AddedTo(float residual, float scale, float added) {
  return __fmaf_rn(scale, added, residual);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_NORM_ROW_CUH_
