// What qkv.cu does, for the heads of most models: of 16 bits like their cache, whole multiples of 128 bits, without a
// norm or with an RMS norm of each head in front of the rotation (TakesVectorHeads of qkv_vectors.h).
//
// A group of 8, 16 or 32 lanes takes a head, a lane eight columns of it, in registers; the other half of a pair that is
// turned comes from another lane. A block takes several heads of one token: their loads are all under way before the
// first is waited for, and the token's angles and its page are looked up once. Moves every element of qkv once in and once
// out, 128 bits at a time.
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/head_rotation.cuh"
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/qkv_vectors.h"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 128, kColumns = 8;

// A token, and one lane's place in each head.
struct TokenLane {
  int token, position;
  int lanes, column;

  ROPEWAY_DEVICE float Sum(float value) const {
    for (int i = lanes / 2; i > 0; i /= 2) value += __shfl_xor_sync(kFullWarp, value, i);
    return value;
  }
};

// One head of the token.
struct VectorHead {
  int index;  // of H + G + G heads: queries, keys, values
  int first;  // column of qkv
  int width;  // E or Ev; 0: there is no such head
};

ROPEWAY_DEVICE VectorHead HeadAt(const QkvArgs& args, int index) {
  const KvPages& kv = args.kv;
  const int keys_end = args.num_heads + kv.num_kv_heads;
  if (index < keys_end) return {index, index * kv.head_dim, kv.head_dim};
  const int value = index - keys_end;
  return {index, keys_end * kv.head_dim + value * kv.value_dim, value < kv.num_kv_heads ? kv.value_dim : 0};
}

// How a lane's columns are turned.
struct Turn {
  bool turns, is_first;  // of the halves of pairs
  int partner;           // the lane that has the other
  float cosines[kColumns], sines[kColumns];
};

ROPEWAY_DEVICE Turn TurnOf(const QkvArgs& args, const TokenLane& at) {
  const int half = args.rotary_dim / 2, lane = static_cast<int>(threadIdx.x % 32);
  Turn turn = {at.column < args.rotary_dim, at.column < half, lane, {}, {}};
  if (!turn.turns) return turn;
  const int64_t row = int64_t{AngleRow(args, at.token, at.position)} * half;
  if (args.interleaved) {
    float cosines[kColumns / 2], sines[kColumns / 2];
    LoadFloats(args.cosines + row + at.column / 2, cosines);
    LoadFloats(args.sines + row + at.column / 2, sines);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      turn.cosines[i] = cosines[i / 2];
      turn.sines[i] = sines[i / 2];
    }
    return turn;
  }
  turn.partner += (turn.is_first ? half : -half) / kColumns;
  LoadFloats(args.cosines + row + at.column - (turn.is_first ? 0 : half), turn.cosines);
  LoadFloats(args.sines + row + at.column - (turn.is_first ? 0 : half), turn.sines);
  return turn;
}

// All lanes of a warp come here; those that turn nothing keep what they have.
ROPEWAY_DEVICE void RotateColumns(bool interleaved, const Turn& turn, bool turns, float (&x)[kColumns]) {
  if (interleaved) {
    if (!turns) return;
#pragma unroll
    for (int i = 0; i < kColumns; i += 2) {
      const float2 turned = Rotated(x[i], x[i + 1], turn.cosines[i], turn.sines[i]);
      x[i] = turned.x;
      x[i + 1] = turned.y;
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kColumns; ++i) {
    const float other = __shfl_sync(kFullWarp, x[i], turn.partner);
    if (!turns) continue;
    x[i] = turn.is_first ? Rotated(x[i], other, turn.cosines[i], turn.sines[i]).x
                         : Rotated(other, x[i], turn.cosines[i], turn.sines[i]).y;
  }
}

// Of a query or key head; all lanes of a warp come here.
ROPEWAY_DEVICE void NormColumns(const QkvArgs& args, const VectorHead& head, const TokenLane& at,
                                float (&x)[kColumns]) {
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kColumns; ++i) squares += x[i] * x[i];
  const float inverse =
      1.0f / sqrtf(at.Sum(squares) / static_cast<float>(args.kv.head_dim) + args.norms.epsilon);
  const bool is_query = head.index < args.num_heads;
  if (head.index >= args.num_heads + args.kv.num_kv_heads || at.column >= head.width) return;
  const int first = head.first - (is_query ? 0 : args.num_heads * args.kv.head_dim) + at.column;
  const float* bias = is_query ? args.norms.query_bias : args.norms.key_bias;
  float weights[kColumns], biases[kColumns] = {};
  LoadFloats((is_query ? args.norms.query_weight : args.norms.key_weight) + first, weights);
  if (bias != nullptr) LoadFloats(bias + first, biases);
#pragma unroll
  for (int i = 0; i < kColumns; ++i) {
    x[i] = x[i] * inverse * weights[i];
    if (bias != nullptr) x[i] += biases[i];
  }
}

ROPEWAY_DEVICE void ClipColumns(const QkvArgs& args, float (&x)[kColumns]) {
#pragma unroll
  for (float& value : x) value = Clipped(args, value);
}

