// Attention over paged keys and values, included once per instruction set after row_ops_inl.h.
//
// A query's positions are walked in chunks of kChunk from position 0. A chunk's maximum, sum and weighted
// values are computed by themselves and merged into the query's state in order:
//   m' = max(m, m_c);  l' = l e^(m - m') + l_c e^(m_c - m');  o' = o e^(m - m') + o_c e^(m_c - m')
// so a query's bytes depend on its position and window alone. Up to kQueries queries go together, to share
// the loads of keys and values; each keeps its own sequence of operations.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_INL_H_

constexpr int kChunk = 64;  // positions, four pages
constexpr int kChunkPages = kChunk / kPageSize;

// The queries that go together, and what is known of them so far.
struct QueryBlock {
  int count;
  const float* query[kQueries];
  float* out[kQueries];
  int32_t first[kQueries], last[kQueries];  // visible positions [first, last)
  float max[kQueries], sum[kQueries];
  float* values[kQueries];  // [padded Ev], in the scratch
  alignas(64) float weights[kQueries][kChunk];
};

template <typename Element>
inline Lanes LoadElements(const Element* p) {
  if constexpr (sizeof(Element) == 2)
    return LoadBf16(p);
  else
    return Load(p);
}

// weights[q][..] = q . k for kPages pages from `page` of the chunk on.
template <typename Element, int kPages>
inline void Scores(const Element* const* keys, int page, int head_dim, QueryBlock& block) {
  Lanes score[kPages][kQueries];
  for (int p = 0; p < kPages; ++p)
    for (int q = 0; q < kQueries; ++q) score[p][q] = Zero();
  for (int d = 0; d < head_dim; ++d) {
    Lanes k[kPages];
#pragma GCC unroll 2
    for (int p = 0; p < kPages; ++p) k[p] = LoadElements(keys[page + p] + d * kPageSize);
#pragma GCC unroll 4
    for (int q = 0; q < kQueries; ++q) {
      const Lanes x = Splat(block.query[q][d]);
#pragma GCC unroll 2
      for (int p = 0; p < kPages; ++p) score[p][q] = Fma(k[p], x, score[p][q]);
    }
  }
  for (int p = 0; p < kPages; ++p)
    for (int q = 0; q < kQueries; ++q) Store(block.weights[q] + (page + p) * kPageSize, score[p][q]);
}

// From scores to e^(score - maximum), zero where the query does not see. Returns the chunk's maximum; the sum
// of weights in `sum`.
inline float Weigh(const AttentionArgs& args, int32_t chunk_start, int pages, int32_t first, int32_t last,
                   float* weights, float& sum) {
  const Lanes lowest = Splat(-__builtin_inff());
  const auto clamp = [](int32_t x) { return x < 0 ? 0 : x > kPageSize ? kPageSize : x; };
  Lanes score[kChunkPages], largest = lowest;
  for (int p = 0; p < pages; ++p) {
    const int32_t start = chunk_start + p * kPageSize;
    Lanes s = Mul(Load(weights + p * kPageSize), Splat(args.scale));
    if (args.softcap != 0) s = Softcap(s, args.softcap);
    score[p] = Within(clamp(first - start), clamp(last - start), s, lowest);
    largest = Max(largest, score[p]);
  }
  const float max = MaxOfLanes(largest);
  Lanes total = Zero();
  for (int p = 0; p < pages; ++p) {
    const int32_t start = chunk_start + p * kPageSize;
    const Lanes weight =
        Within(clamp(first - start), clamp(last - start), Exp(Sub(score[p], Splat(max))), Zero());
    Store(weights + p * kPageSize, weight);
    total = Add(total, weight);
  }
  sum = SumOfLanes(total);
  return max;
}

struct Merge {
  float old_factor, new_factor;
};

// Takes a chunk's maximum and sum into the state of query q.
inline Merge MergeState(float max, float sum, int q, QueryBlock& block) {
  const float merged = block.max[q] < max ? max : block.max[q];
  alignas(64) float factors[16];
  Store(factors, Exp(Within(0, 1, Splat(block.max[q] - merged), Splat(max - merged))));
  block.max[q] = merged;
  block.sum[q] = __builtin_fmaf(block.sum[q], factors[0], sum * factors[1]);
  return {factors[0], factors[1]};
}

// values[q] = values[q] * old_factor + (weights of the chunk . v) * new_factor, for kColumns * 16 columns.
template <typename Element, int kColumns>
inline void WeighValues(const Element* const* values, int64_t row, int64_t column, int first, int last,
                        const Merge* merges, const bool* active, QueryBlock& block) {
  Lanes o[kColumns][kQueries];
  for (int c = 0; c < kColumns; ++c)
    for (int q = 0; q < kQueries; ++q) o[c][q] = Zero();
  for (int i = first; i < last; ++i) {
    const Element* v = values[i / kPageSize] + i % kPageSize * row + column;
    Lanes x[kColumns];
#pragma GCC unroll 2
    for (int c = 0; c < kColumns; ++c) x[c] = LoadElements(v + 16 * c);
#pragma GCC unroll 4
    for (int q = 0; q < kQueries; ++q) {
      const Lanes weight = Splat(block.weights[q][i]);
#pragma GCC unroll 2
      for (int c = 0; c < kColumns; ++c) o[c][q] = Fma(x[c], weight, o[c][q]);
    }
  }
  for (int c = 0; c < kColumns; ++c)
    for (int q = 0; q < kQueries; ++q) {
      if (!active[q]) continue;
      float* state = block.values[q] + column + 16 * c;
      Store(state, Fma(Load(state), Splat(merges[q].old_factor), Mul(o[c][q], Splat(merges[q].new_factor))));
    }
}

