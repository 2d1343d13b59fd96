// Between the QKV product and attention: bias, RMS norm of query and key heads, rotation, scale of queries;
// queries [T, H, E] are written side by side, as often as they are turned, keys and values into the pages of
// their rows.
//
// A group of 8, 16 or 32 lanes takes a head (of queries, keys or values) through shared memory as float32.
// Moves every element of qkv once in and once out, 128 bits at a time where heads are whole multiples of
// that.
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/head_rotation.cuh"
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/qkv_vectors.h"
#include "engine/tensor/fp8.h"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 128;

// One head of one token.
struct Head {
  int token;
  int index;  // of H + G + G heads: queries, keys, values
  int width;  // E or Ev
};

// The lanes that share a head.
struct Group {
  int lanes, lane;

  ROPEWAY_DEVICE unsigned Mask() const {
    const unsigned all = lanes == 32 ? kFullWarp : (1u << lanes) - 1;
    return all << (static_cast<int>(threadIdx.x) % 32 / lanes * lanes);
  }

  ROPEWAY_DEVICE float Sum(float value) const {
    for (int i = lanes / 2; i > 0; i /= 2) value += __shfl_xor_sync(kFullWarp, value, i);
    return value;
  }
  ROPEWAY_DEVICE float Max(float value) const {
    for (int i = lanes / 2; i > 0; i /= 2) value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, i));
    return value;
  }
};

// A number of the product, of this column of a token, with what is done to it before the norm.
ROPEWAY_DEVICE float Projected(const QkvArgs& args, float x, int column) {
  if (args.bias != nullptr) x += args.bias[column];
  return args.clip_after_norm ? x : Clipped(args, x);
}

template <class T, int kWidth>
ROPEWAY_DEVICE void LoadHead(const QkvArgs& args, const Head& head, const Group& group, float* values) {
  const int keys_end = args.num_heads + args.kv.num_kv_heads;
  const int total = keys_end * args.kv.head_dim + args.kv.num_kv_heads * args.kv.value_dim;
  const int first = head.index < keys_end
                        ? head.index * args.kv.head_dim
                        : keys_end * args.kv.head_dim + (head.index - keys_end) * args.kv.value_dim;
  const T* source = static_cast<const T*>(args.qkv) + static_cast<int64_t>(head.token) * total + first;
  for (int i = group.lane * kWidth; i < head.width; i += group.lanes * kWidth) {
    float x[kWidth];
    LoadFloats(source + i, x);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) values[i + j] = Projected(args, x[j], first + i + j);
  }
}

// The columns that all key heads share, in the place of the head's own.
template <class T>
ROPEWAY_DEVICE void LoadSharedColumns(const QkvArgs& args, const Head& head, const Group& group,
                                      float* values) {
  const T* source = static_cast<const T*>(args.shared_keys) + head.token * args.shared_stride;
  for (int i = group.lane; i < args.shared_columns; i += group.lanes)
    values[i] = ToFloat(source[i]) + (args.shared_bias == nullptr ? 0.0f : args.shared_bias[i]);
}

// This lane's part of the sum of squares over all heads of the token that the head belongs to, queries or
// keys. Every group walks all of them: a few models ask for it, and their rows lie in the cache.
template <class T>
ROPEWAY_DEVICE float SquaresOfAllHeads(const QkvArgs& args, const Head& head, int64_t angle_row,
                                       const Group& group) {
  const bool is_query = head.index < args.num_heads;
  const int first = is_query ? 0 : args.num_heads * args.kv.head_dim;
  const int count = (is_query ? args.num_heads : args.kv.num_kv_heads) * args.kv.head_dim;
  const int total =
      (args.num_heads + args.kv.num_kv_heads) * args.kv.head_dim + args.kv.num_kv_heads * args.kv.value_dim;
  const T* source = static_cast<const T*>(args.qkv) + static_cast<int64_t>(head.token) * total + first;
  const int half = args.rotary_dim / 2;
  float squares = 0;
  for (int i = group.lane; i < count; i += group.lanes) {
    const float x = Projected(args, ToFloat(source[i]), first + i);
    const int column = i % args.kv.head_dim;
    float turned = 1;  // what the rotation multiplies squares by: its cosines and sines may carry a factor
    if (args.norms.after_rotation && column < args.rotary_dim) {
      const int64_t pair = angle_row * half + (args.interleaved ? column / 2 : column % half);
      turned = args.cosines[pair] * args.cosines[pair] + args.sines[pair] * args.sines[pair];
    }
    squares += x * x * turned;
  }
  return squares;
}

