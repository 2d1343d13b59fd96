// Paged attention whose scores a small network changes, over all heads at one pair of query and key (DAPE).
//
//   queries [T, H, E], pages of keys and values  ->  out [T, H, Ev] or partial results
// A block takes one token of an item at a time, with all its heads: their scores of a chunk of 256 keys lie
// in shared memory, where the network changes them 32 keys at a time (a lane is a key); then a warp has one
// head. Keys and values are read once per query head. Where an item begins or ends within a token's heads,
// scores of all heads are computed and the item's own used.
#include "engine/kernels/cuda/attention_merge.cuh"
#include "engine/kernels/cuda/attention_plain.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kWarps = 4;
constexpr float kLeakySlope = 0.01f;

// In shared memory, all of float.
struct MixedShared {
  float* scores;   // [H, kChunkTokens]; later weights
  float* states;   // [H, Ev + 2]: weighted values, maximum, sum
  float* biases;   // [H, 32]
  float* between;  // [width, 32]
};

ROPEWAY_DEVICE MixedShared PlaceShared(const AttentionParams& params, float* shared) {
  const int heads = params.args.num_heads;
  MixedShared place;
  place.scores = shared;
  place.states = place.scores + heads * kChunkTokens;
  place.biases = place.states + heads * (params.args.kv.value_dim + 2);
  place.between = place.biases + heads * 32;
  return place;
}

// The pair of one head of the token that pair `first` of an item belongs to.
ROPEWAY_DEVICE int PairOf(const AttentionParams& params, int token, int head) {
  return token * params.group + head % params.group;
}

// Scores of all heads and 32 keys from `first` on, and their biases.
template <class T, KvElement kKv>
ROPEWAY_DEVICE void ScoreKeys(const AttentionParams& params, const AttentionItem& item, int token, int first,
                              const MixedShared& shared) {
  const int lane = static_cast<int>(threadIdx.x % 32), key = first + lane;
  for (int head = static_cast<int>(threadIdx.x / 32); head < params.args.num_heads; head += kWarps) {
    const int kv_head = head / params.group;
    const PlainQuery<T> query = MakePlainQuery<T>(params, item, PairOf(params, token, head), kv_head);
    const bool visible = key >= query.first_key && key <= query.position;
    const HeadRows keys(params.args.kv, kv_head, kNumberBytes<kKv>, false);
    shared.scores[head * kChunkTokens + key % kChunkTokens] =
        visible ? ScoreOf<T, kKv>(params, query, keys, key) : 0;
    shared.biases[head * 32 + lane] = visible ? AddBias(params.args.modifier.bias, query.bias, key, 0) : 0;
  }
}

// score + bias + network, in the place of the scores of 32 keys.
ROPEWAY_DEVICE void MixKeys(const AttentionParams& params, int first, const MixedShared& shared) {
  const kernels::HeadMixer& mixer = params.args.modifier.mixer;
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int heads = params.args.num_heads, num_inputs = mixer.takes_biases ? 2 * heads : heads;
  float* scores = shared.scores + first % kChunkTokens + lane;
  for (int w = warp; w < mixer.width; w += kWarps) {
    const float* weights = mixer.in_weights + int64_t{w} * num_inputs;
    float sum = mixer.in_biases[w];
    for (int h = 0; h < heads; ++h) sum = fmaf(weights[h], scores[h * kChunkTokens], sum);
    for (int h = heads; h < num_inputs; ++h)
      sum = fmaf(weights[h], shared.biases[(h - heads) * 32 + lane], sum);
    shared.between[w * 32 + lane] = sum > 0 ? sum : kLeakySlope * sum;
  }
  __syncthreads();  // what lies between is complete
  for (int h = warp; h < heads; h += kWarps) {
    const float* weights = mixer.out_weights + int64_t{h} * mixer.width;
    float sum = mixer.out_biases[h];
    for (int w = 0; w < mixer.width; ++w) sum = fmaf(weights[w], shared.between[w * 32 + lane], sum);
    scores[h * kChunkTokens] += shared.biases[h * 32 + lane] + sum;
  }
  __syncthreads();  // scores are complete; biases and what lies between may be overwritten
}

