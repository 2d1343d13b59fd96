// Paged attention without tensor cores: plain float32 arithmetic, any head_dim and value_dim, any type of
// keys and values, all of ScoreModifier but the mixer. For float32 activations, to compare with the CPU
// engine, and for what the tensor-core kernels do not have.
//
//   queries [T, H, E], pages of keys and values  ->  out [T, H, Ev] or partial results
// The query's keys and values are read once per query head.
#include "engine/kernels/cuda/attention_merge.cuh"
#include "engine/kernels/cuda/attention_plain.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kWarps = 4;

// The scores of a lane's keys of a chunk; -infinity where the query does not see.
template <class T, KvElement kKv>
ROPEWAY_DEVICE void ScoreChunk(const AttentionParams& params, const PlainQuery<T>& query,
                               const HeadRows& keys, int chunk, float (&scores)[kLaneKeys]) {
  for (int i = 0; i < kLaneKeys; ++i) {
    const int key = chunk * kChunkTokens + 32 * i + static_cast<int>(threadIdx.x % 32);
    scores[i] = -INFINITY;
    if (key < query.first_key || key > query.position) continue;
    scores[i] =
        AddBias(params.args.modifier.bias, query.bias, key, ScoreOf<T, kKv>(params, query, keys, key));
  }
}

template <class T, KvElement kKv>
ROPEWAY_DEVICE void AttendQuery(const AttentionParams& params, const AttentionItem& item, int index,
                                int kv_head, float* weights, float* state) {
  const int pair = item.first_pair + index;
  const KvPages& kv = params.args.kv;
  const HeadRows keys(kv, kv_head, kNumberBytes<kKv>, false), values(kv, kv_head, kNumberBytes<kKv>, true);
  const PlainQuery<T> query = MakePlainQuery<T>(params, item, pair, kv_head);
  for (int column = static_cast<int>(threadIdx.x % 32); column < kv.value_dim; column += 32)
    state[column] = 0;
  float largest = -INFINITY, sum = 0;
  for (int chunk = item.first_chunk; chunk < item.last_chunk; ++chunk) {
    const int64_t slot =
        item.partial < 0 ? -1 : item.partial + int64_t{chunk - item.first_chunk} * item.num_pairs + index;
    float scores[kLaneKeys];
    ScoreChunk<T, kKv>(params, query, keys, chunk, scores);
    TakeChunk<T, kKv>(params, query, values, kv_head, chunk, slot, scores, weights, largest, sum, state);
  }
  if (item.partial < 0) WriteState<T>(params, pair, kv_head, largest, sum, state);
}

template <class T, KvElement kKv>
__global__ void __launch_bounds__(kWarps * 32, 2)
    AttendPlainKernel(AttentionParams params, WorkList<AttentionItem> work) {
  ROPEWAY_DYNAMIC_SHARED(float, shared);  // [kWarps]{ weights [kChunkTokens], state [Ev] }
  const int warp = static_cast<int>(threadIdx.x / 32), kv_heads = params.args.kv.num_kv_heads;
  float* weights = shared + warp * (kChunkTokens + params.args.kv.value_dim);
  const int total = *work.count * kv_heads;
  for (int w = static_cast<int>(blockIdx.x); w < total; w += static_cast<int>(gridDim.x)) {
    const AttentionItem item = work.data[w / kv_heads];
    for (int index = warp; index < item.num_pairs; index += kWarps)
      AttendQuery<T, kKv>(params, item, index, w % kv_heads, weights, weights + kChunkTokens);
    if (item.partial >= 0) MergeIfLast<T>(params, item, w % kv_heads);
  }
}

ErrorCode LaunchItems(const AttentionParams& params, const WorkList<AttentionItem>& work, Stream stream) {
  if (work.blocks == 0) return 0;
  const size_t shared_bytes = sizeof(float) * kWarps * (kChunkTokens + params.args.kv.value_dim);
  return WithElements(params.args, [&]<class T, KvElement kKv>() {
    return Launch(stream, AttendPlainKernel<T, kKv>, dim3(static_cast<unsigned>(work.blocks)),
                  dim3(kWarps * 32), shared_bytes, params, work);
  });
}

}  // namespace

ErrorCode AttendPlain(const AttentionParams& params, Stream stream) {
  const ErrorCode error = LaunchItems(params, params.args.narrow, stream);
  return error != 0 ? error : LaunchItems(params, params.args.wide, stream);
}

}  // namespace ropeway::cuda
