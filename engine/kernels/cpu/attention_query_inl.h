// What attention knows of a query on its way through the positions; included once per instruction set after
// attention_rows_inl.h.
//
// Positions are walked in spans of kAttentionSpan from position 0, and a span in chunks of kChunk. In a span a query has a
// maximum m of its scores, sixteen lanes of sums l of weights, and weighted values o, which begin at nothing. A
// chunk may raise the maximum; then its scores become weights e^(score - m), and are added:
//   m' = max(m, scores);  l = l e^(m - m');  o = o e^(m - m');  then l += weights;  o += weights . v
// Spans are merged in order: M' = max(M, m); L' = L e^(M - M') + l e^(m - M'); O' likewise; out = O / L. So a
// query's bytes depend on its position and window alone, and spans may be computed by anyone.
//
// Of bf16 keys and values the weights are powers of two, of scores times log2(e), rounded to bf16 (PowerBf16),
// and it is the rounded ones that are summed up.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_QUERY_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_QUERY_INL_H_

// Weights stop shrinking at e^-60 = 9e-27: far below what a float sum notices, and far enough above the
// smallest floats that no product becomes a denormal number, which processors compute a hundred times slower.
constexpr float kSmallestExponent = -60;

// e^x for a difference x <= 0 of scores.
[[gnu::always_inline]] inline Lanes WeightOf(Lanes x) { return Exp(Max(Splat(kSmallestExponent), x)); }

// Keys of the query's own zone, of the zone before, and of older ones.
constexpr int kZones = 3;

// A query and what is known of it so far.
struct Query {
  const float* factors[kZones];  // what its keys are multiplied by, as rows want it
  float* out;
  float* values;               // [padded Ev] o, in the scratch
  float* total_values;         // [padded Ev] O
  int32_t first, last;         // visible positions [first, last)
  float max;                   // m
  float total_max, total_sum;  // M, L
  alignas(64) float sums[16];  // l
  Modification modified;

  int32_t position() const { return last - 1; }
};

// Where things of one query lie in the scratch.
struct QueryMemory {
  float* values;        // [padded Ev]
  float* total_values;  // [padded Ev]
  float* rounded;       // [kZones][padded E]
  float* packed;        // [kZones][padded E / 2]
  float* position;      // [2][E]
};

inline void SetZero(float* p, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) Store(p + i, Zero());
}

// Whether nothing changes scores but their scale and a soft-cap. Then the product of query and key comes divided by
// the cap, and the cap is part of what is multiplied at the end: of the soft-cap only its tanh is left to compute.
inline bool CapsAlone(const ScoreModifier& modifier) {
  return modifier.softcap != 0 && modifier.bias.kind == BiasKind::kNone && modifier.mixer.width == 0 &&
         modifier.relative_keys.rows.data == nullptr;
}

// `query` [E] times `factor` to bf16, with zeros behind it.
inline const float* RoundQuery(const float* query, float factor, const KvLayout& kv, float* rounded) {
  for (int64_t d = kv.head_dim; d < kv.padded_head_dim; ++d) rounded[d] = 0;
  ForColumns(kv.head_dim, [&](int64_t d, int64_t lanes) {
    alignas(64) uint16_t row[16];
    alignas(64) float floats[16];
    StoreBf16(row, Mul(LoadSome(query + d, lanes), Splat(factor)));
    Store(floats, LoadBf16(row));
    StoreSome(rounded + d, lanes, Load(floats));
  });
  return rounded;
}

template <class Rows>
void InitQuery(const AttentionArgs& args, int token, int head, const QueryMemory& memory, Query& query) {
  const ScoreModifier& modifier = args.modifier;
  const int64_t at = token * args.query_stride + int64_t{head} * args.kv.head_dim;
  const int absolute_head = args.kv_head * args.queries_per_token + head;
  query.out = args.out + token * args.out_stride + int64_t{head} * args.kv.value_dim;
  query.values = memory.values;
  query.total_values = memory.total_values;
  query.last = args.first_position + token + 1;
  query.first = FirstVisible(modifier, query.position());
  query.modified.inverse_cap = 1 / modifier.softcap;  // infinite, and not used, without one
  InitBias(modifier.bias, absolute_head, query.position(), query.modified);
  const float* queries[kZones] = {args.queries + at};
  int zones = 1;
  if (modifier.zone > 0) {
    queries[zones++] = args.previous_queries + at;
    queries[zones++] = args.older_queries + at;
  }
  if (modifier.relative_keys.rows.data != nullptr)
    queries[0] = InitRelativeKeys(args, absolute_head, queries[0], memory.position, query.modified);
  const float factor = CapsAlone(modifier) ? args.scale * query.modified.inverse_cap : 1;
  for (int z = 0; z < zones; ++z) {
    query.factors[z] = queries[z];
    if constexpr (!Rows::kOneChain)
      query.factors[z] =
          Rows::QueryOf(RoundQuery(queries[z], factor, args.kv, memory.rounded + z * args.kv.padded_head_dim),
                        args.kv.padded_head_dim, memory.packed + z * args.kv.padded_head_dim / 2);
  }
  if (modifier.relative_values.data != nullptr)
    query.modified.value_rows =
        modifier.relative_values.data + absolute_head * modifier.relative_values.head_stride;
  const bool sink = modifier.sinks != nullptr;
  constexpr float kUnit = Rows::kOneChain ? 1 : kLog2E;
  query.total_max = sink ? modifier.sinks[absolute_head] * kUnit : -__builtin_inff();
  query.total_sum = sink ? 1 : 0;
  SetZero(query.total_values, args.kv.padded_value_dim);
}

