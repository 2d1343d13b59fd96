// Keys and values of bf16 by two of a chain, for AVX512_BF16. Included once per instruction set
// after attention_rows_inl.h, in the place of bf16_fma_inl.h.
//
// VDPBF16PS adds the product of the seconds of two pairs and then that of the firsts, each as an fma that takes
// denormal numbers for zero: measured on Zen 4, and looked at on every processor before it is used
// (DotsAreChains). So a pair is (later, earlier) of one chain, and an instruction is two steps of it.
//
// What bounds attention of few queries on Zen 4, where one of these is issued a cycle, is memory: attention_straight_inl.h. Of
// pages that do not follow each other each line is asked for, and 21 to 24 of 31 to 33 GB/s are read in whatever order, since only
// so many lines can be under way: in quads that lie anywhere about as fast as that, in single pages that lie anywhere at 17 to
// 19, as lines beside theirs come along. Soft-max stands beside products there (attention_whole_inl.h), which out of L3 is worth a
// third to a half. Asking for every line once, for every other one, 32 KB ahead, or into L1 all read slower, and so did loads in
// the place of asking.
// What bounds attention of many: attention_whole_inl.h.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_BF16_DOT_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_BF16_DOT_INL_H_

// The words of two vectors of weights that are bf16, of two pages, that make sixteen pairs.
struct WeightPairs {
  uint16_t words[32];

  constexpr WeightPairs() : words() {
    for (int i = 0; i < 16; ++i) {
      words[2 * i] = static_cast<uint16_t>(4 * i + 3);
      words[2 * i + 1] = static_cast<uint16_t>(4 * i + 1);
    }
  }
};

// KV bf16, from the cache, whose pairs store_kv lays out as they are multiplied (args.h): every line of 64 bytes of keys or
// values takes one load. kFetches: for few queries, which wait for memory. kWhole: where all positions are seen.
template <bool kFetches, bool kWhole>
struct DotRows {
  using Chunk = CachedChunk<uint16_t>;
  static constexpr bool kOneChain = false;
  // Few queries take few pages of keys at a time, that lines are fetched evenly: 16 sums read memory 8 % slower. Of 4
  // queries by 2 pages the chains of both halves stay in registers beside their sum: 24 of 32.
  static constexpr int kSums = 8;
  static constexpr int kSteps = 2;

  template <int kHalf>
  static Lanes Key(const Chunk& chunk, int page, int64_t step) {
    const uint16_t* keys = chunk.KeyAt(page, step * 2 + kHalf);
    if constexpr (kFetches) {
      FetchAhead(keys, chunk.keys_ahead[page]);
      FetchAgain(keys, chunk.keys_ahead[page]);
    }
    return {_mm512_loadu_ps(keys)};
  }
  template <int kHalf>
  static Lanes Value(const Chunk& chunk, int block, int64_t step, int64_t column, Range seen) {
    const int page = 2 * block + kHalf;
    const uint16_t* values = chunk.ValueAt<2>(page, step, column);
    if constexpr (kFetches) {
      FetchAhead(values, chunk.values_ahead[page]);
      FetchAgain(values, chunk.values_ahead[page]);
    }
    if constexpr (kWhole) return {_mm512_loadu_ps(values)};
    const int64_t position = page * kPageTokens + 2 * step;
    const __mmask32 later = position + 1 < seen.last ? 0x55555555 : 0;
    const __mmask32 earlier = position >= seen.first ? 0xAAAAAAAA : 0;
    // Nearly always all of them, which a plain load gives sooner.
    if (__builtin_expect((later | earlier) == 0xFFFFFFFF, 1)) return {_mm512_loadu_ps(values)};
    return {_mm512_castsi512_ps(_mm512_maskz_loadu_epi16(later | earlier, values))};
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
    alignas(64) static constexpr WeightPairs kPairs;
#pragma GCC unroll 2
    for (int p = 0; p < pages; p += 2) {
      const __m512i second = _mm512_castps_si512((p + 1 < pages ? weights[p + 1] : Zero()).v);
      const __m512i words = _mm512_load_si512(kPairs.words);
      _mm512_storeu_si512(packed + p * kPageTokens / 2,
                          _mm512_permutex2var_epi16(_mm512_castps_si512(weights[p].v), words, second));
    }
  }
  static const Chunk& Expand(const Chunk& from, const KvLayout&, float*) { return from; }
};

using PairRows = DotRows<true, false>;
using GroupRows = DotRows<false, false>;

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_BF16_DOT_INL_H_
