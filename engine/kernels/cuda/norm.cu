// residual [T, D] f32 += scale * [post-norm of] branch [T, D]; out [rows, D] = norm of chosen rows of the
// residual.
//
// A block a row, which it keeps in shared memory as float32; each thread touches only its own columns, so
// that barriers are needed by the sums alone. Blocks are as wide as rows of 4096 and more need for one load a
// thread: with few tokens a row's time is that of the loads that wait for each other. For the same reason
// weights are fetched before the wait for the kernel in front. Moves 8 D bytes of residual, and D elements
// each of branch and out, per row, 128 bits at a time.
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/norm_row.cuh"
#include "engine/kernels/cuda/norm_vectors.h"
#include "engine/kernels/cuda/shared_bytes.h"

namespace ropeway::cuda {
namespace {

// Calls visit(column) for the first of every kWidth columns of this thread.
template <int kThreads, int kWidth, class Visit>
ROPEWAY_DEVICE void ForMyColumns(int columns, const Visit& visit) {
  for (int i = static_cast<int>(threadIdx.x) * kWidth; i < columns; i += kThreads * kWidth) visit(i);
}

// The device's second cache fetches a vector of the weights, wherever there is one.
template <int kThreads, int kWidth>
ROPEWAY_DEVICE void PrefetchWeights(const NormArgs& args) {
  for (const float* weights : {args.branch_bias, args.post_weight, args.post_bias, args.weight, args.bias}) {
    if (weights == nullptr) continue;
    ForMyColumns<kThreads, kWidth>(args.columns, [&](int i) { PrefetchL2(weights + i); });
  }
}

template <int kThreads, int kWidth>
ROPEWAY_DEVICE Moments MomentsOf(NormKind kind, const float* row, const NormArgs& args) {
  if (kind == NormKind::kNone) return {0, 1};
  float mean = 0;
  if (kind == NormKind::kLayer) {
    float sum = 0;
    ForMyColumns<kThreads, kWidth>(args.columns, [&](int i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum += row[i + j];
    });
    mean = BlockSum<kThreads / 32>(sum) / static_cast<float>(args.columns);
  }
  float squares = 0;
  ForMyColumns<kThreads, kWidth>(args.columns, [&](int i) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) squares = AddSquare(squares, row[i + j], mean);
  });
  return {mean, InverseRoot(BlockSum<kThreads / 32>(squares), args.columns, args.epsilon)};
}

// values += the branch at `column`, whose row begins at `branch`.
template <class T, int kWidth>
ROPEWAY_DEVICE void LoadBranch(const NormArgs& args, const T* branch, int column, float (&values)[kWidth]) {
  LoadFloats(branch + column, values);
  if (args.branch_bias == nullptr) return;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) values[j] += args.branch_bias[column + j];
}

// residual += branch, by way of `row`, which ends up with the new residual.
template <class T, int kThreads, int kWidth>
ROPEWAY_DEVICE void AddBranch(const NormArgs& args, int64_t first, float* row) {
  const T* branch = static_cast<const T*>(args.branch) + first;
  const bool normed = args.post_kind != NormKind::kNone;
  Moments moments = {0, 1};
  if (normed) {
    ForMyColumns<kThreads, kWidth>(args.columns, [&](int i) {
      float values[kWidth];
      LoadBranch(args, branch, i, values);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) row[i + j] = values[j];
    });
    moments = MomentsOf<kThreads, kWidth>(args.post_kind, row, args);
  }
  ForMyColumns<kThreads, kWidth>(args.columns, [&](int i) {
    float values[kWidth], added[kWidth];
    LoadFloats(args.residual + first + i, values);
    if (!normed) LoadBranch(args, branch, i, added);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float bias = args.post_bias == nullptr ? 0 : args.post_bias[i + j];
      const float x = normed
                          ? NormedNumber(args.post_kind, moments, row[i + j], args.post_weight[i + j], bias)
                          : added[j];
      values[j] = row[i + j] = AddedTo(values[j], args.branch_scale, x);
    }
    StoreFloats(args.residual + first + i, values);
  });
}

template <class T, int kThreads, int kWidth>
__global__ void __launch_bounds__(kThreads) NormKernel(NormArgs args) {
  ROPEWAY_DYNAMIC_SHARED(float, row);
  LaunchDependents();
  PrefetchWeights<kThreads, kWidth>(args);
  GridDependencyWait();
  const int64_t index = blockIdx.x;
  const int64_t first = (args.rows == nullptr ? index : args.rows[index]) * args.columns;
  if (args.branch != nullptr) {
    AddBranch<T, kThreads, kWidth>(args, first, row);
  } else {
    ForMyColumns<kThreads, kWidth>(args.columns, [&](int i) {
      float values[kWidth];
      LoadFloats(args.residual + first + i, values);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) row[i + j] = values[j];
    });
  }
  if (args.out == nullptr) return;  // alike for all threads
  const Moments moments = MomentsOf<kThreads, kWidth>(args.kind, row, args);
  T* out = static_cast<T*>(args.out) + index * args.columns;
  ForMyColumns<kThreads, kWidth>(args.columns, [&](int i) {
    float values[kWidth] = {};
    if (args.kind != NormKind::kNone) LoadFloats(args.weight + i, values);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float bias = args.bias == nullptr ? 0 : args.bias[i + j];
      values[j] = NormedNumber(args.kind, moments, row[i + j], values[j], bias);
    }
    StoreFloats(out + i, values);
  });
}

}  // namespace

ErrorCode Norm(const NormArgs& args, Stream stream) {
  if (args.columns > kMostNormColumns) return kInvalidValue;
  if (TakesNormVectors(args)) return NormVectors(args, stream);
  const bool vectors = TakesVectors(args.columns);
  const int threads = vectors ? NormThreads(args.columns) : kMaxNormThreads;
  return WithElement(args.element, [&]<class T>() {
    const auto kernel = !vectors                     ? NormKernel<T, kMaxNormThreads, 1>
                        : threads == kMaxNormThreads ? NormKernel<T, kMaxNormThreads, kNormColumns>
                                                     : NormKernel<T, kMaxNormThreads / 2, kNormColumns>;
    return LaunchDependent(stream, kernel, dim3(static_cast<unsigned>(args.num_rows)),
                           dim3(static_cast<unsigned>(threads)),
                           static_cast<size_t>(args.columns) * sizeof(float), args);
  });
}

}  // namespace ropeway::cuda
