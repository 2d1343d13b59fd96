// Keys and values of bf16 by two of a chain, for AVX512_BF16. Included once per instruction set
// after attention_rows_inl.h, in the place of bf16_fma_inl.h.
//
// VDPBF16PS adds the product of the seconds of two pairs and then that of the firsts, each as an fma that takes
// denormal numbers for zero: measured on Zen 4, and looked at on every processor before it is used
// (DotsAreChains). So a pair is (later, earlier) of one chain, and an instruction is two steps of it.
//
// What bounds attention on Zen 4, where one of these is issued a cycle, with a latency of six:
// Few queries, which wait for memory: 64 bytes for three queries are three products and a permutation, which is hidden
// behind them; with soft-max 6.6 cycles, 36 GB/s a thread out of L3. Out of memory 23 GB/s of the 33 that a straight line
// gives; a loop that only loads the same pieces of pages gets no more.
// Many queries: per 4 queries x 64 keys of 64 columns 1,024 products, 57 % of 1,800 cycles measured over prompts of 2,048.
// Blocks of queries take 1,130 with what goes around the products; 16 vectors of scores at 17 operations of soft-max 260;
// expanding the chunk for 64 queries 110; new maxima and the ends of spans 100; the queries themselves 50.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_BF16_DOT_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_BF16_DOT_INL_H_

inline __m512i SecondHalves(__m512i pairs) {
  return _mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xFFFF0000)));
}
inline __m512i FirstHalves(__m512i pairs) { return _mm512_and_si512(pairs, _mm512_set1_epi32(0xFFFF)); }

// Which words of two vectors make sixteen pairs: place i takes word `later + i * step` of the one as its first and
// word `earlier + i * step` of the other, which count from 32, as its second.
struct Places {
  alignas(64) uint16_t words[32];

  constexpr Places(int later, int earlier, int step) : words() {
    for (int i = 0; i < 16; ++i) {
      words[2 * i] = static_cast<uint16_t>(later + i * step);
      words[2 * i + 1] = static_cast<uint16_t>(earlier + i * step);
    }
  }
  Lanes Of(__m512i later, __m512i earlier) const {
    return {_mm512_castsi512_ps(_mm512_permutex2var_epi16(later, _mm512_load_si512(words), earlier))};
  }
};

// KV bf16, from the cache: for few queries, which wait for memory. A line of 64 bytes of keys or values takes one
// permutation and a product for each query.
struct PairRows {
  using Chunk = CachedChunk<uint16_t>;
  static constexpr bool kOneChain = false;
  // Few pages of keys at a time, that lines are fetched evenly: 16 sums read memory 8 % slower.
  static constexpr int kSums = 8;
  static constexpr int kSteps = 2;

  template <int kHalf>
  static Lanes Key(const Chunk& chunk, int page, int64_t step) {
    static constexpr Places kPlaces(kHalf, 32 + kHalf, 2);
    const uint16_t* key = chunk.keys[page] + step * 4 * kPageTokens;
    FetchAhead(key, chunk.ahead[page]);
    FetchAhead(key + 2 * kPageTokens, chunk.ahead[page]);
    return kPlaces.Of(_mm512_loadu_si512(key + 2 * kPageTokens), _mm512_loadu_si512(key));
  }
  template <int kHalf>
  static Lanes Value(const Chunk& chunk, int64_t row, int block, int64_t step, int64_t column) {
    static constexpr Places kPlaces(0, 32, 1);
    const int page = 2 * block + kHalf;
    const int64_t slot = 2 * step;
    const uint16_t *values = chunk.values[page] + slot * row, *earlier = values + column;
    const uint16_t* later = page * kPageTokens + slot + 1 < chunk.last ? earlier + row : kZeros;
    FetchAhead(values + FetchedColumn(column), chunk.ahead[page]);
    FetchAhead(values + row + FetchedColumn(column), chunk.ahead[page]);
    return kPlaces.Of(LoadHalf(later), LoadHalf(earlier));
  }
  static Lanes MultiplyAdd(Lanes x, Lanes factor, Lanes sum) {
    return {
        _mm512_dpbf16_ps(sum.v, (__m512bh)_mm512_castps_si512(x.v), (__m512bh)_mm512_castps_si512(factor.v))};
  }

