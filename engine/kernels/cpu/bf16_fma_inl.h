// Keys and values of bf16 as floats: of processors that multiply floats alone. Included once per instruction set
// after attention_rows_inl.h; bf16_dot_inl.h stands in its place where VDPBF16PS is used.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_BF16_FMA_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_BF16_FMA_INL_H_

// KV bf16, from the cache: for few queries, which wait for memory.
struct PairRows {
  using Chunk = CachedChunk<uint16_t>;
  static constexpr bool kOneChain = false;
  static constexpr int kSums = kAccumulators;
  static constexpr int kSteps = 1;

  template <int kHalf>
  static Lanes Key(const Chunk& chunk, int page, int64_t pair) {
    const uint16_t* key = chunk.keys[page] + pair * 2 * kPageTokens;
    FetchAhead(key, chunk.ahead[page]);
    return kHalf == 0 ? LoadFirstBf16(key) : LoadSecondBf16(key);
  }
  template <int kHalf>
  static Lanes Value(const Chunk& chunk, int64_t row, int block, int64_t slot, int64_t column, Range) {
    const int page = 2 * block + kHalf;
    const uint16_t* values = chunk.values[page] + slot * row;
    FetchAhead(values + FetchedColumn(column), chunk.ahead[page]);
    return LoadBf16(values + column);
  }
  static Lanes MultiplyAdd(Lanes x, Lanes factor, Lanes sum) { return Fma(x, factor, sum); }
  static const float* QueryOf(const float* rounded, int64_t, float*) { return rounded; }
  static const float* Factors(const Weights& weights, int q) { return weights.of[q]; }
  static void Pack(const Lanes*, int, float*) {}
};

// The same as floats, rearranged.
struct GroupRows : PairRows {
  using Chunk = ExpandedChunk;

  template <int kHalf>
  static Lanes Key(const Chunk& chunk, int page, int64_t pair) {
    return Load(chunk.keys + page * chunk.page_floats + (2 * pair + kHalf) * kPageTokens);
  }
  template <int kHalf>
  static Lanes Value(const Chunk& chunk, int64_t row, int block, int64_t slot, int64_t column, Range) {
    return Load(chunk.values + ((2 * block + kHalf) * kPageTokens + slot) * row + column);
  }

  // What the cache has of the chunk, written to `expanded`.
  static Chunk Expand(const CachedChunk<uint16_t>& from, const KvLayout& kv, float* expanded) {
    const int pages = (from.last + kPageTokens - 1) / kPageTokens;
    float* key = expanded;
    for (int p = 0; p < pages; ++p)
      for (const uint16_t *pair = from.keys[p], *end = pair + kv.value_offset; pair < end;
           pair += 2 * kPageTokens) {
        FetchAhead(pair, from.ahead[p]);
        Store(key, LoadFirstBf16(pair));
        Store(key + kPageTokens, LoadSecondBf16(pair));
        key += 2 * kPageTokens;
      }
    float* values = expanded + kChunkPages * kv.value_offset;
    for (int p = 0; p < pages; ++p)
      for (int64_t i = 0, all = kPageTokens * kv.padded_value_dim; i < all; i += 16) {
        FetchAhead(from.values[p] + i, from.ahead[p]);
        Store(values + p * all + i, LoadBf16(from.values[p] + i));
      }
    return {from.start, kv.value_offset, expanded, values};
  }
};

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_BF16_FMA_INL_H_
