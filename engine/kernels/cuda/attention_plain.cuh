// Attention in plain float32 arithmetic: what the kernels without tensor cores share. A warp has one query at
// a time. In a chunk of 256 keys a lane has keys lane, lane + 32, ... and later columns lane, lane + 32, ...
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_PLAIN_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_PLAIN_CUH_

#include "engine/kernels/cuda/attention_state.cuh"
#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/elements.cuh"

namespace ropeway::cuda {

inline constexpr int kLaneKeys = kChunkTokens / 32;

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
    const int64_t page = pages[key / kPageTokens];
    data =
        rows.data + page * params.page_bytes + int64_t{key % kPageTokens} * rows.columns * kNumberBytes<kKv>;
    if constexpr (kHasScales<kKv>) scale = rows.scales[page * params.page_scales + key % kPageTokens];
  }
  ROPEWAY_DEVICE float operator[](int column) const { return LoadNumber<kKv>(data, column) * scale; }
};

// One query of one KV head, as all lanes of a warp know it.
template <class T>
struct PlainQuery {
  const T *query, *previous, *older;  // [E] each: see ScoreModifier::zone
  const int32_t* pages;
  int first_key, position;  // it sees keys [first_key, position]
  int head;
  BiasQuery bias;
};

template <class T>
ROPEWAY_DEVICE PlainQuery<T> MakePlainQuery(const AttentionParams& params, const AttentionItem& item,
                                            int pair, int kv_head) {
  const AttentionArgs& args = params.args;
  const int64_t at = RowOf(params, pair, kv_head) * args.kv.head_dim;
  const int head = HeadOf(params, pair, kv_head);
  const int position = item.num_keys == 0 ? -1 : PositionOf(params, item, pair);
  const bool zones = args.modifier.zone > 0;
  return {.query = static_cast<const T*>(args.queries) + at,
          .previous = zones ? static_cast<const T*>(args.previous_queries) + at : nullptr,
          .older = zones ? static_cast<const T*>(args.older_queries) + at : nullptr,
          .pages = args.page_tables + int64_t{item.row} * args.max_pages,
          .first_key = FirstKey(args.modifier, position),
          .position = position,
          .head = head,
          .bias = MakeBiasQuery(args.modifier.bias, head, position)};
}

// The query as it meets a key.
template <class T>
ROPEWAY_DEVICE const T* QueryFor(const kernels::ScoreModifier& modifier, const PlainQuery<T>& query,
                                 int key) {
  if (modifier.zone == 0) return query.query;
  const int apart = query.position / modifier.zone - key / modifier.zone;
  return apart == 0 ? query.query : apart == 1 ? query.previous : query.older;
}

// (q + v) . r(D).
template <class T>
ROPEWAY_DEVICE float RelativeProduct(const kernels::RelativeKeys& keys, const PlainQuery<T>& query,
                                     const T* vector, int columns, int key) {
  const float* row = keys.rows.data + query.head * keys.rows.head_stride +
                     DistanceColumn(keys.rows.num_distances, query.position - key);
  const int64_t size = int64_t{keys.rows.num_distances} + 2 * kernels::kDistanceMargin;
  const float* offsets =
      keys.position_offsets == nullptr ? nullptr : keys.position_offsets + int64_t{query.head} * columns;
  float product = 0;
  for (int column = 0; column < columns; ++column) {
    float x = ToFloat(vector[column]);
    if (offsets != nullptr) x += offsets[column];
    product = fmaf(x, row[column * size], product);
  }
  return product;
}

// Scaled and capped, but without a bias.
template <class T, KvElement kKv>
ROPEWAY_DEVICE float ScoreOf(const AttentionParams& params, const PlainQuery<T>& query, const HeadRows& keys,
                             int key) {
  const kernels::ScoreModifier& modifier = params.args.modifier;
  const kernels::RelativeKeys& relative = modifier.relative_keys;
  const TokenRow<kKv> row(params, keys, query.pages, key);
  const T* vector = QueryFor(modifier, query, key);
  const float* offsets = relative.content_offsets == nullptr
                             ? nullptr
                             : relative.content_offsets + int64_t{query.head} * keys.columns;
  float product = 0;
  for (int column = 0; column < keys.columns; ++column) {
    float x = ToFloat(vector[column]);
    if (offsets != nullptr) x += offsets[column];
    product = fmaf(x, row[column], product);
  }
  if (relative.rows.data != nullptr) product += RelativeProduct(relative, query, vector, keys.columns, key);
  return Cap(modifier, product * params.args.scale);
}

