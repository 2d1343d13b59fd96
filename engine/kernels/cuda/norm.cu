// residual [T, D] f32 += scale * [post-norm of] branch [T, D]; out [rows, D] = norm of chosen rows of the
// residual.
//
// A block a row, which it keeps in shared memory as float32; each thread touches only its own columns, so
// that barriers are needed by the sums alone. Moves 8 D bytes of residual, and D elements each of branch and
// out, per row, 128 bits at a time.
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// Calls visit(column) for the first of every kWidth columns of this thread.
template <int kWidth, class Visit>
ROPEWAY_DEVICE void ForMyColumns(int columns, const Visit& visit) {
  for (int i = static_cast<int>(threadIdx.x) * kWidth; i < columns; i += kThreads * kWidth) visit(i);
}

// What a row is multiplied by after `mean` was subtracted from it.
struct Moments {
  float mean, inverse;
};

template <int kWidth>
ROPEWAY_DEVICE Moments MomentsOf(NormKind kind, const float* row, const NormArgs& args) {
  if (kind == NormKind::kNone) return {0, 1};
  const float count = static_cast<float>(args.columns);
  float mean = 0;
  if (kind == NormKind::kLayer) {
    float sum = 0;
    ForMyColumns<kWidth>(args.columns, [&](int i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum += row[i + j];
    });
    mean = BlockSum<kWarps>(sum) / count;
  }
  float squares = 0;
  ForMyColumns<kWidth>(args.columns, [&](int i) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float x = row[i + j] - mean;
      squares += x * x;
    }
  });
  return {mean, 1.0f / sqrtf(BlockSum<kWarps>(squares) / count + args.epsilon)};
}

// residual += branch, by way of `row`, which ends up with the new residual.
template <class T, int kWidth>
ROPEWAY_DEVICE void AddBranch(const NormArgs& args, int64_t first, float* row) {
  const T* branch = static_cast<const T*>(args.branch) + first;
  ForMyColumns<kWidth>(args.columns, [&](int i) {
    float values[kWidth];
    LoadFloats(branch + i, values);
#pragma unroll
    for (int j = 0; j < kWidth; ++j)
      row[i + j] = args.branch_bias == nullptr ? values[j] : values[j] + args.branch_bias[i + j];
  });
  const Moments moments = MomentsOf<kWidth>(args.post_kind, row, args);
  ForMyColumns<kWidth>(args.columns, [&](int i) {
    float values[kWidth];
    LoadFloats(args.residual + first + i, values);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      float x = row[i + j];
      if (args.post_kind != NormKind::kNone)
        x = (x - moments.mean) * moments.inverse * args.post_weight[i + j];
      if (args.post_bias != nullptr) x += args.post_bias[i + j];
      values[j] += args.branch_scale * x;
      row[i + j] = values[j];
    }
    StoreFloats(args.residual + first + i, values);
  });
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) NormKernel(NormArgs args) {
  ROPEWAY_DYNAMIC_SHARED(float, row);
  const int64_t index = blockIdx.x;
  const int64_t first = (args.rows == nullptr ? index : args.rows[index]) * args.columns;
  if (args.branch != nullptr) {
    AddBranch<T, kWidth>(args, first, row);
  } else {
    ForMyColumns<kWidth>(args.columns, [&](int i) {
      float values[kWidth];
      LoadFloats(args.residual + first + i, values);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) row[i + j] = values[j];
    });
  }
  if (args.out == nullptr) return;  // alike for all threads
  const Moments moments = MomentsOf<kWidth>(args.kind, row, args);
  T* out = static_cast<T*>(args.out) + index * args.columns;
  ForMyColumns<kWidth>(args.columns, [&](int i) {
    float values[kWidth];
    if (args.kind != NormKind::kNone) LoadFloats(args.weight + i, values);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float x = (row[i + j] - moments.mean) * moments.inverse;
      values[j] = args.kind == NormKind::kNone ? x : values[j] * x;
      if (args.bias != nullptr) values[j] += args.bias[i + j];
    }
    StoreFloats(out + i, values);
  });
}

}  // namespace

ErrorCode Norm(const NormArgs& args, Stream stream) {
  return WithElement(args.element, [&]<class T>() {
    const auto kernel = TakesVectors(args.columns) ? NormKernel<T, 8> : NormKernel<T, 1>;
    return Launch(stream, kernel, dim3(static_cast<unsigned>(args.num_rows)), dim3(kThreads),
                  static_cast<size_t>(args.columns) * sizeof(float), args);
  });
}

}  // namespace ropeway::cuda
