// How a score is changed on its way to a weight, sixteen keys (one page) at a time; included once per
// instruction set after row_ops_inl.h. What is computed: score_modifier.h.
//
// Whatever a page's other keys are, a key's number comes from the same operations.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_MODIFIER_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_MODIFIER_INL_H_

// What a modifier knows of one query.
struct Modification {
  float inverse_cap;            // of the soft-cap
  float factor;                 // ALiBi's slope; of a table over distances; FIRE's normaliser
  const float* table;           // a row over distances
  int32_t segment;              // FIRE's of the last key, at most: x falls from key to key
  const float* slopes;          // [num_segments] of the query's head
  const float* intercepts;      // [num_segments] of the query's head
  const float* position_query;  // q + v
  const float* key_rows;        // r_h, E rows over distances
  float far_product;            // position_query . r_h of the farthest distance
  const float* value_rows;      // w_h [num_distances, padded Ev]
};

// The first position that a query at `position` sees.
inline int32_t FirstVisible(const ScoreModifier& modifier, int32_t position) {
  if (modifier.window > 0) return position + 1 > modifier.window ? position + 1 - modifier.window : 0;
  return modifier.chunk > 0 ? position / modifier.chunk * modifier.chunk : 0;
}

// `x` in the lanes of a page that begins at `start` whose positions lie in [first, last), `other` elsewhere.
inline Lanes Visible(int32_t start, int32_t first, int32_t last, Lanes x, Lanes other) {
  if (first <= start && start + kPageTokens <= last) return x;
  const auto clamp = [](int32_t i) { return i < 0 ? 0 : i > kPageTokens ? kPageTokens : i; };
  return Within(clamp(first - start), clamp(last - start), x, other);
}

// Where a row over distances has the page whose first key is `distance` away. Lanes of keys after the query
// (negative distances) find anything that is a number.
inline int64_t DistanceColumn(int32_t num_distances, int32_t distance) {
  const int64_t column = int64_t{kDistanceMargin} + num_distances - 1 - distance;
  const int64_t last = int64_t{num_distances} + kDistanceMargin;
  return column < 0 ? 0 : column > last ? last : column;
}

inline Lanes ScaleAndCap(const AttentionArgs& args, const Modification& modified, Lanes product) {
  const Lanes score = Mul(product, Splat(args.scale));
  const float cap = args.modifier.softcap;
  return cap == 0 ? score : Softcap(score, cap, modified.inverse_cap);
}

inline void InitBias(const ScoreBias& bias, int head, int32_t position, Modification& modified) {
  switch (bias.kind) {
    case BiasKind::kNone:
      return;
    case BiasKind::kSlope:
      modified.factor = bias.slopes[head];
      return;
    case BiasKind::kDistance:
      modified.factor = bias.factors == nullptr ? 1 : bias.factors[head];
      modified.table = bias.table.data + head * bias.table.head_stride;
      return;
    case BiasKind::kFire:
      modified.factor = bias.fire.normalisers[position];
      modified.table = bias.table.data;
      modified.segment = bias.fire.num_segments - 1;
      modified.slopes = bias.fire.slopes + int64_t{head} * bias.fire.num_segments;
      modified.intercepts = bias.fire.intercepts + int64_t{head} * bias.fire.num_segments;
      return;
  }
}

// x falls from lane to lane and from page to page, so most pages lie in one segment, which is the last one or
// the one before it.
inline Lanes AddFire(const ScoreBias& bias, const float* table, Modification& modified, Lanes score) {
  const float* knots = bias.fire.knots;
  const float most = table[0] * modified.factor, least = table[kPageTokens - 1] * modified.factor;
  int32_t segment = modified.segment;
  while (segment > 0 && !(most >= knots[segment])) --segment;
  modified.segment = segment;
  const Lanes x = Mul(Load(table), Splat(modified.factor));
  const auto line = [&](int32_t s) {
    return Fma(x, Splat(modified.slopes[s]), Splat(modified.intercepts[s]));
  };
  Lanes y = line(segment);
  for (; segment > 0 && !(least >= knots[segment]); --segment)
    y = IfLess(x, Splat(knots[segment]), line(segment - 1), y);
  return Add(score, y);
}

// score + bias for the keys of the page that begins at `start`.
inline Lanes AddBias(const ScoreBias& bias, int32_t position, int32_t start, Modification& modified,
                     Lanes score) {
  if (bias.kind == BiasKind::kNone) return score;
  if (bias.kind == BiasKind::kSlope)
    return Fma(Splat(modified.factor), Add(Iota(), Splat(static_cast<float>(start - position))), score);
  const float* table = modified.table + DistanceColumn(bias.table.num_distances, position - start);
  if (bias.kind == BiasKind::kDistance) return Fma(Load(table), Splat(modified.factor), score);
  return AddFire(bias, table, modified, score);
}

