// Attention over paged keys and values, included once per instruction set after attention_query_inl.h and
// bf16_fma_inl.h or bf16_dot_inl.h.
//
// Queries go together, to share the loads of keys and values; each keeps its own sequence of operations:
//   group  up to kAttentionGroup queries: where they are more than one block, a chunk's bf16 keys and values are
//          expanded once for all of them (bf16_fma_inl.h), or soft-max goes beside products (attention_whole_inl.h)
//   block  up to kQueries queries, whose scores of some pages stay in registers
// One token may take several KV heads in turn, chunk by chunk, which reads quads of pages as they lie in memory.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_INL_H_

// Pages of scores, or vectors of values, that `queries` queries keep in registers.
template <class Rows>
constexpr int WidthFor(int queries) {
  const int width = Rows::kSums / queries;
  return width >= 4 ? 4 : width >= 2 ? 2 : 1;
}

// Scores of pages [page, pages), P and then fewer at a time.
template <class Rows, int Q, int P>
inline void ScoresOfPages(const typename Rows::Chunk& chunk, int page, int pages, int64_t columns,
                          const float* const (&queries)[Q], Weights& weights) {
  for (; page + P <= pages; page += P) Scores<Rows, Q, P>(chunk, page, columns, queries, weights);
  if constexpr (P > 1) ScoresOfPages<Rows, Q, P / 2>(chunk, page, pages, columns, queries, weights);
}

// Weighted values of columns [column, row), P vectors and then fewer at a time.
template <class Rows, int Q, int P>
inline void WeighColumns(const typename Rows::Chunk& chunk, int64_t row, int64_t column, int first, int last,
                         const Weights& weights, float* const (&states)[Q]) {
  for (; column + 16 * P <= row; column += 16 * P)
    WeighValues<Rows, Q, P>(chunk, column, first, last, weights, states);
  if constexpr (P > 1) WeighColumns<Rows, Q, P / 2>(chunk, row, column, first, last, weights, states);
}

template <class Rows, int Q>
inline void WeighAllColumns(const typename Rows::Chunk& chunk, int64_t row, int first, int last,
                            const Weights& weights, const Query* queries) {
  float* states[Q];
  for (int q = 0; q < Q; ++q) states[q] = queries[q].values;
  WeighColumns<Rows, Q, WidthFor<Rows>(Q)>(chunk, row, 0, first, last, weights, states);
}

inline bool Sees(const Query& query, int32_t first, int32_t last) {
  return query.first < last && query.last > first;
}

// Positions [first, last) of the chunk that any of `count` queries sees; last is 0 where none does.
inline Range SeenOf(int32_t chunk_start, const Query* queries, int count) {
  int first = kChunk, last = 0;
  for (int q = 0; q < count; ++q) {
    if (!Sees(queries[q], chunk_start, chunk_start + kChunk)) continue;
    const int begin = queries[q].first - chunk_start, end = queries[q].last - chunk_start;
    first = begin < first ? begin : first;
    last = end > last ? end : last;
  }
  return {first < 0 ? 0 : first, last > kChunk ? kChunk : last};
}

// weights.of[q][..] = q . k for pages [page, pages) of a block's queries.
template <class Rows, int Q>
inline void ScoreQueries(const AttentionArgs& args, const typename Rows::Chunk& chunk, int page, int pages,
                         const Query* queries, Weights& weights) {
  const float* factors[Q];
  for (int q = 0; q < Q; ++q) factors[q] = queries[q].factors[0];
  ScoresOfPages<Rows, Q, WidthFor<Rows>(Q)>(chunk, page, pages, args.kv.padded_head_dim, factors, weights);
}

// The same where keys of other zones than the queries' own meet queries that are turned otherwise. Zones of
// which no query has keys in the chunk are passed over.
template <class Rows, int Q>
inline void ScoreZones(const AttentionArgs& args, const typename Rows::Chunk& chunk, int page, int pages,
                       const Query* queries, Weights& weights) {
  const int32_t zone = args.modifier.zone, end = chunk.start + pages * kPageTokens;
  for (int q = 0; q < Q; ++q)
    for (float& weight : weights.of[q]) weight = 0;
  for (int back = 0; back < kZones; ++back) {
    const float* factors[Q];
    int32_t first[Q], last[Q];
    bool any = false;
    for (int q = 0; q < Q; ++q) {
      const int32_t own = queries[q].position() / zone * zone;
      factors[q] = queries[q].factors[back];
      first[q] = back == 2 ? 0 : own - back * zone;
      last[q] = back == 0 ? queries[q].last : own - (back - 1) * zone;
      any = any || (first[q] < end && last[q] > chunk.start);
    }
    if (!any) continue;
    Weights turned;
    ScoresOfPages<Rows, Q, WidthFor<Rows>(Q)>(chunk, page, pages, args.kv.padded_head_dim, factors, turned);
    for (int q = 0; q < Q; ++q)
      for (int p = page; p < pages; ++p) {
        const int at = p * kPageTokens;
        Store(weights.of[q] + at, Visible(chunk.start + at, first[q], last[q], Load(turned.of[q] + at),
                                          Load(weights.of[q] + at)));
      }
  }
}