// e^x for a difference x <= 0 of maxima.
template <class Rows>
inline float FactorOf(float x) {
  alignas(64) float factor[16];
  Store(factor, WeightOf(Splat(Rows::kOneChain ? x : x * kLn2)));
  return factor[0];
}

inline void BeginSpan(const KvLayout& kv, Query& query) {
  query.max = -__builtin_inff();
  Store(query.sums, Zero());
  SetZero(query.values, kv.padded_value_dim);
}

// Merges what a span came to into the query.
template <class Rows>
inline void MergeSpan(const KvLayout& kv, float span_max, float span_sum, const float* values, Query& query) {
  const float max = query.total_max < span_max ? span_max : query.total_max;
  const float old_factor = FactorOf<Rows>(query.total_max - max), factor = FactorOf<Rows>(span_max - max);
  query.total_max = max;
  query.total_sum = __builtin_fmaf(query.total_sum, old_factor, span_sum * factor);
  for (int64_t i = 0; i < kv.padded_value_dim; i += 16) {
    const Lanes old = Mul(Load(query.total_values + i), Splat(old_factor));
    Store(query.total_values + i, Fma(Load(values + i), Splat(factor), old));
  }
}

// Where the results of query `row` of a call in a span go.
inline float* SpanOf(const AttentionArgs& args, int32_t span, int row) {
  return args.spans + span * args.span_stride + row * (args.kv.padded_value_dim + kSpanHead);
}

// The end of a span that the query sees positions of: it is merged, or written down.
template <class Rows>
inline void EndSpan(const AttentionArgs& args, int row, Query& query) {
  const float sum = SumOfLanes(Load(query.sums));
  if (args.span < 0) return MergeSpan<Rows>(args.kv, query.max, sum, query.values, query);
  float* result = SpanOf(args, args.span, row);
  result[0] = query.max;
  result[1] = sum;
  for (int64_t i = 0; i < args.kv.padded_value_dim; i += 16)
    Store(result + kSpanHead + i, Load(query.values + i));
}

void FinishQuery(const KvLayout& kv, const Query& query) {
  const Lanes factor = Splat(1.f / query.total_sum);
  ForColumns(kv.value_dim, [&](int64_t i, int64_t lanes) {
    StoreSome(query.out + i, lanes, Mul(Load(query.total_values + i), factor));
  });
}

// The chunk's scores raise the maximum of the span.
template <class Rows>
[[gnu::noinline]] void RaiseMaximum(const KvLayout& kv, float max, Query& query) {
  if (!(query.max < max)) return;
  const bool first = query.max == -__builtin_inff();  // nothing to shrink
  const Lanes factor = Splat(FactorOf<Rows>(query.max - max));
  query.max = max;
  if (first) return;
  Store(query.sums, Mul(Load(query.sums), factor));
  for (int64_t i = 0; i < kv.padded_value_dim; i += 16)
    Store(query.values + i, Mul(Load(query.values + i), factor));
}

template <class Rows>
inline Lanes WeightOfScore(Lanes x) {
  if constexpr (Rows::kOneChain)
    return WeightOf(x);
  else
    return PowerBf16(x);
}

// What a product of query and key is multiplied by on its way to a logarithm of a weight: before the soft-cap, where
// there is one and the query is not multiplied already, and at the end.
struct Scaling {
  float before, after;
};

template <class Rows>
inline Lanes Capped(Lanes x, Scaling scaling) {
  if constexpr (Rows::kOneChain)
    return Tanh(Mul(x, Splat(scaling.before)));
  else
    return BriefTanh(x);
}

