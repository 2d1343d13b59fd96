// What all attention kernels share: their parameters, how scores are changed (what it means:
// engine/kernels/score_modifier.h), and the one formula by which partial results are merged.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_STATE_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_STATE_CUH_

#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/device.h"

namespace ropeway::cuda {

// Arguments, and what follows from them.
struct AttentionParams {
  AttentionArgs args;
  int group = 0;  // H / G
  int64_t page_bytes = 0, page_scales = 0;
  int64_t partial_floats = 0;  // PartialFloats
  // Scores on tensor cores that are nothing but scaled stay as the product gave them, each worth the scale, which goes
  // into the exponents. Others are worth themselves.
  bool changes_scores = false;
  float score_unit = 1;
};

// The narrow and the wide items. AttendF16 and AttendBF16, on tensor cores, have windows, chunks, soft-caps,
// biases and sinks; AttendPlain has all of ScoreModifier but the mixer, for every element type; AttendMixed
// is for modifiers with one.
ErrorCode AttendF16(const AttentionParams& params, Stream stream);
ErrorCode AttendBF16(const AttentionParams& params, Stream stream);
// The narrow items alone, and the wide ones, without caps and biases. REQUIRES: AttentionArgs::maps.
ErrorCode AttendDecode(const AttentionParams& params, Stream stream);
ErrorCode AttendWarpgroups(const AttentionParams& params, Stream stream);
ErrorCode AttendPlain(const AttentionParams& params, Stream stream);
ErrorCode AttendMixed(const AttentionParams& params, Stream stream);

// ---- What a query sees: keys [FirstKey(position), position]. Position -1, of padding, sees nothing.
ROPEWAY_DEVICE int FirstKey(const kernels::ScoreModifier& modifier, int position) {
  if (modifier.window > 0) return max(0, position + 1 - modifier.window);
  return modifier.chunk > 0 ? position / modifier.chunk * modifier.chunk : 0;
}
// A logit without a value, -infinity for none.
ROPEWAY_DEVICE float SinkOf(const kernels::ScoreModifier& modifier, int head) {
  return modifier.sinks != nullptr ? modifier.sinks[head] : -INFINITY;
}
// `score` is scale * (q . k).
ROPEWAY_DEVICE float Cap(const kernels::ScoreModifier& modifier, float score) {
  return modifier.softcap == 0 ? score : modifier.softcap * tanhf(score / modifier.softcap);
}

// ---- Biases. What is known of one query.
struct BiasQuery {
  const float* table;  // its row over distances
  float factor;        // slope; of the table; FIRE's normaliser
  int head, position;
};

ROPEWAY_DEVICE BiasQuery MakeBiasQuery(const kernels::ScoreBias& bias, int head, int position) {
  BiasQuery query = {bias.table.data, 0, head, position};
  if (bias.kind == kernels::BiasKind::kSlope) query.factor = bias.slopes[head];
  if (bias.kind == kernels::BiasKind::kFire) query.factor = bias.fire.normalisers[max(position, 0)];
  if (bias.kind == kernels::BiasKind::kDistance) {
    query.table += head * bias.table.head_stride;
    query.factor = bias.factors == nullptr ? 1 : bias.factors[head];
  }
  return query;
}

// Where a row over distances has a key; that of a key after the query is one of the row's numbers, too.
ROPEWAY_DEVICE int DistanceColumn(int num_distances, int distance) {
  return kernels::kDistanceMargin + num_distances - 1 - min(max(distance, 0), num_distances - 1);
}

ROPEWAY_DEVICE float FireBias(const kernels::FireSegments& fire, int head, float x) {
  int first = 0, last = fire.num_segments - 1;
  while (first < last) {
    const int middle = (first + last + 1) / 2;
    if (x >= fire.knots[middle])
      first = middle;
    else
      last = middle - 1;
  }
  const int64_t at = int64_t{head} * fire.num_segments + first;
  return fmaf(fire.slopes[at], x, fire.intercepts[at]);
}

ROPEWAY_DEVICE float AddBias(const kernels::ScoreBias& bias, const BiasQuery& query, int key, float score) {
  if (bias.kind == kernels::BiasKind::kNone) return score;
  if (bias.kind == kernels::BiasKind::kSlope)
    return fmaf(query.factor, static_cast<float>(key - query.position), score);
  const float value = query.table[DistanceColumn(bias.table.num_distances, query.position - key)];
  if (bias.kind == kernels::BiasKind::kDistance) return fmaf(value, query.factor, score);
  return score + FireBias(bias.fire, query.head, value * query.factor);
}

// ---- What the tensor-core kernels do to scores: a type with these members, which holds one Query per query
// in registers. The first, the usual one, takes fewer of them. kChanges: whether there may be anything to do.
struct SlopeModifier {
  struct Query {
    float slope;
    int position;
  };