// One chunk for a block of Q queries. A query that sees nothing of it keeps its state: its weights are zero.
template <class Rows, int Q>
void AttendBlock(const AttentionArgs& args, const typename Rows::Chunk& chunk, Query* queries) {
  const Range seen = SeenOf(chunk.start, queries, Q);
  if (seen.last <= seen.first) return;
  const int first = static_cast<int>(seen.first), last = static_cast<int>(seen.last);
  const int page = first / kPageTokens, pages = (last + kPageTokens - 1) / kPageTokens;
  Weights weights;
  if (args.modifier.zone > 0)
    ScoreZones<Rows, Q>(args, chunk, page, pages, queries, weights);
  else
    ScoreQueries<Rows, Q>(args, chunk, page, pages, queries, weights);
  for (int q = 0; q < Q; ++q) {
    if (Sees(queries[q], chunk.start, chunk.start + kChunk)) {
      Weigh<Rows>(args, chunk.start, page, pages, queries[q], weights.of[q], weights.packed[q]);
      continue;
    }
    SetZero(weights.of[q], kChunk);
    SetZero(weights.packed[q], kChunk / 2);
  }
  WeighAllColumns<Rows, Q>(chunk, args.kv.padded_value_dim, first, last, weights, queries);
  if (args.modifier.relative_values.data == nullptr) return;
  for (int q = 0; q < Q; ++q)
    AddRelativeValues(args, queries[q].position(), chunk.start, first, last, queries[q].modified,
                      weights.of[q], queries[q].values);
}

// Calls body.template operator()<Q>(first) for blocks of Q <= kQueries of `count` queries.
template <int Q = kQueries, typename Body>
inline void ForBlocks(int first, int count, const Body& body) {
  for (; first + Q <= count; first += Q) body.template operator()<Q>(first);
  if constexpr (Q > 1) ForBlocks<Q - 1>(first, count, body);
}

template <class Rows>
void AttendBlocks(const AttentionArgs& args, const typename Rows::Chunk& chunk, int count, Query* queries) {
  ForBlocks(0, count, [&]<int Q>(int first) { AttendBlock<Rows, Q>(args, chunk, queries + first); });
}

template <class Rows>
using ElementOf = std::conditional_t<Rows::kOneChain, float, uint16_t>;

// Where the chunk lies in the cache, which has positions [0, end) of the sequence.
template <typename Element>
CachedChunk<Element> ChunkAt(const AttentionArgs& args, int kv_head, int32_t start, int32_t end) {
  CachedChunk<Element> chunk;
  chunk.start = start;
  chunk.last = end - start < kChunk ? end - start : kChunk;
  chunk.block_columns = args.kv.value_columns;
  const int32_t* pages = args.page_table + start / kPageTokens;
  const auto at = [&](int32_t page, int64_t element) {
    return reinterpret_cast<const Element*>(args.cache + page / kQuadPages * args.quad_stride) + element;
  };
  const auto bytes = [](const Element* from, const Element* to) {
    return reinterpret_cast<const char*>(to) - reinterpret_cast<const char*>(from);
  };
  for (int p = 0; p * kPageTokens < chunk.last; ++p) {
    chunk.keys[p] = at(pages[p], KeyLine(args.kv, kv_head, pages[p], 0));
    chunk.values[p] = at(pages[p], ValueBlock(args.kv, kv_head, pages[p], 0));
    chunk.keys_ahead[p] = chunk.values_ahead[p] = 0;
    if (start + (kChunkPages + p) * kPageTokens >= end) continue;
    const int32_t next = pages[kChunkPages + p];
    chunk.keys_ahead[p] = bytes(chunk.keys[p], at(next, KeyLine(args.kv, kv_head, next, 0)));
    chunk.values_ahead[p] = bytes(chunk.values[p], at(next, ValueBlock(args.kv, kv_head, next, 0)));
  }
  return chunk;
}

// What to ask for where the chunk is of head `head` of `heads` that are read in turn: behind it comes the next one of the same
// pages, and behind the last one the first one of the next chunk.
template <typename Element>
void FetchInTurn(const KvLayout& kv, int head, int heads, CachedChunk<Element>& chunk) {
  const int64_t head_bytes = kv.head_elements * static_cast<int64_t>(sizeof(Element));
  const auto turn = [&](int64_t& ahead) {
    if (head + 1 < heads)
      ahead = head_bytes;
    else if (ahead != 0)
      ahead -= head * head_bytes;
  };
  for (int p = 0; p * kPageTokens < chunk.last; ++p) {
    turn(chunk.keys_ahead[p]);
    turn(chunk.values_ahead[p]);
  }
}

// A group's part of the scratch; see vector_kernels.h.
struct GroupMemory {
  float *values, *total_values, *rounded, *packed, *position, *expanded;