// From a lane's scores of a chunk to weights, in shared memory; returns the maximum and the sum of all.
ROPEWAY_DEVICE float2 SoftenChunk(const float (&scores)[kLaneKeys], float* weights) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  float largest = -INFINITY, sum = 0;
  for (int i = 0; i < kLaneKeys; ++i) largest = fmaxf(largest, scores[i]);
  largest = WarpMax(largest);
  const float base = largest == -INFINITY ? 0 : largest;
  for (int i = 0; i < kLaneKeys; ++i) {
    const float weight = SoftmaxWeight(scores[i] - base);
    weights[32 * i + lane] = weight;
    sum += weight;
  }
  return {largest, WarpSum(sum)};
}

// The weighted values of keys [first, last) of a chunk: merged into `state` [Ev] or written to `partial`.
template <class T, KvElement kKv>
ROPEWAY_DEVICE void WeighValues(const AttentionParams& params, const PlainQuery<T>& query,
                                const HeadRows& values, int first, int last, int chunk_start,
                                const float* weights, const Merge& merge, float* state, float* partial) {
  const kernels::RelativeValues& relative = params.args.modifier.relative_values;
  const int64_t padded = (values.columns + 15) / 16 * 16;
  for (int column = static_cast<int>(threadIdx.x % 32); column < values.columns; column += 32) {
    float sum = 0;
    for (int key = first; key < last; ++key) {
      float value = TokenRow<kKv>(params, values, query.pages, key)[column];
      if (relative.data != nullptr)
        value += relative.data[query.head * relative.head_stride +
                               min(query.position - key, relative.num_distances - 1) * padded + column];
      sum = fmaf(weights[key - chunk_start], value, sum);
    }
    if (partial != nullptr)
      partial[column] = sum;
    else
      state[column] = merge.Apply(state[column], sum);
  }
}

// One chunk of a query, whose scores a lane has: its result is merged into (largest, sum, state), or written
// as partial result number `slot`.
template <class T, KvElement kKv>
ROPEWAY_DEVICE void TakeChunk(const AttentionParams& params, const PlainQuery<T>& query,
                              const HeadRows& values, int kv_head, int chunk, int64_t slot,
                              const float (&scores)[kLaneKeys], float* weights, float& largest, float& sum,
                              float* state) {
  const int start = chunk * kChunkTokens;
  const int first = max(start, query.first_key), last = min(start + kChunkTokens, query.position + 1);
  const float2 found = SoftenChunk(scores, weights);
  __syncwarp();  // the weights are complete
  float* partial = nullptr;
  if (slot >= 0) {
    partial = PartialAt(params, slot, kv_head);
    if (threadIdx.x % 32 == 0) *PartialStatistics(params, partial) = found;
  }
  const Merge merge(largest, found.x);
  WeighValues<T, kKv>(params, query, values, first, last, start, weights, merge, state, partial);
  largest = merge.max;
  sum = merge.Apply(sum, found.y);
  __syncwarp();  // the weights may be overwritten
}

template <class T>
ROPEWAY_DEVICE void WriteState(const AttentionParams& params, int pair, int kv_head, float largest, float sum,
                               const float* state) {
  const float sink = SinkOf(params.args.modifier, HeadOf(params, pair, kv_head));
  const float factor = FinalFactor(largest, sum, sink);
  const int columns = params.args.kv.value_dim;
  T* out = static_cast<T*>(params.args.out) + RowOf(params, pair, kv_head) * columns;
  for (int column = static_cast<int>(threadIdx.x % 32); column < columns; column += 32)
    out[column] = FromFloat<T>(state[column] * factor);
}

// Returns launch.operator()<T, kKv>() for the types of queries and of keys and values.
template <class T, class LaunchKernel>
ErrorCode WithKvElement(KvElement element, const LaunchKernel& launch) {
  if (element == KvElement::kFp8E4M3) return launch.template operator()<T, KvElement::kFp8E4M3>();
  if (element == KvElement::kInt8) return launch.template operator()<T, KvElement::kInt8>();
  if constexpr (!std::is_same_v<T, fp16>)
    if (element == KvElement::kBF16) return launch.template operator()<T, KvElement::kBF16>();
  if constexpr (!std::is_same_v<T, bf16>)
    if (element == KvElement::kF16) return launch.template operator()<T, KvElement::kF16>();
  if constexpr (std::is_same_v<T, float>)
    if (element == KvElement::kF32) return launch.template operator()<T, KvElement::kF32>();
  return kInvalidValue;
}

template <class LaunchKernel>
ErrorCode WithElements(const AttentionArgs& args, const LaunchKernel& launch) {
  return WithElement(args.element, [&]<class T>() { return WithKvElement<T>(args.kv.element, launch); });
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_PLAIN_CUH_
