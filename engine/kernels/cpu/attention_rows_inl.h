// What attention multiplies: keys and values in a form that instructions take, and how their products are
// summed up. Included once per instruction set after modifier_inl.h.
//
// KV f32: one chain of fma over all columns of a key; over all positions of a span of values.
// KV bf16, where queries and weights are bf16 too: columns or positions go in blocks of kSumBlock. In a block one
// half makes one chain of fma from zero, the other half another, and the sum of both is added to what was there:
//   e = fma(x[h0], y[h0], e) ...;  o = fma(x[h1], y[h1], o) ...;  sum = sum + (e + o)
// Of a key's block the halves are the even and the odd columns, of a block of values its even and its odd page,
// each in order. Denormal numbers are zero. That is what AMX's TDPBF16PS computes in one instruction where the
// halves are the firsts and the seconds of its pairs, and a chain is what AVX512_BF16's VDPBF16PS continues by two
// columns (bf16_dot_inl.h), so that all instruction sets give the same bytes.
//
// Rows, a kind of them, says:
//   Chunk              where a chunk's keys and values are
//   kOneChain          whether sums are one chain
//   kSums              sums that go together
//   kSteps             columns of one chain that a step multiplies, 1 or 2
//   Key<half>(chunk, page, step), Value<half>(chunk, block, step, column, seen)
//                      sixteen lanes of what a step multiplies. Of values not seen, zero or nothing
//   MultiplyAdd(x, factor, sum)
//   QueryOf(...)       from a query to the factors of its steps, [padded E / 2 / kSteps][2 halves]
//   Factors(weights)   the factors of a chunk's values, [kChunk / kSteps]
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_ROWS_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_ROWS_INL_H_

constexpr int kChunkPages = kChunk / kPageTokens;
static_assert(kChunkPages == kQuadPages);
constexpr int kSumBlock = 2 * kPageTokens;  // columns, or positions

// A chunk's keys and values of one KV head as they lie in the cache, page by page; Element is uint16_t for bf16, or
// float.
template <typename Element>
struct CachedChunk {
  int32_t start;  // position
  int last;       // positions [0, last) of the chunk are in the cache: behind them may be anything
  const Element* keys[kChunkPages];
  const Element* values[kChunkPages];
  int64_t block_columns;  // of values
  // Bytes from keys and values of a page to those to ask memory for where they are read: those that will be read in their
  // place in the next chunk.
  int64_t keys_ahead[kChunkPages], values_ahead[kChunkPages];

  // Sixteen tokens' keys of a column of float32, or of two of bf16.
  const Element* KeyAt(int page, int64_t line) const {
    constexpr int64_t kLine = 64 / sizeof(Element);
    return keys[page] + line * 2 * kLine;
  }
  // Values of slots that lie side by side, kSlots of them in each column: number `row` of the page, from a column on that is a
  // multiple of 16.
  template <int kSlots>
  const Element* ValueAt(int page, int64_t row, int64_t column) const {
    // block_columns is a power of two.
    const int64_t first = column & -block_columns;
    return values[page] + first * kQuadPages * kPageTokens + kSlots * (row * block_columns + column - first);
  }
};

// The same, rearranged in the scratch for many queries.
struct ExpandedChunk {
  int32_t start;
  int64_t page_floats;  // of a page's keys
  const float* keys;    // [kChunkPages][padded E / 2 / kSteps][2 halves][16]
  const float* values;  // [kChunk / kSteps][row]
  int64_t row;          // padded Ev
};

// The weights of a block's queries in a chunk: scores first.
struct Weights {
  alignas(64) float of[kQueries][kChunk];
  alignas(64) float packed[kQueries][kChunk / 2];  // by two, for rows that want them so
};

// Fetches what lies `ahead` bytes beyond `p`, into L2: L1 waits for so few lines at a time that one thread of a Zen 4
// read pages anywhere at 14 to 17 GB/s where it reads them at 23 to 25 from L2. In assembly, since g++ 12 takes a function that does
// nothing but fetch for one that does nothing, and leaves it out.
inline void FetchAhead(const void* p, int64_t ahead) {
  asm volatile("prefetcht1 %0" : : "m"(*(static_cast<const char*>(p) + ahead)));
}

// The processor forgets what it is asked to fetch while it waits for too much; so each line is asked for twice, some lines
// apart, which gives a tenth more.
constexpr int64_t kAgain = 1024;
inline void FetchAgain(const void* p, int64_t ahead) { FetchAhead(p, ahead - kAgain); }

// KV f32, from the cache. Both halves of a block are one chain.
struct FloatRows {
  using Chunk = CachedChunk<float>;
  static constexpr bool kOneChain = true;
  static constexpr int kSums = kAccumulators;

  static Lanes Key(const Chunk& chunk, int page, int64_t column) { return Load(chunk.KeyAt(page, column)); }
  static Lanes Value(const Chunk& chunk, int64_t position, int64_t column) {
    return Load(chunk.ValueAt<1>(static_cast<int>(position / kPageTokens), position % kPageTokens, column));
  }
  static Lanes MultiplyAdd(Lanes x, Lanes factor, Lanes sum) { return Fma(x, factor, sum); }
};

// sum += x * factor for the steps of one chain; load(p, step) gives x.
template <class Rows, int kStride, int Q, int P, class LoadX>
[[gnu::always_inline]] inline void Chain(Range steps, const LoadX& load, const float* const (&factors)[Q],
                                         Lanes (&sum)[P][Q]) {
  for (int64_t i = steps.first; i < steps.last; ++i) {
    Lanes x[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) x[p] = load(p, i);
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      const Lanes factor = Splat(factors[q][i * kStride]);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) sum[p][q] = Rows::MultiplyAdd(x[p], factor, sum[p][q]);
    }
  }
}

