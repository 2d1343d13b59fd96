// Attention over paged keys and values, included once per instruction set after modifier_inl.h.
//
// A query's positions are walked in chunks of kChunk from position 0. A chunk's maximum, sum and weighted
// values are computed by themselves and merged into the query's state in order:
//   m' = max(m, m_c);  l' = l e^(m - m') + l_c e^(m_c - m');  o' = o e^(m - m') + o_c e^(m_c - m')
// so a query's bytes depend on its position and window alone. Queries go together, to share the loads of keys
// and values; each keeps its own sequence of operations:
//   group  up to kAttentionGroup queries: a chunk's bf16 keys and values are expanded to float once for all
//          of them, where they are more than one block
//   block  up to kQueries queries, whose scores of up to four pages stay in registers
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_INL_H_

constexpr int kChunkPages = kChunk / kPageTokens;

// Weights stop shrinking at e^-60 = 9e-27: far below what a float sum notices, and far enough above the
// smallest floats that no product becomes a denormal number, which processors compute a hundred times slower.
constexpr float kSmallestExponent = -60;

// e^x for a difference x <= 0 of scores.
inline Lanes WeightOf(Lanes x) { return Exp(Max(Splat(kSmallestExponent), x)); }

// Pages of scores, or vectors of values, that `queries` queries keep in registers.
constexpr int WidthFor(int queries) {
  const int width = kAccumulators / queries;
  return width >= 4 ? 4 : width >= 2 ? 2 : 1;
}

// A query and what is known of it so far.
struct Query {
  const float* query;
  float* out;
  float* values;        // [padded Ev] weighted values, in the scratch
  int32_t first, last;  // visible positions [first, last)
  float max, sum;
  Modification modified;

  int32_t position() const { return last - 1; }
};

// A chunk's keys and values of one KV head, page by page; Element is uint16_t for bf16, or float.
template <typename Element>
struct Chunk {
  int32_t start;  // position
  const Element* keys[kChunkPages];
  const Element* values[kChunkPages];
  // Bytes from a page to the one that will be read in its place in the next chunk.
  int64_t ahead[kChunkPages];
};

// The weights of a block's queries in a chunk: scores first.
struct Weights {
  alignas(64) float of[kQueries][kChunk];
};

template <typename Element>
inline Lanes LoadElements(const Element* p) {
  if constexpr (sizeof(Element) == 2)
    return LoadBf16(p);
  else
    return Load(p);
}

// Fetches what lies `ahead` bytes beyond `p`. Few queries wait for memory; many have their chunk expanded and
// find it in the cache, as floats.
template <typename Element>
inline void FetchAhead(const Element* p, int64_t ahead) {
  if constexpr (sizeof(Element) == 2) _mm_prefetch(reinterpret_cast<const char*>(p) + ahead, _MM_HINT_T0);
}

// weights.of[q][..] = q . k for kPages pages from `page` of the chunk on.
template <typename Element, int Q, int kPages>
inline void Scores(const Chunk<Element>& chunk, int page, int head_dim, const float* const* queries,
                   Weights& weights) {
  Lanes score[kPages][Q];
#pragma GCC unroll 4
  for (int p = 0; p < kPages; ++p)
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) score[p][q] = Zero();
  for (int d = 0; d < head_dim; ++d) {
    Lanes k[kPages];
#pragma GCC unroll 4
    for (int p = 0; p < kPages; ++p) {
      const Element* key = chunk.keys[page + p] + d * kPageTokens;
      FetchAhead(key, chunk.ahead[page + p]);
      k[p] = LoadElements(key);
    }
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      const Lanes x = Splat(queries[q][d]);
#pragma GCC unroll 4
      for (int p = 0; p < kPages; ++p) score[p][q] = Fma(k[p], x, score[p][q]);
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < kPages; ++p)
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) Store(weights.of[q] + (page + p) * kPageTokens, score[p][q]);
}

// The same for pages [page, pages), kPages and then fewer at a time.
template <typename Element, int Q, int kPages>
inline void ScoresOfPages(const Chunk<Element>& chunk, int page, int pages, int head_dim,
                          const float* const* queries, Weights& weights) {
  for (; page + kPages <= pages; page += kPages)
    Scores<Element, Q, kPages>(chunk, page, head_dim, queries, weights);
  if constexpr (kPages > 1)
    ScoresOfPages<Element, Q, kPages / 2>(chunk, page, pages, head_dim, queries, weights);
}

// By what a query's old state and a chunk are multiplied when they are merged.
struct Merge {
  float old_factor, new_factor;
};

