// Paged attention of float32 activations, to compare with the CPU engine: plain float32 arithmetic, any
// head_dim and value_dim, any type of keys and values.
//
//   queries [T, H, E], pages of keys and values  ->  out [T, H, Ev] or partial results
// A warp takes one query at a time. In a chunk of 256 keys a lane has keys lane, lane + 32, ... and later
// columns lane, lane + 32, ...; the query's keys and values are read once per query head.
#include "engine/kernels/cuda/attention_state.cuh"
#include "engine/kernels/cuda/device.h"

namespace ropeway::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kLaneKeys = kChunkTokens / 32;

template <KvElement kKv>
constexpr int kNumberBytes = static_cast<int>(BytesOf(kKv));
template <KvElement kKv>
constexpr bool kHasScales = HasScales(kKv);

template <KvElement kKv>
ROPEWAY_DEVICE float LoadNumber(const uint8_t* row, int column) {
  if constexpr (kKv == KvElement::kF32) return reinterpret_cast<const float*>(row)[column];
  if constexpr (kKv == KvElement::kF16) return ToFloat(reinterpret_cast<const fp16*>(row)[column]);
  if constexpr (kKv == KvElement::kBF16) return ToFloat(reinterpret_cast<const bf16*>(row)[column]);
  if constexpr (kKv == KvElement::kFp8E4M3) return ToFloat(reinterpret_cast<const fp8*>(row)[column]);
  if constexpr (kKv == KvElement::kInt8)
    return static_cast<float>(reinterpret_cast<const int8_t*>(row)[column]);
}

// The row of one key or value, and its scale.
template <KvElement kKv>
struct TokenRow {
  const uint8_t* data;
  float scale;

  ROPEWAY_DEVICE TokenRow(const AttentionParams& params, const HeadRows& rows, const int32_t* pages, int key)
      : scale(1) {
    const int64_t page = pages[key / kPageSize];
    data = rows.data + page * params.page_bytes + int64_t{key % kPageSize} * rows.columns * kNumberBytes<kKv>;
    if constexpr (kHasScales<kKv>) scale = rows.scales[page * params.page_scales + key % kPageSize];
  }
  ROPEWAY_DEVICE float operator[](int column) const { return LoadNumber<kKv>(data, column) * scale; }
};

// One query of one KV head, as all lanes of a warp know it.
template <class Modifier>
struct Query {
  const float* query;  // [E]
  const int32_t* pages;
  int first_key, position;  // it sees keys [first_key, position]
  typename Modifier::Query modified;
};

// The weights of a chunk's keys, in shared memory; returns the maximum and the sum.
template <KvElement kKv, class Modifier>
ROPEWAY_DEVICE float2 WeighChunk(const AttentionParams& params, const Modifier& modifier,
                                 const Query<Modifier>& query, const HeadRows& keys, int first, int last,
                                 int chunk_start, float* weights) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  float scores[kLaneKeys], largest = -INFINITY, sum = 0;
  for (int i = 0; i < kLaneKeys; ++i) {
    const int key = chunk_start + 32 * i + lane;
    scores[i] = -INFINITY;
    if (key < first || key >= last) continue;
    const TokenRow<kKv> row(params, keys, query.pages, key);
    float score = 0;
    for (int column = 0; column < keys.columns; ++column)
      score = fmaf(query.query[column], row[column], score);
    scores[i] = modifier.Modify(query.modified, score * params.args.scale, key);
    largest = fmaxf(largest, scores[i]);
  }
  largest = WarpMax(largest);
  const float base = largest == -INFINITY ? 0 : largest;
  for (int i = 0; i < kLaneKeys; ++i) {
    const float weight = SoftmaxWeight(scores[i] - base);
    weights[32 * i + lane] = weight;
    sum += weight;
  }
  return {largest, WarpSum(sum)};
}

// A chunk's weighted values: merged into `state` [Ev] or written to `partial`.
template <KvElement kKv, class Modifier>
ROPEWAY_DEVICE void WeighValues(const AttentionParams& params, const Query<Modifier>& query,
                                const HeadRows& values, int first, int last, int chunk_start,
                                const float* weights, const Merge& merge, float* state, float* partial) {
  for (int column = static_cast<int>(threadIdx.x % 32); column < values.columns; column += 32) {
    float sum = 0;
    for (int key = first; key < last; ++key)
      sum = fmaf(weights[key - chunk_start], TokenRow<kKv>(params, values, query.pages, key)[column], sum);
    if (partial != nullptr)
      partial[column] = sum;
    else
      state[column] = merge.Apply(state[column], sum);
  }
}