// All lanes of the warp come here, whatever heads they have: the group's sums are collectives of the warp.
// Heads that have no norm (values, groups without a head) leave with what they came.
template <class T>
ROPEWAY_DEVICE void NormHead(const QkvArgs& args, const Head& head, int64_t angle_row, const Group& group,
                             float* values) {
  const HeadNorms& norms = args.norms;
  const bool is_query = head.index < args.num_heads;
  const bool normed = head.width > 0 && head.index < args.num_heads + args.kv.num_kv_heads;
  float mean = 0, squares = 0, count = static_cast<float>(head.width);
  if (norms.kind == NormKind::kLayer) {
    for (int i = group.lane; i < head.width; i += group.lanes) mean += values[i];
    mean = group.Sum(mean) / count;
  }
  if (norms.all_heads) {
    if (normed && norms.squares == nullptr) squares = SquaresOfAllHeads<T>(args, head, angle_row, group);
    if (normed && norms.squares != nullptr && group.lane == 0)  // the others have none
      squares = norms.squares[2 * head.token + (is_query ? 0 : 1)];
    count *= static_cast<float>((is_query ? args.num_heads : args.kv.num_kv_heads) * norms.devices);
  } else {
    for (int i = group.lane; i < head.width; i += group.lanes)
      squares += (values[i] - mean) * (values[i] - mean);
  }
  const float inverse = 1.0f / sqrtf(group.Sum(squares) / count + norms.epsilon);
  if (!normed) return;
  const int first = (is_query ? head.index : head.index - args.num_heads) * head.width;
  const float* weight = (is_query ? norms.query_weight : norms.key_weight) + first;
  const float* bias = is_query ? norms.query_bias : norms.key_bias;
  for (int i = group.lane; i < head.width; i += group.lanes) {
    values[i] = (values[i] - mean) * inverse * weight[i];
    if (bias != nullptr) values[i] += bias[first + i];
  }
}

// By the angles of one row [rotary_dim / 2].
ROPEWAY_DEVICE void RotateHead(const QkvArgs& args, const float* cosines, const float* sines, int64_t row,
                               const Group& group, float* values) {
  const int half = args.rotary_dim / 2;
  cosines += row * half;
  sines += row * half;
  for (int i = group.lane; i < half; i += group.lanes) {
    float& first = values[args.interleaved ? 2 * i : i];
    float& second = values[args.interleaved ? 2 * i + 1 : i + half];
    const float2 turned = Rotated(first, second, cosines[i], sines[i]);
    first = turned.x;
    second = turned.y;
  }
}

template <int kWidth, class T>
ROPEWAY_DEVICE void StoreHead(const float* values, int width, const Group& group, T* out) {
  for (int i = group.lane * kWidth; i < width; i += group.lanes * kWidth) {
    float x[kWidth];
#pragma unroll
    for (int j = 0; j < kWidth; ++j) x[j] = values[i + j];
    StoreFloats(out + i, x);
  }
}

// Codes of 8 bits: values times the inverse of their scale.
ROPEWAY_DEVICE void StoreCodes(KvElement element, const float* values, int width, float inverse,
                               const Group& group, uint8_t* out) {
  for (int i = group.lane; i < width; i += group.lanes) {
    const float x = values[i] * inverse;
    if (element == KvElement::kInt8)
      reinterpret_cast<int8_t*>(out)[i] = static_cast<int8_t>(__float2int_rn(x));
    else
      out[i] = static_cast<uint8_t>(PackFp8Pair(x, 0));
  }
}