  static constexpr bool kChanges = true;
  static ROPEWAY_DEVICE Query MakeQuery(const kernels::ScoreModifier& modifier, int head, int position) {
    return {modifier.bias.kind == kernels::BiasKind::kSlope ? modifier.bias.slopes[head] : 0.0f, position};
  }
  static ROPEWAY_DEVICE float Modify(const kernels::ScoreModifier& modifier, const Query& query, float score,
                                     int key) {
    score = Cap(modifier, score);
    if (modifier.bias.kind == kernels::BiasKind::kSlope)
      score = fmaf(query.slope, static_cast<float>(key - query.position), score);
    return score;
  }
};

struct TableModifier {
  using Query = BiasQuery;
  static constexpr bool kChanges = true;

  static ROPEWAY_DEVICE Query MakeQuery(const kernels::ScoreModifier& modifier, int head, int position) {
    return MakeBiasQuery(modifier.bias, head, position);
  }
  static ROPEWAY_DEVICE float Modify(const kernels::ScoreModifier& modifier, const Query& query, float score,
                                     int key) {
    return AddBias(modifier.bias, query, key, Cap(modifier, score));
  }
};

// No caps and no biases.
struct NoModifier {
  static constexpr bool kChanges = false;
  struct Query {};
  static ROPEWAY_DEVICE Query MakeQuery(const kernels::ScoreModifier&, int, int) { return {}; }
  static ROPEWAY_DEVICE float Modify(const kernels::ScoreModifier&, const Query&, float score, int) {
    return score;
  }
};

// ---- Softmax in parts.
inline constexpr float kLog2E = 1.4426950408889634f;

// e^x for a difference x of scores; 0 for -infinity.
ROPEWAY_DEVICE float SoftmaxWeight(float x) { return FastExp2(x * kLog2E); }

// Merges a chunk's (m, l, o) into (M, L, O), what the chunks before it gave:
//   M' = max(M, m);  L' = L e^(M - M') + l e^(m - M');  O' = O e^(M - M') + o e^(m - M')
// A chunk of which the query sees nothing is (-infinity, 0, 0) and changes nothing; so (M, L, O) starts. A
// score that is no number makes l and o none: maxima pass it over.
struct Merge {
  float max, before, chunk;  // M' and the two factors

  Merge() = default;
  ROPEWAY_DEVICE Merge(float max_before, float max_chunk) : max(max_before), before(1), chunk(0) {
    if (max_chunk == -INFINITY) return;
    max = fmaxf(max_before, max_chunk);
    before = SoftmaxWeight(max_before - max);
    chunk = SoftmaxWeight(max_chunk - max);
  }
  ROPEWAY_DEVICE float Apply(float value_before, float value_chunk) const {
    return fmaf(value_before, before, value_chunk * chunk);
  }
};

// What O is multiplied by in the end; the sink takes its share. 0 where the query saw nothing.
ROPEWAY_DEVICE float FinalFactor(float max, float sum, float sink) {
  const float largest = fmaxf(max, sink);
  if (largest == -INFINITY && sum == 0) return 0;
  const float factor = SoftmaxWeight(max - largest);
  return factor / fmaf(sum, factor, SoftmaxWeight(sink - largest));
}

// ---- Partial results: [num_partials, G] of { weighted values [TileWidth], max, sum, padding [2] }.
ROPEWAY_DEVICE float* PartialAt(const AttentionParams& params, int64_t index, int kv_head) {
  return params.args.workspace + (index * params.args.kv.num_kv_heads + kv_head) * params.partial_floats;
}
ROPEWAY_DEVICE float2* PartialStatistics(const AttentionParams& params, float* partial) {
  return reinterpret_cast<float2*>(partial + params.partial_floats - 4);
}

// ---- Where a pair of a KV head lies in queries [T, H, E] and out [T, H, Ev].
ROPEWAY_DEVICE int HeadOf(const AttentionParams& params, int pair, int kv_head) {
  return kv_head * params.group + pair % params.group;
}
// In heads from the beginning.
ROPEWAY_DEVICE int64_t RowOf(const AttentionParams& params, int pair, int kv_head) {
  return int64_t{pair / params.group} * params.args.num_heads + HeadOf(params, pair, kv_head);
}
ROPEWAY_DEVICE int PositionOf(const AttentionParams& params, const AttentionItem& item, int pair) {
  return item.first_position + pair / params.group - item.first_pair / params.group;
}

// The part of a page that holds the keys or the values of one KV head.
struct HeadRows {
  const uint8_t* data;  // of page 0
  const float* scales;  // of page 0; null where the type has none
  int columns;          // E or Ev

  ROPEWAY_DEVICE HeadRows(const KvPages& kv, int kv_head, int bytes, bool values)
      : data(kv.data), scales(kv.scales), columns(values ? kv.value_dim : kv.head_dim) {
    const int64_t rows = int64_t{kPageTokens} * bytes;
    data += kv_head * rows * columns + (values ? kv.num_kv_heads * rows * kv.head_dim : 0);
    if (scales != nullptr) scales += (kv_head + (values ? kv.num_kv_heads : 0)) * kPageTokens;
  }
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_STATE_CUH_