// From the products, or scores, of a chunk's pages to their weights, zero where the query does not see; onto the
// query's maximum and sums.
template <class Rows, bool kCaps, int kPages>
inline void SoftenPages(const KvLayout& kv, int32_t start, Scaling scaling, Query& query, float* scores,
                        float* packed) {
  const bool sees_all = query.first <= start && start + kPages * kPageTokens <= query.last;
  Lanes score[kPages];
#pragma GCC unroll 4
  for (int p = 0; p < kPages; ++p) {
    score[p] = Load(scores + p * kPageTokens);
    if constexpr (kCaps) score[p] = Capped<Rows>(score[p], scaling);
  }
  if (!sees_all) {
    const Lanes lowest = Splat(-__builtin_inff());
    for (int p = 0; p < kPages; ++p)
      score[p] = Visible(start + p * kPageTokens, query.first, query.last, score[p], lowest);
  }
  Lanes largest = score[0];
#pragma GCC unroll 4
  for (int p = 1; p < kPages; ++p) largest = Max(largest, score[p]);
  largest = Mul(largest, Splat(scaling.after));
  if (!AllLess(largest, Splat(query.max))) RaiseMaximum<Rows>(kv, MaxOfLanes(largest), query);
  const Lanes below = Splat(-query.max);
  Lanes sum = Load(query.sums);
#pragma GCC unroll 4
  for (int p = 0; p < kPages; ++p) {
    score[p] = WeightOfScore<Rows>(Fma(score[p], Splat(scaling.after), below));
    if (!sees_all) score[p] = Visible(start + p * kPageTokens, query.first, query.last, score[p], Zero());
    sum = Add(sum, score[p]);
    Store(scores + p * kPageTokens, score[p]);
  }
  Store(query.sums, sum);
  if constexpr (!Rows::kOneChain) Rows::Pack(score, kPages, packed);
}

template <class Rows, bool kCaps>
inline void Soften(const KvLayout& kv, int32_t start, int pages, Scaling scaling, Query& query, float* scores,
                   float* packed) {
  switch (pages) {
    case 1:
      return SoftenPages<Rows, kCaps, 1>(kv, start, scaling, query, scores, packed);
    case 2:
      return SoftenPages<Rows, kCaps, 2>(kv, start, scaling, query, scores, packed);
    case 3:
      return SoftenPages<Rows, kCaps, 3>(kv, start, scaling, query, scores, packed);
    default:
      return SoftenPages<Rows, kCaps, 4>(kv, start, scaling, query, scores, packed);
  }
}

// What a product of query and key takes on its way to a score, beside relative keys.
enum class ScoreRule {
  kScaled,    // a scale above zero alone, which is part of what turns scores into logarithms of weights
  kCapped,    // CapsAlone: of the soft-cap its tanh is left to compute
  kModified,  // all of it, step by step
};

inline ScoreRule RuleOf(const AttentionArgs& args) {
  const ScoreModifier& modifier = args.modifier;
  if (CapsAlone(modifier)) return ScoreRule::kCapped;
  const bool scales = modifier.softcap == 0 && modifier.bias.kind == BiasKind::kNone && args.scale > 0;
  return scales ? ScoreRule::kScaled : ScoreRule::kModified;
}

template <class Rows>
inline Scaling ScalingOf(const AttentionArgs& args, ScoreRule rule, const Query& query) {
  constexpr float kUnit = Rows::kOneChain ? 1 : kLog2E;
  if (rule == ScoreRule::kCapped)
    return {args.scale * query.modified.inverse_cap, args.modifier.softcap * kUnit};
  return {1, rule == ScoreRule::kScaled ? args.scale * kUnit : kUnit};
}

// From products of query and keys of pages [page, pages) to what the rule leaves for soft-max.
inline void ModifyProducts(const AttentionArgs& args, ScoreRule rule, int32_t start, int page, int pages,
                           Query& query, float* scores) {
  const ScoreModifier& modifier = args.modifier;
  if (modifier.relative_keys.rows.data != nullptr)
    AddRelativeKeys(args, query.position(), start, page, pages, query.modified, scores);
  if (rule != ScoreRule::kModified) return;
  for (int p = page; p < pages; ++p) {
    float* at = scores + p * kPageTokens;
    const Lanes score = ScaleAndCap(args, query.modified, Load(at));
    Store(at, AddBias(modifier.bias, query.position(), start + p * kPageTokens, query.modified, score));
  }
}

// From products of query and keys to weights.
template <class Rows>
inline void Weigh(const AttentionArgs& args, int32_t start, int page, int pages, Query& query, float* scores,
                  float* packed) {
  const ScoreRule rule = RuleOf(args);
  const Scaling scaling = ScalingOf<Rows>(args, rule, query);
  if (rule == ScoreRule::kCapped)
    return Soften<Rows, true>(args.kv, start, pages, scaling, query, scores, packed);
  ModifyProducts(args, rule, start, page, pages, query, scores);
  Soften<Rows, false>(args.kv, start, pages, scaling, query, scores, packed);
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_QUERY_INL_H_