// `row` is the token's row of one KV head in its page, `scale` the place of its scale.
template <int kWidth>
ROPEWAY_DEVICE void StoreKv(KvElement element, const float* values, int width, float most, const Group& group,
                            uint8_t* row, float* scale) {
  switch (element) {
    case KvElement::kF32:
      return StoreHead<kWidth>(values, width, group, reinterpret_cast<float*>(row));
    case KvElement::kF16:
      return StoreHead<kWidth>(values, width, group, reinterpret_cast<fp16*>(row));
    case KvElement::kBF16:
      return StoreHead<kWidth>(values, width, group, reinterpret_cast<bf16*>(row));
    default: {
      const float largest = element == KvElement::kInt8 ? 127.0f : kLargestFp8;  // the largest code
      if (group.lane == 0) *scale = most / largest;
      return StoreCodes(element, values, width, most > 0 ? largest / most : 0.0f, group, row);
    }
  }
}

// Writes a finished key or value head into its page.
template <int kWidth>
ROPEWAY_DEVICE void StoreInPage(const QkvArgs& args, const Head& head, int position, float most,
                                const Group& group, const float* values) {
  const KvPages& kv = args.kv;
  const bool is_value = head.index >= args.num_heads + kv.num_kv_heads;
  const int kv_head = head.index - args.num_heads - (is_value ? kv.num_kv_heads : 0);
  const KvPlace place = KvPlaceOf(args, head.token, position, is_value, kv_head);
  StoreKv<kWidth>(kv.element, values, head.width, most, group, place.row, place.scale);
}

// Queries for keys of their own zone, which are turned already, go to `queries`; those of other zones are
// turned from `unturned`, which holds what they were before.
template <class T, int kWidth>
ROPEWAY_DEVICE void StoreQuery(const QkvArgs& args, const Head& head, int position, const Group& group,
                               const float* unturned, float* values) {
  const int64_t at = (static_cast<int64_t>(head.token) * args.num_heads + head.index) * args.kv.head_dim;
  const TurnedQueries* const turned[] = {nullptr, &args.previous, &args.older};
  for (int zone = 0; zone < (args.previous.out == nullptr ? 1 : 3); ++zone) {
    if (zone > 0) {
      for (int i = group.lane; i < head.width; i += group.lanes) values[i] = unturned[i];
      __syncwarp(group.Mask());
      RotateHead(args, turned[zone]->cosines, turned[zone]->sines, position, group, values);
      __syncwarp(group.Mask());
    }
    if (args.query_scales != nullptr) {
      for (int i = group.lane; i < head.width; i += group.lanes) values[i] *= args.query_scales[position];
      __syncwarp(group.Mask());
    }
    StoreHead<kWidth>(values, head.width, group,
                      static_cast<T*>(zone == 0 ? args.queries : turned[zone]->out) + at);
    __syncwarp(group.Mask());
  }
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads, 8) QkvKernel(QkvArgs args, int lanes, int heads_per_block) {
  // [kThreads / lanes][the larger of E, Ev]; with queries for other zones as much again, unturned
  ROPEWAY_DYNAMIC_SHARED(float, heads);
  LaunchDependents();
  GridDependencyWait();
  const int slot = static_cast<int>(threadIdx.x) / lanes;
  const Group group = {lanes, static_cast<int>(threadIdx.x) % lanes};
  const int widest = max(args.kv.head_dim, args.kv.value_dim);
  float* values = heads + slot * widest;
  float* unturned = values + heads_per_block * widest;
  const int queries = args.num_heads, keys_end = queries + args.kv.num_kv_heads;
  const int all = keys_end + args.kv.num_kv_heads;
  const int64_t item = int64_t{blockIdx.x} * heads_per_block + slot;
  // Groups past the last head go along without one: the whole warp takes part in every collective.
  const bool active = item < int64_t{args.num_tokens} * all;
  Head head = {active ? static_cast<int>(item / all) : 0, active ? static_cast<int>(item % all) : 0, 0};
  if (active) head.width = head.index < keys_end ? args.kv.head_dim : args.kv.value_dim;
  const int position = active ? args.positions[head.token] : -1;
  const int angle_row = active ? AngleRow(args, head.token, position) : 0;

  // 1. Load, with the bias, clipped if that is not done after the norm.
  if (active) LoadHead<T, kWidth>(args, head, group, values);
  __syncwarp();
  if (active && head.index >= queries && head.index < keys_end && args.shared_keys != nullptr)
    LoadSharedColumns<T>(args, head, group, values);
  __syncwarp();
  // 2. Norm and rotation of queries and keys, in either order.
  const bool is_query = head.index < queries, is_value = head.index >= keys_end;
  const bool has_norm = args.norms.kind != NormKind::kNone;
  if (has_norm && !args.norms.after_rotation) NormHead<T>(args, head, angle_row, group, values);
  __syncwarp();
  if (active && args.clip_after_norm)
    for (int i = group.lane; i < head.width; i += lanes) values[i] = Clipped(args, values[i]);
  __syncwarp();
  if (active && is_query && args.previous.out != nullptr)
    for (int i = group.lane; i < head.width; i += lanes) unturned[i] = values[i];
  __syncwarp();
  if (active && !is_value && args.rotary_dim > 0)
    RotateHead(args, args.cosines, args.sines, angle_row, group, values);
  __syncwarp();
  if (has_norm && args.norms.after_rotation) NormHead<T>(args, head, angle_row, group, values);
  __syncwarp();
  // 3. The largest magnitude, for caches of 8 bits.
  float most = 0;
  if (HasScales(args.kv.element)) {
    for (int i = group.lane; i < head.width; i += lanes) most = fmaxf(most, fabsf(values[i]));
    most = group.Max(most);
  }
  // 4. Store.
  if (!active) return;
  if (is_query) {
    StoreQuery<T, kWidth>(args, head, max(position, 0), group, unturned, values);
  } else if (position >= 0) {
    StoreInPage<kWidth>(args, head, position, most, group, values);
  }
}