// One chunk for all queries of the block.
template <typename Element>
void AttendChunk(const AttentionArgs& args, int32_t chunk_start, int32_t end, QueryBlock& block) {
  const Element* keys[kChunkPages];
  const Element* values[kChunkPages];
  const int pages = (end - chunk_start + kPageSize - 1) / kPageSize < kChunkPages
                        ? (end - chunk_start + kPageSize - 1) / kPageSize
                        : kChunkPages;
  for (int p = 0; p < pages; ++p) {
    const int32_t page = args.page_table[chunk_start / kPageSize + p];
    const Element* head = reinterpret_cast<const Element*>(args.cache + page * args.page_stride) +
                          args.kv_head * args.kv.head_elements;
    keys[p] = head;
    values[p] = head + args.kv.value_offset;
  }
  int page = 0;
  for (; page + 2 <= pages; page += 2) Scores<Element, 2>(keys, page, args.kv.head_dim, block);
  if (page < pages) Scores<Element, 1>(keys, page, args.kv.head_dim, block);

  Merge merges[kQueries];
  bool active[kQueries];
  int first = kChunk, last = 0;  // positions of the chunk that any query sees
  for (int q = 0; q < kQueries; ++q) {
    active[q] = q < block.count && block.first[q] < chunk_start + kChunk && block.last[q] > chunk_start;
    if (!active[q]) {
      for (float& weight : block.weights[q]) weight = 0;
      continue;
    }
    float sum = 0;
    const float max = Weigh(args, chunk_start, pages, block.first[q], block.last[q], block.weights[q], sum);
    merges[q] = MergeState(max, sum, q, block);
    const int begin = block.first[q] - chunk_start, finish = block.last[q] - chunk_start;
    first = begin < first ? begin : first;
    last = finish > last ? finish : last;
  }
  first = first < 0 ? 0 : first;
  last = last > kChunk ? kChunk : last;
  int64_t column = 0;
  for (; column + 32 <= args.kv.padded_value_dim; column += 32)
    WeighValues<Element, 2>(values, args.kv.padded_value_dim, column, first, last, merges, active, block);
  if (column < args.kv.padded_value_dim)
    WeighValues<Element, 1>(values, args.kv.padded_value_dim, column, first, last, merges, active, block);
}

template <typename Element>
void AttendBlock(const AttentionArgs& args, int first_row, int count) {
  QueryBlock block;
  block.count = count;
  int32_t begin = INT32_MAX, end = 0;
  for (int q = 0; q < kQueries; ++q) {
    const int row = first_row + (q < count ? q : 0);  // idle places repeat the first query
    const int token = row / args.queries_per_token, head = row % args.queries_per_token;
    block.query[q] = args.queries + token * args.query_stride + int64_t{head} * args.kv.head_dim;
    block.out[q] = args.out + token * args.out_stride + int64_t{head} * args.kv.value_dim;
    block.last[q] = args.first_position + token + 1;
    block.first[q] = args.window > 0 && block.last[q] > args.window ? block.last[q] - args.window : 0;
    block.max[q] = -__builtin_inff();
    block.sum[q] = 0;
    block.values[q] = reinterpret_cast<float*>(args.scratch) + q * args.kv.padded_value_dim;
    for (int64_t i = 0; i < args.kv.padded_value_dim; ++i) block.values[q][i] = 0;
    begin = block.first[q] < begin ? block.first[q] : begin;
    end = block.last[q] > end ? block.last[q] : end;
  }
  for (int32_t start = begin / kChunk * kChunk; start < end; start += kChunk)
    AttendChunk<Element>(args, start, end, block);
  for (int q = 0; q < count; ++q) {
    const Lanes factor = Splat(1.f / block.sum[q]);
    ForColumns(args.kv.value_dim, [&](int64_t i, int64_t lanes) {
      StoreSome(block.out[q] + i, lanes, Mul(Load(block.values[q] + i), factor));
    });
  }
}

void Attention(const AttentionArgs& args) {
  const int rows = args.num_tokens * args.queries_per_token;
  for (int row = 0; row < rows; row += kQueries) {
    const int count = rows - row < kQueries ? rows - row : kQueries;
    if (args.kv.bf16)
      AttendBlock<uint16_t>(args, row, count);
    else
      AttendBlock<float>(args, row, count);
  }
}

template <typename Element>
void StoreKvAs(const StoreKvArgs& args) {
  Element* page = reinterpret_cast<Element*>(args.page);
  const auto convert = [](Lanes a, Element* to, int64_t lanes) {
    alignas(64) Element row[16];
    if constexpr (sizeof(Element) == 2)
      StoreBf16(row, a);
    else
      Store(row, a);
    for (int64_t i = 0; i < lanes; ++i) to[i] = row[i];
  };
  for (int head = 0; head < args.kv.num_kv_heads; ++head, page += args.kv.head_elements) {
    const float* key = args.keys + int64_t{head} * args.kv.head_dim;
    ForColumns(args.kv.head_dim, [&](int64_t d, int64_t lanes) {
      Element row[16];
      convert(LoadSome(key + d, lanes), row, lanes);
      for (int64_t i = 0; i < lanes; ++i) page[(d + i) * kPageSize + args.slot] = row[i];
    });
    Element* value = page + args.kv.value_offset + args.slot * args.kv.padded_value_dim;
    const float* from = args.values + int64_t{head} * args.kv.value_dim;
    ForColumns(args.kv.value_dim,
               [&](int64_t d, int64_t lanes) { convert(LoadSome(from + d, lanes), value + d, lanes); });
  }
}

void StoreKv(const StoreKvArgs& args) {
  if (args.kv.bf16)
    StoreKvAs<uint16_t>(args);
  else
    StoreKvAs<float>(args);
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_INL_H_