// From the scores of a chunk's pages to e^(score - maximum), zero where the query does not see; merges
// maximum and sum into the query.
inline Merge Soften(int32_t chunk_start, int pages, Lanes* score, Query& query, float* weights) {
  const Lanes lowest = Splat(-__builtin_inff());
  Lanes largest = lowest;
  for (int p = 0; p < pages; ++p) {
    score[p] = Visible(chunk_start + p * kPageTokens, query.first, query.last, score[p], lowest);
    largest = Max(largest, score[p]);
  }
  const float max = MaxOfLanes(largest);
  Lanes total = Zero();
  for (int p = 0; p < pages; ++p) {
    const Lanes weight = Visible(chunk_start + p * kPageTokens, query.first, query.last,
                                 WeightOf(Sub(score[p], Splat(max))), Zero());
    Store(weights + p * kPageTokens, weight);
    total = Add(total, weight);
  }
  const float merged = query.max < max ? max : query.max;
  alignas(64) float factors[16];
  Store(factors, WeightOf(Within(0, 1, Splat(query.max - merged), Splat(max - merged))));
  query.max = merged;
  query.sum = __builtin_fmaf(query.sum, factors[0], SumOfLanes(total) * factors[1]);
  return {factors[0], factors[1]};
}

// From products of query and keys to weights.
inline Merge Weigh(const AttentionArgs& args, int32_t chunk_start, int pages, Query& query, float* weights) {
  const ScoreBias& bias = args.modifier.bias;
  Lanes score[kChunkPages];
  for (int p = 0; p < pages; ++p)
    score[p] = ScaleAndCap(args, query.modified, Load(weights + p * kPageTokens));
  if (bias.kind != BiasKind::kNone)
    for (int p = 0; p < pages; ++p)
      score[p] = AddBias(bias, query.position(), chunk_start + p * kPageTokens, query.modified, score[p]);
  return Soften(chunk_start, pages, score, query, weights);
}

// values = values * old_factor + (weights of [first, last) of the chunk . v) * new_factor, for kColumns * 16
// columns.
template <typename Element, int Q, int kColumns>
inline void WeighValues(const Chunk<Element>& chunk, int64_t row, int64_t column, int first, int last,
                        const Merge* merges, const Weights& weights, Query* queries) {
  Lanes o[kColumns][Q];
#pragma GCC unroll 4
  for (int c = 0; c < kColumns; ++c)
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) o[c][q] = Zero();
  for (int i = first; i < last; ++i) {
    const Element* v = chunk.values[i / kPageTokens] + i % kPageTokens * row + column;
    Lanes x[kColumns];
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
      FetchAhead(v + 16 * c, chunk.ahead[i / kPageTokens]);
      x[c] = LoadElements(v + 16 * c);
    }
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      const Lanes weight = Splat(weights.of[q][i]);
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) o[c][q] = Fma(x[c], weight, o[c][q]);
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q)
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
      float* state = queries[q].values + column + 16 * c;
      const Lanes old = Mul(Load(state), Splat(merges[q].old_factor));
      Store(state, Fma(o[c][q], Splat(merges[q].new_factor), old));
    }
}

// The same for columns [column, row), kColumns vectors and then fewer at a time.
template <typename Element, int Q, int kColumns>
inline void WeighColumns(const Chunk<Element>& chunk, int64_t row, int64_t column, int first, int last,
                         const Merge* merges, const Weights& weights, Query* queries) {
  for (; column + 16 * kColumns <= row; column += 16 * kColumns)
    WeighValues<Element, Q, kColumns>(chunk, row, column, first, last, merges, weights, queries);
  if constexpr (kColumns > 1)
    WeighColumns<Element, Q, kColumns / 2>(chunk, row, column, first, last, merges, weights, queries);
}

// Positions [first, last) of the chunk that any of `count` queries sees; last is 0 where none does.
inline Range SeenOf(int32_t chunk_start, const Query* queries, int count) {
  int first = kChunk, last = 0;
  for (int q = 0; q < count; ++q) {
    const int begin = queries[q].first - chunk_start, end = queries[q].last - chunk_start;
    if (begin >= kChunk || end <= 0) continue;
    first = begin < first ? begin : first;
    last = end > last ? end : last;
  }
  return {first < 0 ? 0 : first, last > kChunk ? kChunk : last};
}

// weights.of[q][..] = q . k for pages [page, pages) of a block's queries.
template <typename Element, int Q>
inline void ScoreQueries(const AttentionArgs& args, const Chunk<Element>& chunk, int page, int pages,
                         const Query* queries, Weights& weights) {
  const float* vectors[Q];
  for (int q = 0; q < Q; ++q) vectors[q] = queries[q].query;
  ScoresOfPages<Element, Q, WidthFor(Q)>(chunk, page, pages, args.kv.head_dim, vectors, weights);
}