// One chunk for the pairs of an item that belong to the token: a warp has a head.
template <class T, KvElement kKv>
ROPEWAY_DEVICE void WeighHeads(const AttentionParams& params, const AttentionItem& item, int token, int chunk,
                               const MixedShared& shared) {
  const int lane = static_cast<int>(threadIdx.x % 32), value_dim = params.args.kv.value_dim;
  for (int head = static_cast<int>(threadIdx.x / 32); head < params.args.num_heads; head += kWarps) {
    const int kv_head = head / params.group, index = PairOf(params, token, head) - item.first_pair;
    if (index < 0 || index >= item.num_pairs) continue;
    const PlainQuery<T> query = MakePlainQuery<T>(params, item, item.first_pair + index, kv_head);
    const HeadRows values(params.args.kv, kv_head, kNumberBytes<kKv>, true);
    float* row = shared.scores + head * kChunkTokens;
    float* state = shared.states + head * (value_dim + 2);
    float scores[kLaneKeys], largest = state[value_dim], sum = state[value_dim + 1];
    for (int i = 0; i < kLaneKeys; ++i) {
      const int key = chunk * kChunkTokens + 32 * i + lane;
      scores[i] = key >= query.first_key && key <= query.position ? row[32 * i + lane] : -INFINITY;
    }
    __syncwarp();  // scores are read, and so are maximum and sum
    const int64_t slot =
        item.partial < 0 ? -1 : item.partial + int64_t{chunk - item.first_chunk} * item.num_pairs + index;
    TakeChunk<T, kKv>(params, query, values, kv_head, chunk, slot, scores, row, largest, sum, state);
    if (lane == 0) state[value_dim] = largest, state[value_dim + 1] = sum;
    __syncwarp();
  }
}

ROPEWAY_DEVICE void ClearStates(const AttentionParams& params, const MixedShared& shared) {
  const int size = params.args.kv.value_dim + 2, total = params.args.num_heads * size;
  for (int i = static_cast<int>(threadIdx.x); i < total; i += kWarps * 32)
    shared.states[i] = i % size == size - 2 ? -INFINITY : 0;
}

template <class T>
ROPEWAY_DEVICE void WriteHeads(const AttentionParams& params, const AttentionItem& item, int token,
                               const MixedShared& shared) {
  const int value_dim = params.args.kv.value_dim;
  for (int head = static_cast<int>(threadIdx.x / 32); head < params.args.num_heads; head += kWarps) {
    const int index = PairOf(params, token, head) - item.first_pair;
    if (index < 0 || index >= item.num_pairs) continue;
    const float* state = shared.states + head * (value_dim + 2);
    WriteState<T>(params, item.first_pair + index, head / params.group, state[value_dim],
                  state[value_dim + 1], state);
  }
}

template <class T, KvElement kKv>
ROPEWAY_DEVICE void AttendToken(const AttentionParams& params, const AttentionItem& item, int token,
                                const MixedShared& shared) {
  ClearStates(params, shared);
  __syncthreads();
  const int end = item.num_keys;
  for (int chunk = item.first_chunk; chunk < item.last_chunk; ++chunk) {
    const int start = chunk * kChunkTokens;
    for (int first = start; first < min(start + kChunkTokens, end); first += 32) {
      ScoreKeys<T, kKv>(params, item, token, first, shared);
      __syncthreads();  // scores and biases are complete
      MixKeys(params, first, shared);
    }
    WeighHeads<T, kKv>(params, item, token, chunk, shared);
    __syncthreads();  // scores may be overwritten
  }
  if (item.partial < 0) WriteHeads<T>(params, item, token, shared);
  __syncthreads();  // states may be overwritten
}

template <class T, KvElement kKv>
__global__ void __launch_bounds__(kWarps * 32, 2)
    AttendMixedKernel(AttentionParams params, WorkList<AttentionItem> work) {
  ROPEWAY_DYNAMIC_SHARED(float, memory);
  const MixedShared shared = PlaceShared(params, memory);
  for (int w = static_cast<int>(blockIdx.x); w < *work.count; w += static_cast<int>(gridDim.x)) {
    const AttentionItem item = work.data[w];
    const int last = (item.first_pair + item.num_pairs - 1) / params.group;
    for (int token = item.first_pair / params.group; token <= last; ++token)
      AttendToken<T, kKv>(params, item, token, shared);
    for (int kv_head = 0; item.partial >= 0 && kv_head < params.args.kv.num_kv_heads; ++kv_head)
      MergeIfLast<T>(params, item, kv_head);
  }
}

ErrorCode LaunchItems(const AttentionParams& params, const WorkList<AttentionItem>& work, Stream stream) {
  if (work.blocks == 0) return 0;
  const AttentionArgs& args = params.args;
  const auto shared_bytes =
      static_cast<size_t>(MixedSharedBytes(args.num_heads, args.kv.value_dim, args.modifier.mixer.width));
  return WithElements(args, [&]<class T, KvElement kKv>() {
    return Launch(stream, AttendMixedKernel<T, kKv>, dim3(static_cast<unsigned>(work.blocks)),
                  dim3(kWarps * 32), shared_bytes, params, work);
  });
}

}  // namespace

ErrorCode AttendMixed(const AttentionParams& params, Stream stream) {
  const ErrorCode error = LaunchItems(params, params.args.narrow, stream);
  return error != 0 ? error : LaunchItems(params, params.args.wide, stream);
}

}  // namespace ropeway::cuda
