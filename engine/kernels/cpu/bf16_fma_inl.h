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
    const uint16_t* key = chunk.KeyAt(page, pair);
    FetchAhead(key, chunk.keys_ahead[page]);
    return kHalf == 0 ? LoadFirstBf16(key) : LoadSecondBf16(key);
  }
  template <int kHalf>
  static Lanes Value(const Chunk& chunk, int block, int64_t slot, int64_t column, Range) {
    const int page = 2 * block + kHalf;
    const uint16_t* values = chunk.template ValueAt<1>(page, slot, column);
    // A line has two vectors.
    if (column % 32 == 0)
      FetchAhead(values, chunk.values_ahead[page]);
    else
      FetchAgain(values, chunk.values_ahead[page]);
    return LoadBf16(values);
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
  static Lanes Value(const Chunk& chunk, int block, int64_t slot, int64_t column, Range) {
    return Load(chunk.values + ((2 * block + kHalf) * kPageTokens + slot) * chunk.row + column);
  }

  // What the cache has of the chunk, written to `expanded`.
  static Chunk Expand(const CachedChunk<uint16_t>& from, const KvLayout& kv, float* expanded) {
    const int pages = (from.last + kPageTokens - 1) / kPageTokens;
    const int64_t page_floats = kPageTokens * kv.padded_head_dim, row = kv.padded_value_dim;
    float* key = expanded;
    for (int p = 0; p < pages; ++p)
      for (int64_t pair = 0; pair < kv.padded_head_dim / 2; ++pair, key += 2 * kPageTokens) {
        const uint16_t* columns = from.KeyAt(p, pair);
        FetchAhead(columns, from.keys_ahead[p]);
        Store(key, LoadFirstBf16(columns));
        Store(key + kPageTokens, LoadSecondBf16(columns));
      }
    float* values = expanded + kChunkPages * page_floats;
    for (int64_t column = 0; column < row; column += 16)
      for (int p = 0; p < pages; ++p) {
        const uint16_t* value = from.template ValueAt<1>(p, 0, column);
        float* expanded_value = values + p * kPageTokens * row + column;
        for (int slot = 0; slot < kPageTokens; ++slot, value += from.block_columns, expanded_value += row) {
          FetchAhead(value, from.values_ahead[p]);
          Store(expanded_value, LoadBf16(value));
        }
      }
    return {from.start, page_floats, expanded, values, row};
  }
};

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_BF16_FMA_INL_H_