template <int Q, int P>
[[gnu::always_inline]] inline void SetZero(Lanes (&sum)[P][Q]) {
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) sum[p][q] = Zero();
}

// sum += even + odd
template <int Q, int P>
[[gnu::always_inline]] inline void AddHalves(const Lanes (&even)[P][Q], const Lanes (&odd)[P][Q],
                                             Lanes (&sum)[P][Q]) {
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) sum[p][q] = Add(sum[p][q], Add(even[p][q], odd[p][q]));
}

// One block of a key's columns, `steps` steps of either half, from column `first`.
template <class Rows, int Q, int P>
[[gnu::always_inline]] inline void AddKeyBlock(const typename Rows::Chunk& chunk, int page, int64_t first,
                                               int64_t steps, const float* const (&queries)[Q],
                                               Lanes (&sum)[P][Q]) {
  const int64_t step = first / 2 / Rows::kSteps;
  const float *even_factors[Q], *odd_factors[Q];
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) {
    even_factors[q] = queries[q];
    odd_factors[q] = queries[q] + 1;
  }
  Lanes even[P][Q], odd[P][Q];
  SetZero(even);
  Chain<Rows, 2>(
      {step, step + steps}, [&](int p, int64_t i) { return Rows::template Key<0>(chunk, page + p, i); },
      even_factors, even);
  SetZero(odd);
  Chain<Rows, 2>(
      {step, step + steps}, [&](int p, int64_t i) { return Rows::template Key<1>(chunk, page + p, i); },
      odd_factors, odd);
  AddHalves(even, odd, sum);
}

// weights.of[q][..] = q . k for P pages from `page` of the chunk on; `columns` is padded E.
template <class Rows, int Q, int P>
inline void Scores(const typename Rows::Chunk& chunk, int page, int64_t columns,
                   const float* const (&queries)[Q], Weights& weights) {
  Lanes sum[P][Q];
  SetZero(sum);
  if constexpr (Rows::kOneChain) {
    Chain<Rows, 1>(
        {0, columns}, [&](int p, int64_t i) { return Rows::Key(chunk, page + p, i); }, queries, sum);
  } else {
    for (int64_t first = 0; first < columns; first += kSumBlock) {
      const int64_t some = columns - first < kSumBlock ? columns - first : kSumBlock;
      AddKeyBlock<Rows>(chunk, page, first, some / 2 / Rows::kSteps, queries, sum);
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) Store(weights.of[q] + (page + p) * kPageTokens, sum[p][q]);
}

// The steps of one half of a block that positions [first, last) of its page take part in.
template <class Rows>
inline Range StepsOf(int first, int last) {
  first = first < 0 ? 0 : first;
  last = last > kPageTokens ? kPageTokens : last;
  if (last <= first) return {0, 0};
  return {first / Rows::kSteps, (last + Rows::kSteps - 1) / Rows::kSteps};
}

// One block of values, positions [first, last) of the chunk alone.
template <class Rows, int Q, int P>
[[gnu::always_inline]] inline void AddValueBlock(const typename Rows::Chunk& chunk, int64_t column, int block,
                                                 int first, int last, const Weights& weights,
                                                 Lanes (&sum)[P][Q]) {
  constexpr int kPageSteps = kPageTokens / Rows::kSteps;
  const int start = block * kSumBlock;
  const float *even_factors[Q], *odd_factors[Q];
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) {
    even_factors[q] = Rows::Factors(weights, q) + 2 * block * kPageSteps;
    odd_factors[q] = even_factors[q] + kPageSteps;
  }
  const auto load = [&]<int kHalf>(int p, int64_t i) {
    return Rows::template Value<kHalf>(chunk, block, i, column + 16 * p, Range{first, last});
  };
  Lanes even[P][Q], odd[P][Q];
  SetZero(even);
  Chain<Rows, 1>(
      StepsOf<Rows>(first - start, last - start),
      [&](int p, int64_t i) { return load.template operator()<0>(p, i); }, even_factors, even);
  SetZero(odd);
  Chain<Rows, 1>(
      StepsOf<Rows>(first - start - kPageTokens, last - start - kPageTokens),
      [&](int p, int64_t i) { return load.template operator()<1>(p, i); }, odd_factors, odd);
  AddHalves(even, odd, sum);
}

// states[q] += weights of [first, last) of the chunk . v, for P vectors of columns.
template <class Rows, int Q, int P>
inline void WeighValues(const typename Rows::Chunk& chunk, int64_t column, int first, int last,
                        const Weights& weights, float* const (&states)[Q]) {
  Lanes sum[P][Q];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) sum[p][q] = Load(states[q] + column + 16 * p);
  if constexpr (Rows::kOneChain) {
    const float* factors[Q];
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) factors[q] = weights.of[q];
    Chain<Rows, 1>(
        {first, last}, [&](int p, int64_t i) { return Rows::Value(chunk, i, column + 16 * p); }, factors,
        sum);
  } else {
    for (int block = first / kSumBlock; block * kSumBlock < last; ++block)
      AddValueBlock<Rows>(chunk, column, block, first, last, weights, sum);
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) Store(states[q] + column + 16 * p, sum[p][q]);
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_ROWS_INL_H_