template <class T>
ROPEWAY_DEVICE void StoreColumns(const QkvArgs& args, const VectorHead& head, const TokenLane& at,
                                 int64_t page, float (&x)[kColumns]) {
  if (at.column >= head.width) return;
  if (head.index < args.num_heads) {
    if (args.query_scales != nullptr) {
      const float scale = args.query_scales[max(at.position, 0)];
#pragma unroll
      for (float& value : x) value *= scale;
    }
    const int64_t row = int64_t{at.token} * args.num_heads + head.index;
    return StoreFloats(static_cast<T*>(args.queries) + row * args.kv.head_dim + at.column, x);
  }
  if (at.position < 0) return;
  const int kv_head = head.index - args.num_heads;
  const bool is_value = kv_head >= args.kv.num_kv_heads;
  const KvPlace place =
      KvPlaceIn(args.kv, page, at.position, is_value, kv_head - (is_value ? args.kv.num_kv_heads : 0));
  StoreFloats(reinterpret_cast<T*>(place.row) + at.column, x);
}

// What most layers want: rotation alone, of halves. By a kernel of its own, a third of the code.
bool IsPlain(const QkvArgs& args) {
  return args.bias == nullptr && args.clip <= 0 && args.norms.kind == NormKind::kNone && !args.interleaved &&
         args.query_scales == nullptr;
}
// The same arguments, as constants where they are plain: so the compiler leaves out what the others need.
ROPEWAY_DEVICE QkvArgs PlainOf(QkvArgs args) {
  args.bias = nullptr;
  args.clip = 0;
  args.norms.kind = NormKind::kNone;
  args.interleaved = false;
  args.query_scales = nullptr;
  return args;
}

// kPlain: IsPlain(args).
template <class T, int kHeads, bool kPlain>
__global__ void __launch_bounds__(kThreads) QkvVectorsKernel(QkvArgs args, int lanes) {
  LaunchDependents();
  if constexpr (kPlain) args = PlainOf(args);
  GridDependencyWait();
  const int groups = kThreads / lanes, token = static_cast<int>(blockIdx.x);
  const int64_t table = static_cast<int64_t>(args.token_rows[token]) * args.max_pages;  // beside the position
  const int first = static_cast<int>(blockIdx.y) * groups * kHeads + static_cast<int>(threadIdx.x) / lanes;
  const TokenLane at = {token, args.positions[token], lanes,
                        static_cast<int>(threadIdx.x) % lanes * kColumns};
  const KvPages& kv = args.kv;
  const int keys_end = args.num_heads + kv.num_kv_heads;
  const int64_t total = int64_t{keys_end} * kv.head_dim + kv.num_kv_heads * kv.value_dim;
  const T* source = static_cast<const T*>(args.qkv) + token * total + at.column;
  Vector128<T> loaded[kHeads] = {};
#pragma unroll
  for (int i = 0; i < kHeads; ++i) {
    const VectorHead head = HeadAt(args, first + i * groups);
    if (at.column < head.width) loaded[i] = Load128(source + head.first);
  }
  const Turn turn = TurnOf(args, at);
  const int64_t page = at.position < 0 ? 0 : args.page_tables[table + at.position / kPageTokens];
#pragma unroll
  for (int i = 0; i < kHeads; ++i) {
    const VectorHead head = HeadAt(args, first + i * groups);
    float x[kColumns];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) x[j] = ToFloat(loaded[i].values[j]);
    if (args.bias != nullptr && at.column < head.width) {
      float biases[kColumns];
      LoadFloats(args.bias + head.first + at.column, biases);
#pragma unroll
      for (int j = 0; j < kColumns; ++j) x[j] += biases[j];
    }
    if (!args.clip_after_norm) ClipColumns(args, x);
    if (args.norms.kind != NormKind::kNone) NormColumns(args, head, at, x);
    if (args.clip_after_norm) ClipColumns(args, x);
    RotateColumns(args.interleaved, turn, turn.turns && head.index < keys_end, x);
    StoreColumns<T>(args, head, at, page, x);
  }
}

}  // namespace

ErrorCode QkvVectors(const QkvArgs& args, Stream stream) {
  constexpr int kHeads = 2;  // of 2,048 tokens of an 8B an H100 took 25 us, with 3 heads 27, with 6 33
  const int widest = args.kv.head_dim > args.kv.value_dim ? args.kv.head_dim : args.kv.value_dim;
  const int lanes = widest <= 64 ? 8 : widest <= 128 ? 16 : 32, heads = kThreads / lanes * kHeads;
  const int parts = (args.num_heads + 2 * args.kv.num_kv_heads + heads - 1) / heads;
  const dim3 grid(static_cast<unsigned>(args.num_tokens), static_cast<unsigned>(parts));
  const auto launch = [&]<class T>() {
    const auto kernel =
        IsPlain(args) ? QkvVectorsKernel<T, kHeads, true> : QkvVectorsKernel<T, kHeads, false>;
    return LaunchDependent(stream, kernel, grid, dim3(kThreads), 0, args, lanes);
  };
  return args.element == Element::kF16 ? launch.template operator()<fp16>()
                                       : launch.template operator()<bf16>();
}

}  // namespace ropeway::cuda
