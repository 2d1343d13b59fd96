// Paged attention: launches of the kernels for each type, and the merge of partial results.
//
//   partial results [num_partials, G, partial_floats]  ->  out [T, H, Ev]
// Moves num_partials G (Ev + 4) floats and the outputs. A warp merges one query, a lane four columns of it.
#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/attention_state.cuh"
#include "engine/kernels/cuda/device.h"

namespace ropeway::cuda {
namespace {

constexpr int kWarps = 4;

// Four columns of one query: merges the chunks of `merge` in order.
template <class T>
ROPEWAY_DEVICE void MergeColumns(const AttentionParams& params, const AttentionMerge& merge, int pair,
                                 int kv_head, float sink, int column) {
  float largest = -INFINITY, sum = 0, values[4] = {};
#pragma unroll 4
  for (int chunk = 0; chunk < merge.num_chunks; ++chunk) {
    const int64_t index = int64_t{merge.first_partial} + chunk * merge.num_pairs + pair;
    float* partial = PartialAt(params, index, kv_head);
    const float2 statistics = *PartialStatistics(params, partial);
    if (statistics.x == -INFINITY && statistics.y == 0) continue;  // its values were not written
    const Vector128<float> part = Load128(partial + column);
    const Merge factors(largest, statistics.x);
    largest = factors.max;
    sum = factors.Apply(sum, statistics.y);
    for (int i = 0; i < 4; ++i) values[i] = factors.Apply(values[i], part.values[i]);
  }
  const float factor = FinalFactor(largest, sum, sink);
  const int value_dim = params.args.kv.value_dim;
  T* out = static_cast<T*>(params.args.out) + RowOf(params, merge.first_pair + pair, kv_head) * value_dim;
  for (int i = 0; i < 4; ++i)
    if (column + i < value_dim) out[column + i] = FromFloat<T>(values[i] * factor);
}

template <class T>
__global__ void __launch_bounds__(kWarps * 32, 8)  // 64 registers: with fewer it spills on sm_86
    MergeKernel(AttentionParams params) {
  LaunchDependents();
  GridDependencyWait();
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const WorkList<AttentionMerge>& work = params.args.merges;
  const int kv_heads = params.args.kv.num_kv_heads, total = *work.count * kv_heads;
  for (int w = static_cast<int>(blockIdx.x); w < total; w += static_cast<int>(gridDim.x)) {
    const AttentionMerge merge = work.data[w / kv_heads];
    const int kv_head = w % kv_heads;
    for (int pair = warp; pair < merge.num_pairs; pair += kWarps) {
      const float sink = SinkOf(params.args.modifier, HeadOf(params, merge.first_pair + pair, kv_head));
      for (int column = 4 * lane; column < params.args.kv.value_dim; column += 128)
        MergeColumns<T>(params, merge, pair, kv_head, sink, column);
    }
  }
}

// Whether heads, scores or values need what the tensor-core kernels do not have.
bool NeedsPlain(const AttentionArgs& args) {
  const kernels::ScoreModifier& modifier = args.modifier;
  return !FitsTensorCores(args.kv.element, args.kv.head_dim, args.kv.value_dim) || modifier.zone > 0 ||
         modifier.relative_keys.rows.data != nullptr || modifier.relative_values.data != nullptr;
}

ErrorCode Attend(const AttentionParams& params, Stream stream) {
  if (params.args.modifier.mixer.width > 0) return AttendMixed(params, stream);
  if (NeedsPlain(params.args)) return AttendPlain(params, stream);
  switch (params.args.element) {
    case Element::kF16:
      return AttendF16(params, stream);
    case Element::kBF16:
      return AttendBF16(params, stream);
    case Element::kF32:
      break;
  }
  return AttendPlain(params, stream);
}

template <class T>
ErrorCode LaunchMerge(const AttentionParams& params, Stream stream) {
  const dim3 grid(static_cast<unsigned>(params.args.merges.blocks));
  return LaunchDependent(stream, MergeKernel<T>, grid, dim3(kWarps * 32), 0, params);
}

}  // namespace

ErrorCode Attention(const AttentionArgs& args, Stream stream) {
  const AttentionParams params{.args = args,
                               .group = args.num_heads / args.kv.num_kv_heads,
                               .page_bytes = args.kv.page_bytes(),
                               .page_scales = args.kv.page_scales(),
                               .partial_floats = PartialFloats(args.kv.head_dim, args.kv.value_dim)};
  const ErrorCode error = Attend(params, stream);
  if (error != 0 || args.merges.blocks == 0) return error;
  switch (args.element) {
    case Element::kF16:
      return LaunchMerge<fp16>(params, stream);
    case Element::kBF16:
      return LaunchMerge<bf16>(params, stream);
    case Element::kF32:
      break;
  }
  return LaunchMerge<float>(params, stream);
}

}  // namespace ropeway::cuda