// A warp has the queries or the keys of a token.
template <class T>
__global__ void __launch_bounds__(kThreads, 8) HeadSquaresKernel(HeadSquaresArgs args) {
  const int item = static_cast<int>(blockIdx.x) * (kThreads / 32) + static_cast<int>(threadIdx.x) / 32;
  const Group group = {32, static_cast<int>(threadIdx.x) % 32};
  const int token = item / 2;
  if (token >= args.qkv.num_tokens) return;  // whole warps
  const Head head = {token, item % 2 == 0 ? 0 : args.qkv.num_heads, args.qkv.kv.head_dim};
  const int row = args.qkv.angle_rows == nullptr ? args.qkv.positions[token] : args.qkv.angle_rows[token];
  const float sum = WarpSum(SquaresOfAllHeads<T>(args.qkv, head, max(row, 0), group));
  if (group.lane == 0) args.out[item] = sum;
}

}  // namespace

ErrorCode HeadSquares(const HeadSquaresArgs& args, Stream stream) {
  constexpr int kItems = kThreads / 32;
  const dim3 grid(static_cast<unsigned>((2 * args.qkv.num_tokens + kItems - 1) / kItems));
  return WithElement(args.qkv.element, [&]<class T>() {
    return Launch(stream, HeadSquaresKernel<T>, grid, dim3(kThreads), 0, args);
  });
}

ErrorCode Qkv(const QkvArgs& args, Stream stream) {
  if (TakesVectorHeads(args)) return QkvVectors(args, stream);
  const int widest = args.kv.head_dim > args.kv.value_dim ? args.kv.head_dim : args.kv.value_dim;
  const int lanes = widest <= 64 ? 8 : widest <= 128 ? 16 : 32, heads_per_block = kThreads / lanes;
  const int64_t items = int64_t{args.num_tokens} * (args.num_heads + 2 * args.kv.num_kv_heads);
  const dim3 grid(static_cast<unsigned>((items + heads_per_block - 1) / heads_per_block));
  const int copies = args.previous.out == nullptr ? 1 : 2;
  const size_t shared_bytes = static_cast<size_t>(copies * heads_per_block * widest) * sizeof(float);
  return WithElement(args.element, [&]<class T>() {
    const auto kernel =
        TakesVectors(args.kv.head_dim) && TakesVectors(args.kv.value_dim) ? QkvKernel<T, 8> : QkvKernel<T, 1>;
    return LaunchDependent(stream, kernel, grid, dim3(kThreads), shared_bytes, args, lanes, heads_per_block);
  });
}

}  // namespace ropeway::cuda