  explicit GroupMemory(const AttentionArgs& args) {
    constexpr int64_t kGroup = kAttentionGroup;
    const int64_t query = args.kv.padded_head_dim, value = args.kv.padded_value_dim;
    values = reinterpret_cast<float*>(args.scratch);
    total_values = values + kGroup * value;
    rounded = total_values + kGroup * value;
    packed = rounded + kGroup * kZones * query;
    position = packed + kGroup * kZones * query / 2;
    expanded = position + kGroup * 2 * query;
  }
  QueryMemory Of(const AttentionArgs& args, int q) const {
    const int64_t query = args.kv.padded_head_dim, value = args.kv.padded_value_dim;
    return {values + q * value, total_values + q * value, rounded + q * kZones * query,
            packed + q * kZones * query / 2, position + q * 2 * query};
  }
};

// How a group of queries goes through chunks: few, which read the cache itself,
template <class RowsOfCache>
class CacheChunks {
 public:
  using Rows = RowsOfCache;

  CacheChunks(const AttentionArgs& args, const GroupMemory&, int) : args_(args) {}

  // Positions [0, end) are in the cache.
  void Attend(const typename Rows::Chunk& chunk, int32_t, int count, Query* queries) {
    AttendBlocks<Rows>(args_, chunk, count, queries);
  }
  // Before the queries' sums and values are asked for.
  void Finish() {}

 private:
  const AttentionArgs& args_;
};

// and many, for which it is expanded.
class GroupChunks {
 public:
  using Rows = GroupRows;

  GroupChunks(const AttentionArgs& args, const GroupMemory& memory, int)
      : args_(args), expanded_(memory.expanded) {}

  void Attend(const CachedChunk<uint16_t>& chunk, int32_t, int count, Query* queries) {
    AttendBlocks<Rows>(args_, Rows::Expand(chunk, args_.kv, expanded_), count, queries);
  }
  void Finish() {}

 private:
  const AttentionArgs& args_;
  float* const expanded_;
};

// The span that begins at `span`, for `count` queries, the first of which is number `first_row` of the call. They are of
// all its KV heads, one behind the other.
template <class Chunks>
void AttendSpan(const AttentionArgs& args, int32_t span, int first_row, int count, Query* queries,
                Chunks& chunks) {
  using Rows = typename Chunks::Rows;
  const int32_t end = queries[count - 1].last;
  for (int q = 0; q < count; ++q) BeginSpan(args.kv, queries[q]);
  const int32_t from = queries[0].first > span ? queries[0].first / kChunk * kChunk : span;
  const int heads = args.kv_heads, each = count / heads;
  for (int32_t start = from; start < span + kAttentionSpan && start < end; start += kChunk)
    for (int h = 0; h < heads; ++h) {
      auto chunk = ChunkAt<ElementOf<Rows>>(args, args.kv_head + h, start, end);
      if (heads > 1) FetchInTurn(args.kv, h, heads, chunk);
      chunks.Attend(chunk, end, each, queries + h * each);
    }
  chunks.Finish();
  for (int q = 0; q < count; ++q)
    if (Sees(queries[q], span, span + kAttentionSpan)) EndSpan<Rows>(args, first_row + q, queries[q]);
}

inline int QueriesOfToken(const AttentionArgs& args) { return args.queries_per_token * args.kv_heads; }

// Queries [first_row, first_row + count) of the tokens' heads in order: they see ever later positions.
template <class Chunks>
void AttendRows(const AttentionArgs& args, int first_row, int count) {
  const GroupMemory memory(args);
  Query queries[kAttentionGroup];
  for (int q = 0; q < count; ++q) {
    const int row = first_row + q;
    InitQuery<typename Chunks::Rows>(args, row / QueriesOfToken(args), row % QueriesOfToken(args),
                                     memory.Of(args, q), queries[q]);
  }
  Chunks chunks(args, memory, count);
  if (args.span >= 0) return AttendSpan(args, args.span * kAttentionSpan, first_row, count, queries, chunks);
  for (int32_t span = queries[0].first / kAttentionSpan * kAttentionSpan; span < queries[count - 1].last;
       span += kAttentionSpan)
    AttendSpan(args, span, first_row, count, queries, chunks);
  for (int q = 0; q < count; ++q) FinishQuery(args.kv, queries[q]);
}

template <class Rows>
void MergeRow(const AttentionArgs& args, int row) {
  Query query;
  InitQuery<Rows>(args, row / QueriesOfToken(args), row % QueriesOfToken(args), GroupMemory(args).Of(args, 0),
                  query);
  for (int32_t span = query.first / kAttentionSpan; span * kAttentionSpan < query.last; ++span) {
    const float* result = SpanOf(args, span, row);
    MergeSpan<Rows>(args.kv, result[0], result[1], result + kSpanHead, query);
  }
  FinishQuery(args.kv, query);
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_INL_H_