  // From columns (a b c d) to (c a) (d b): the even ones and the odd ones, the later one first.
  static const float* QueryOf(const float* rounded, int64_t padded_head_dim, float* packed) {
    uint32_t* out = reinterpret_cast<uint32_t*>(packed);
    const uint32_t* bits = reinterpret_cast<const uint32_t*>(rounded);
    for (int64_t d = 0; d < padded_head_dim; d += 4, bits += 4, out += 2) {
      out[0] = bits[0] | bits[2] >> 16;
      out[1] = bits[1] | bits[3] >> 16;
    }
    return packed;
  }
  static const float* Factors(const Weights& weights, int q) { return weights.packed[q]; }
  static void Pack(const Lanes* weights, int pages, float* packed) {
    for (int p = 0; p < pages; ++p) {
      const __m512i bits = _mm512_castps_si512(weights[p].v);
      const __m512i pairs = _mm512_or_si512(bits, _mm512_srli_epi64(bits, 48));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(packed + p * kPageTokens / 2),
                          _mm512_cvtepi64_epi32(pairs));
    }
  }

 protected:
  alignas(64) static constexpr uint16_t kZeros[16] = {};

 private:
  static __m512i LoadHalf(const uint16_t* p) {
    return _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
};

// The same, rearranged.
struct GroupRows : PairRows {
  using Chunk = ExpandedChunk;
  // Of 4 queries by 2 pages, whose chains of both halves stay in registers beside their sum: 24 of 32.
  static constexpr int kSums = 8;

  template <int kHalf>
  static Lanes Key(const Chunk& chunk, int page, int64_t step) {
    return Load(chunk.keys + page * chunk.page_floats + (2 * step + kHalf) * kPageTokens);
  }
  template <int kHalf>
  static Lanes Value(const Chunk& chunk, int64_t row, int block, int64_t step, int64_t column) {
    return Load(chunk.values + ((2 * block + kHalf) * (kPageTokens / kSteps) + step) * row + column);
  }
  // What the cache has of the chunk, written to `expanded`.
  static Chunk Expand(const CachedChunk<uint16_t>& from, const KvLayout& kv, float* expanded) {
    const int pages = (from.last + kPageTokens - 1) / kPageTokens;
    float* keys = expanded;
    for (int p = 0; p < pages; ++p) ExpandKeys(from, p, kv.value_offset, keys);
    float* values = expanded + kChunkPages * kv.value_offset / 2;
    float* value = values;
    for (int position = 0; position < from.last; position += kSteps, value += kv.padded_value_dim) {
      const int p = position / kPageTokens;
      const uint16_t* earlier = from.values[p] + position % kPageTokens * kv.padded_value_dim;
      const bool paired = position + 1 < from.last;
      for (int64_t i = 0; i < kv.padded_value_dim; i += 16) {
        FetchAhead(earlier + i, from.ahead[p]);
        const uint16_t* later = paired ? earlier + kv.padded_value_dim + i : kZeros;
        FetchAhead(earlier + kv.padded_value_dim + i, from.ahead[p]);
        StorePairs(value + i, later, earlier + i);
      }
    }
    return {from.start, kv.value_offset / 2, expanded, values};
  }

 private:
  static void ExpandKeys(const CachedChunk<uint16_t>& from, int page, int64_t elements, float*& out) {
    const uint16_t* key = from.keys[page];
    for (int64_t i = 0; i < elements; i += 4 * kPageTokens, out += 2 * kPageTokens) {
      FetchAhead(key + i, from.ahead[page]);
      FetchAhead(key + i + 2 * kPageTokens, from.ahead[page]);
      const __m512i earlier = _mm512_loadu_si512(key + i),
                    later = _mm512_loadu_si512(key + i + 2 * kPageTokens);
      _mm512_storeu_si512(out, _mm512_or_si512(_mm512_slli_epi32(earlier, 16), FirstHalves(later)));
      _mm512_storeu_si512(out + kPageTokens,
                          _mm512_or_si512(SecondHalves(earlier), _mm512_srli_epi32(later, 16)));
    }
  }
};

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_BF16_DOT_INL_H_