// The same where keys of other zones than the queries' own meet queries that are turned otherwise. Zones of
// which no query has keys in the chunk are passed over.
template <typename Element, int Q>
inline void ScoreZones(const AttentionArgs& args, const Chunk<Element>& chunk, int page, int pages,
                       const Query* queries, Weights& weights) {
  const int32_t zone = args.modifier.zone, end = chunk.start + pages * kPageTokens;
  for (int q = 0; q < Q; ++q)
    for (float& weight : weights.of[q]) weight = 0;
  for (int back = 0; back <= 2; ++back) {
    const float* vectors[Q];
    int32_t first[Q], last[Q];
    bool any = false;
    for (int q = 0; q < Q; ++q) {
      const int32_t own = queries[q].position() / zone * zone;
      vectors[q] = back == 0 ? queries[q].query : queries[q].modified.zone_queries[back - 1];
      first[q] = back == 2 ? 0 : own - back * zone;
      last[q] = back == 0 ? queries[q].last : own - (back - 1) * zone;
      any = any || (first[q] < end && last[q] > chunk.start);
    }
    if (!any) continue;
    Weights turned;
    ScoresOfPages<Element, Q, WidthFor(Q)>(chunk, page, pages, args.kv.head_dim, vectors, turned);
    for (int q = 0; q < Q; ++q)
      for (int p = page; p < pages; ++p) {
        const int at = p * kPageTokens;
        Store(weights.of[q] + at, Visible(chunk.start + at, first[q], last[q], Load(turned.of[q] + at),
                                          Load(weights.of[q] + at)));
      }
  }
}

// One chunk for a block of Q queries. A query that sees nothing of it keeps its state: old_factor is 1, and
// the rest is zero.
template <typename Element, int Q>
void AttendBlock(const AttentionArgs& args, const Chunk<Element>& chunk, Query* queries) {
  const Range seen = SeenOf(chunk.start, queries, Q);
  if (seen.last <= seen.first) return;
  const int first = static_cast<int>(seen.first), last = static_cast<int>(seen.last);
  const int page = first / kPageTokens, pages = (last + kPageTokens - 1) / kPageTokens;
  const ScoreModifier& modifier = args.modifier;
  constexpr int kWidth = WidthFor(Q);
  Weights weights;
  if (modifier.zone > 0)
    ScoreZones<Element, Q>(args, chunk, page, pages, queries, weights);
  else
    ScoreQueries<Element, Q>(args, chunk, page, pages, queries, weights);
  Merge merges[Q];
  for (int q = 0; q < Q; ++q) {
    if (queries[q].first < chunk.start + kChunk && queries[q].last > chunk.start) {
      if (modifier.relative_keys.rows.data != nullptr)
        AddRelativeKeys(args, queries[q].position(), chunk.start, page, pages, queries[q].modified,
                        weights.of[q]);
      merges[q] = Weigh(args, chunk.start, pages, queries[q], weights.of[q]);
      continue;
    }
    merges[q] = {1, 0};
    for (float& weight : weights.of[q]) weight = 0;
  }
  WeighColumns<Element, Q, kWidth>(chunk, args.kv.padded_value_dim, 0, first, last, merges, weights, queries);
  if (modifier.relative_values.data == nullptr) return;
  for (int q = 0; q < Q; ++q)
    AddRelativeValues(args, queries[q].position(), chunk.start, first, last, merges[q].new_factor,
                      queries[q].modified, weights.of[q], queries[q].values);
}

// Calls body.template operator()<Q>(first) for blocks of Q <= kQueries of `count` queries.
template <int Q = kQueries, typename Body>
inline void ForBlocks(int first, int count, const Body& body) {
  for (; first + Q <= count; first += Q) body.template operator()<Q>(first);
  if constexpr (Q > 1) ForBlocks<Q - 1>(first, count, body);
}

template <typename Element>
void AttendGroup(const AttentionArgs& args, const Chunk<Element>& chunk, int count, Query* queries) {
  ForBlocks(0, count, [&]<int Q>(int first) { AttendBlock<Element, Q>(args, chunk, queries + first); });
}

