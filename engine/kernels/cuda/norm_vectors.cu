// What norm.cu does, for the rows of most models: an RMS norm of the residual, to which a branch may be added first, without
// biases and without a norm of the branch (TakesNormVectors of norm_vectors.h).
//
// A row stays in registers, a thread's columns in one vector or two, and weights are on their way before the wait for the
// kernel in front. The code is short and runs from its beginning to its end: behind a product whose weights have swept the
// caches, a kernel this small also waits for its own instructions, and those of norm.cu are 39 KB. A layer of an 8B with two
// norms between its products took 3.1 us less than with norm.cu's for 64 tokens, 3.7 for 128 and 7.1 for 256 (H200,
// 2026-11-27; 2.8 for 64 on an H100). Rows of other widths, two vectors a thread among them, were not timed.
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/norm_row.cuh"
#include "engine/kernels/cuda/norm_vectors.h"

namespace ropeway::cuda {
namespace {

static_assert(kMaxNormThreads == 512 && kNormColumns == 8, "what TakesNormVectors counts with");

// Calls visit(column, vector) for each of the vectors of this thread that the row has.
template <int kThreads, int kVectors, class Visit>
ROPEWAY_DEVICE void ForMyVectors(int columns, const Visit& visit) {
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (i * kThreads + static_cast<int>(threadIdx.x)) * kNormColumns;
    if (column < columns) visit(column, i);
  }
}

// The new residual of this thread's columns of a row, which begins at `first`.
template <class T, int kThreads, int kVectors>
ROPEWAY_DEVICE void AddBranch(const NormArgs& args, int64_t first, float (&row)[kVectors][kNormColumns]) {
  float added[kVectors][kNormColumns];
  ForMyVectors<kThreads, kVectors>(args.columns, [&](int column, int i) {
    LoadFloats(static_cast<const T*>(args.branch) + first + column, added[i]);
  });
  ForMyVectors<kThreads, kVectors>(args.columns, [&](int column, int i) {
#pragma unroll
    for (int j = 0; j < kNormColumns; ++j) row[i][j] = AddedTo(row[i][j], args.branch_scale, added[i][j]);
    StoreFloats(args.residual + first + column, row[i]);
  });
}

template <class T, int kThreads, int kVectors>
__global__ void __launch_bounds__(kThreads) NormVectorsKernel(NormArgs args) {
  LaunchDependents();
  float weights[kVectors][kNormColumns], row[kVectors][kNormColumns];
  ForMyVectors<kThreads, kVectors>(args.columns,
                                   [&](int column, int i) { LoadFloats(args.weight + column, weights[i]); });
  GridDependencyWait();
  const int64_t index = blockIdx.x;
  const int64_t first = (args.rows == nullptr ? index : args.rows[index]) * args.columns;
  ForMyVectors<kThreads, kVectors>(
      args.columns, [&](int column, int i) { LoadFloats(args.residual + first + column, row[i]); });
  if (args.branch != nullptr) AddBranch<T, kThreads, kVectors>(args, first, row);
  float squares = 0;
  ForMyVectors<kThreads, kVectors>(args.columns, [&](int, int i) {
#pragma unroll
    for (int j = 0; j < kNormColumns; ++j) squares = AddSquare(squares, row[i][j], 0);
  });
  const Moments moments = {0, InverseRoot(BlockSum<kThreads / 32>(squares), args.columns, args.epsilon)};
  T* out = static_cast<T*>(args.out) + index * args.columns;
  ForMyVectors<kThreads, kVectors>(args.columns, [&](int column, int i) {
#pragma unroll
    for (int j = 0; j < kNormColumns; ++j)
      row[i][j] = NormedNumber(NormKind::kRms, moments, row[i][j], weights[i][j], 0);
    StoreFloats(out + column, row[i]);
  });
}

}  // namespace

ErrorCode NormVectors(const NormArgs& args, Stream stream) {
  const int threads = NormThreads(args.columns);
  return WithElement(args.element, [&]<class T>() {
    const auto kernel = threads < kMaxNormThreads ? NormVectorsKernel<T, kMaxNormThreads / 2, 1>
                        : args.columns <= kMaxNormThreads * kNormColumns
                            ? NormVectorsKernel<T, kMaxNormThreads, 1>
                            : NormVectorsKernel<T, kMaxNormThreads, kMostNormVectors>;
    return LaunchDependent(stream, kernel, dim3(static_cast<unsigned>(args.num_rows)),
                           dim3(static_cast<unsigned>(threads)), 0, args);
  });
}

}  // namespace ropeway::cuda