// Returns q + u, in `sums` [2, E] where u is not zero, and finds q + v.
inline const float* InitRelativeKeys(const AttentionArgs& args, int head, const float* query, float* sums,
                                     Modification& modified) {
  const RelativeKeys& keys = args.modifier.relative_keys;
  const int head_dim = args.kv.head_dim;
  const auto sum = [&](const float* offsets, float* out) {
    if (offsets == nullptr) return query;
    for (int d = 0; d < head_dim; ++d) out[d] = query[d] + offsets[int64_t{head} * head_dim + d];
    return static_cast<const float*>(out);
  };
  modified.position_query = sum(keys.position_offsets, sums + head_dim);
  modified.key_rows = keys.rows.data + head * keys.rows.head_stride;
  const int64_t size = int64_t{keys.rows.num_distances} + 2 * kDistanceMargin;
  modified.far_product = 0;
  for (int d = 0; d < head_dim; ++d)
    modified.far_product =
        __builtin_fmaf(modified.key_rows[d * size], modified.position_query[d], modified.far_product);
  return sum(keys.content_offsets, sums);
}

// products += (q + v) . r for kPages pages, the first of which begins at `start`.
template <int kPages>
inline void AddNearKeys(const RelativeKeys& keys, int head_dim, int32_t position, int32_t start,
                        const Modification& modified, float* products) {
  const int64_t size = int64_t{keys.rows.num_distances} + 2 * kDistanceMargin;
  const float* rows[kPages];
  Lanes sum[kPages];
#pragma GCC unroll 4
  for (int p = 0; p < kPages; ++p) {
    rows[p] = modified.key_rows + DistanceColumn(keys.rows.num_distances, position - start - p * kPageTokens);
    sum[p] = Zero();
  }
  for (int d = 0; d < head_dim; ++d) {
    const Lanes x = Splat(modified.position_query[d]);
#pragma GCC unroll 4
    for (int p = 0; p < kPages; ++p) sum[p] = Fma(Load(rows[p] + d * size), x, sum[p]);
  }
#pragma GCC unroll 4
  for (int p = 0; p < kPages; ++p)
    Store(products + p * kPageTokens, Add(Load(products + p * kPageTokens), sum[p]));
}

// products += (q + v) . r for pages [page, pages) of a chunk. Pages that are farther than the rows go share
// one product.
inline void AddRelativeKeys(const AttentionArgs& args, int32_t position, int32_t chunk_start, int page,
                            int pages, const Modification& modified, float* products) {
  const RelativeKeys& keys = args.modifier.relative_keys;
  const int32_t farthest = keys.rows.num_distances - 1;
  for (; page < pages; ++page) {
    float* at = products + page * kPageTokens;
    if (position - (chunk_start + (page + 1) * kPageTokens - 1) < farthest) break;
    Store(at, Add(Load(at), Splat(modified.far_product)));
  }
  for (; page + 2 <= pages; page += 2)
    AddNearKeys<2>(keys, args.kv.head_dim, position, chunk_start + page * kPageTokens, modified,
                   products + page * kPageTokens);
  if (page < pages)
    AddNearKeys<1>(keys, args.kv.head_dim, position, chunk_start + page * kPageTokens, modified,
                   products + page * kPageTokens);
}

// values += sum of weights * w, for positions [first, last) of a chunk. The weights of all keys
// that are farther than the rows go are added up first.
inline void AddRelativeValues(const AttentionArgs& args, int32_t position, int32_t chunk_start, int first,
                              int last, const Modification& modified, const float* weights, float* values) {
  const RelativeValues& relative = args.modifier.relative_values;
  const int64_t row = args.kv.padded_value_dim;
  const int newest = position - chunk_start;  // the query's own place in the chunk
  if (newest < first) return;
  last = newest < last ? newest + 1 : last;
  const int border = newest - (relative.num_distances - 2);
  const int near = border < first ? first : border > last ? last : border;
  Lanes far = Zero();
  for (int p = first / kPageTokens; p * kPageTokens < near; ++p)
    far = Add(far, Visible(p * kPageTokens, first, near, Load(weights + p * kPageTokens), Zero()));
  const Lanes far_weight = Splat(SumOfLanes(far));
  const float* farthest = modified.value_rows + int64_t{relative.num_distances - 1} * row;
  for (int64_t column = 0; column < row; column += 16) {
    Lanes sum = Mul(Load(farthest + column), far_weight);
    for (int i = near; i < last; ++i)
      sum = Fma(Load(modified.value_rows + (newest - i) * row + column), Splat(weights[i]), sum);
    Store(values + column, Add(Load(values + column), sum));
  }
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_MODIFIER_INL_H_