// Where pages [0, pages) of the chunk lie in the cache, of the sequence's `all_pages`.
template <typename Element>
Chunk<Element> ChunkAt(const AttentionArgs& args, int kv_head, int32_t start, int pages, int all_pages) {
  Chunk<Element> chunk;
  chunk.start = start;
  for (int p = 0; p < pages; ++p) {
    const int index = start / kPageTokens + p, next = index + kChunkPages;
    const int64_t page = args.page_table[index];
    chunk.keys[p] = reinterpret_cast<const Element*>(args.cache + page * args.page_stride) +
                    kv_head * args.kv.head_elements;
    chunk.values[p] = chunk.keys[p] + args.kv.value_offset;
    chunk.ahead[p] = next < all_pages ? (args.page_table[next] - page) * args.page_stride : 0;
  }
  return chunk;
}

// The same chunk in floats, written to `expanded`.
Chunk<float> Expand(const Chunk<uint16_t>& from, const KvLayout& kv, int pages, float* expanded) {
  Chunk<float> chunk;
  chunk.start = from.start;
  for (int p = 0; p < pages; ++p, expanded += kv.head_elements) {
    for (int64_t i = 0; i < kv.head_elements; i += kPageTokens)
      Store(expanded + i, LoadBf16(from.keys[p] + i));
    chunk.keys[p] = expanded;
    chunk.values[p] = expanded + kv.value_offset;
  }
  return chunk;
}

void InitQuery(const AttentionArgs& args, int token, int head, float* values, float* offset_queries,
               Query& query) {
  const ScoreModifier& modifier = args.modifier;
  const int64_t at = token * args.query_stride + int64_t{head} * args.kv.head_dim;
  const int absolute_head = args.kv_head * args.queries_per_token + head;
  query.query = args.queries + at;
  query.out = args.out + token * args.out_stride + int64_t{head} * args.kv.value_dim;
  query.values = values;
  query.last = args.first_position + token + 1;
  query.first = FirstVisible(modifier, query.position());
  query.max = modifier.sinks == nullptr ? -__builtin_inff() : modifier.sinks[absolute_head];
  query.sum = modifier.sinks == nullptr ? 0 : 1;
  for (int64_t i = 0; i < args.kv.padded_value_dim; i += 16) Store(values + i, Zero());
  query.modified.inverse_cap = 1 / modifier.softcap;  // infinite, and not used, without one
  InitBias(modifier.bias, absolute_head, query.position(), query.modified);
  if (modifier.zone > 0) {
    query.modified.zone_queries[0] = args.previous_queries + at;
    query.modified.zone_queries[1] = args.older_queries + at;
  }
  if (modifier.relative_keys.rows.data != nullptr)
    query.query = InitRelativeKeys(args, absolute_head, query.query, offset_queries, query.modified);
  if (modifier.relative_values.data != nullptr)
    query.modified.value_rows =
        modifier.relative_values.data + absolute_head * modifier.relative_values.head_stride;
}

void FinishQuery(const KvLayout& kv, const Query& query) {
  const Lanes factor = Splat(1.f / query.sum);
  ForColumns(kv.value_dim, [&](int64_t i, int64_t lanes) {
    StoreSome(query.out + i, lanes, Mul(Load(query.values + i), factor));
  });
}

// Queries [first_row, first_row + count) of the tokens' heads in order: they see ever later positions.
void AttendRows(const AttentionArgs& args, int first_row, int count) {
  Query queries[kAttentionGroup];
  float* values = reinterpret_cast<float*>(args.scratch);
  float* offset_queries = values + kAttentionGroup * args.kv.padded_value_dim;
  float* expanded = offset_queries + 2 * kAttentionGroup * int64_t{args.kv.head_dim};
  for (int q = 0; q < count; ++q) {
    const int row = first_row + q;
    InitQuery(args, row / args.queries_per_token, row % args.queries_per_token,
              values + q * args.kv.padded_value_dim, offset_queries + 2 * q * int64_t{args.kv.head_dim},
              queries[q]);
  }
  const int32_t end = queries[count - 1].last;
  const int all_pages = (end + kPageTokens - 1) / kPageTokens;
  for (int32_t start = queries[0].first / kChunk * kChunk; start < end; start += kChunk) {
    const int left = all_pages - start / kPageTokens;
    const int pages = left < kChunkPages ? left : kChunkPages;
    if (!args.kv.bf16) {
      AttendGroup(args, ChunkAt<float>(args, args.kv_head, start, pages, all_pages), count, queries);
      continue;
    }
    const Chunk<uint16_t> chunk = ChunkAt<uint16_t>(args, args.kv_head, start, pages, all_pages);
    if (count <= kQueries)
      AttendGroup(args, chunk, count, queries);
    else
      AttendGroup(args, Expand(chunk, args.kv, pages, expanded), count, queries);
  }
  for (int q = 0; q < count; ++q) FinishQuery(args.kv, queries[q]);
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_INL_H_