template <KvElement kKv, class Modifier>
ROPEWAY_DEVICE void AttendQuery(const AttentionParams& params, const Modifier& modifier,
                                const AttentionItem& item, int index, int kv_head, float* weights,
                                float* state) {
  const int lane = static_cast<int>(threadIdx.x % 32), pair = item.first_pair + index;
  const int head = HeadOf(params, pair, kv_head);
  const int position = item.num_keys == 0 ? -1 : PositionOf(params, item, pair);
  const KvPages& kv = params.args.kv;
  const HeadRows keys(kv, kv_head, kNumberBytes<kKv>, false), values(kv, kv_head, kNumberBytes<kKv>, true);
  const Query<Modifier> query{
      .query = static_cast<const float*>(params.args.queries) + RowOf(params, pair, kv_head) * kv.head_dim,
      .pages = params.args.page_tables + int64_t{item.row} * params.args.max_pages,
      .first_key = modifier.FirstKey(position),
      .position = position,
      .modified = modifier.MakeQuery(head, position)};
  for (int column = lane; column < kv.value_dim; column += 32) state[column] = 0;
  float largest = -INFINITY, sum = 0;
  for (int chunk = item.first_chunk; chunk < item.last_chunk; ++chunk) {
    const int start = chunk * kChunkTokens;
    const int first = max(start, query.first_key), last = min(start + kChunkTokens, position + 1);
    const float2 found = WeighChunk<kKv>(params, modifier, query, keys, first, last, start, weights);
    __syncwarp();  // the weights are complete
    float* partial = nullptr;
    if (item.partial >= 0) {
      const int64_t slot = item.partial + (chunk - item.first_chunk) * item.num_pairs + index;
      partial = PartialAt(params, slot, kv_head);
      if (lane == 0) *PartialStatistics(params, partial) = found;
    }
    const Merge merge(largest, found.x);
    WeighValues<kKv>(params, query, values, first, last, start, weights, merge, state, partial);
    largest = merge.max;
    sum = merge.Apply(sum, found.y);
    __syncwarp();  // the weights may be overwritten
  }
  if (item.partial >= 0) return;
  const float factor = FinalFactor(largest, sum, modifier.Sink(head));
  float* out = static_cast<float*>(params.args.out) + RowOf(params, pair, kv_head) * kv.value_dim;
  for (int column = lane; column < kv.value_dim; column += 32) out[column] = state[column] * factor;
}

template <KvElement kKv, class Modifier>
__global__ void __launch_bounds__(kWarps * 32, 4)
    AttendKernel(AttentionParams params, WorkList<AttentionItem> work, Modifier modifier) {
  ROPEWAY_DYNAMIC_SHARED(float, shared);  // [kWarps]{ weights [kChunkTokens], state [Ev] }
  const int warp = static_cast<int>(threadIdx.x / 32), kv_heads = params.args.kv.num_kv_heads;
  float* weights = shared + warp * (kChunkTokens + params.args.kv.value_dim);
  const int total = *work.count * kv_heads;
  for (int w = static_cast<int>(blockIdx.x); w < total; w += static_cast<int>(gridDim.x)) {
    const AttentionItem item = work.data[w / kv_heads];
    for (int index = warp; index < item.num_pairs; index += kWarps)
      AttendQuery<kKv>(params, modifier, item, index, w % kv_heads, weights, weights + kChunkTokens);
  }
}

template <KvElement kKv>
ErrorCode LaunchKernel(const AttentionParams& params, const WorkList<AttentionItem>& work, Stream stream) {
  if (work.blocks == 0) return 0;
  const size_t shared_bytes = sizeof(float) * kWarps * (kChunkTokens + params.args.kv.value_dim);
  return Launch(stream, AttendKernel<kKv, StandardModifier>, dim3(static_cast<unsigned>(work.blocks)),
                dim3(kWarps * 32), shared_bytes, params, work, StandardModifier{params.args.modifier});
}

template <KvElement kKv>
ErrorCode LaunchKernels(const AttentionParams& params, Stream stream) {
  const ErrorCode error = LaunchKernel<kKv>(params, params.args.narrow, stream);
  return error != 0 ? error : LaunchKernel<kKv>(params, params.args.wide, stream);
}

}  // namespace

ErrorCode AttendF32(const AttentionParams& params, Stream stream) {
  switch (params.args.kv.element) {
    case KvElement::kF16:
      return LaunchKernels<KvElement::kF16>(params, stream);
    case KvElement::kBF16:
      return LaunchKernels<KvElement::kBF16>(params, stream);
    case KvElement::kFp8E4M3:
      return LaunchKernels<KvElement::kFp8E4M3>(params, stream);
    case KvElement::kInt8:
      return LaunchKernels<KvElement::kInt8>(params, stream);
    case KvElement::kF32:
      break;
  }
  return LaunchKernels<KvElement::kF32>(params, stream);
}

}  // namespace ropeway::cuda
