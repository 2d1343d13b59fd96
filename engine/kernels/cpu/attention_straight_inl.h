// A block of few queries in a chunk that lies in memory as it is read, and the next one behind it: how long contexts are read
// in decode. Included once per instruction set with AVX512_BF16, after attention_inl.h. The bytes are those of AttendBlocks.
//
// What bounds it on Zen 4. A thread that asks for lines by itself gets 21 to 24 GB/s where a straight line is read at 31 to 33,
// as the processor's own prefetchers do not wait for their turn among the lines that L1 waits for. They find a line only where
// loads follow it: two places in turn (the keys of two pages 2 KB apart, or keys of a head beside values of the one before) are
// read at 11 to 16, and values in two passes of half a row each at 25. And the loads must be few in the code: in a loop of four
// loads, seven products a line are hidden behind memory, where 64 loads one behind the other lose a fifth with six. So a quad lies
// in the order of these loops, which are not unrolled, and soft-max stands by itself, not beside products. Asking for lines
// besides, into L1 or L2, near or far, reads slower: 44 to 69 %. One thread of 31 to 33 GB/s: three queries a KV head of 64 columns 90 %,
// one query 89, four 87, four of 128 columns 75, of 256 columns 78; out of L2 41, 65, 37, 42 and 45 GB/s.
//
// Keys of two pages go together, so that a factor of the query is loaded once for two lines: Zen 4 loads one vector a cycle, and
// one a product would bound four queries at 6.1 cycles a line, where it is 4 products and 5.2 now.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_STRAIGHT_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_STRAIGHT_INL_H_

template <int Q>
class StraightBlock {
 public:
  explicit StraightBlock(const Query* queries) {
    for (int q = 0; q < Q; ++q) {
      factors_[q] = queries[q].factors[0];
      values_[q] = queries[q].values;
    }
  }

  void Attend(const AttentionArgs& args, const CachedChunk<uint16_t>& chunk, Query* queries) {
    for (int page = 0; page < kChunkPages; page += 2)
      ScorePages(page, args.kv.padded_head_dim, chunk.KeyAt(page, 0));
    for (int q = 0; q < Q; ++q)
      Weigh<PairRows>(args, chunk.start, 0, kChunkPages, queries[q], weights_.of[q], weights_.packed[q]);
    for (int64_t column = 0; column < args.kv.padded_value_dim; column += kBlockColumns)
      AddValues(column, chunk.ValueAt<2>(0, 0, column));
  }

 private:
  static constexpr int kHalfSteps = kSumBlock / 2 / PairRows::kSteps;
  static constexpr int kBlockColumns = 32, kVectors = kBlockColumns / 16;
  static constexpr int64_t kLine = 32;  // elements

  // Of two pages, or vectors.
  using Sums = Lanes[2][Q];

  // sums += x * factor, for two lines.
  [[gnu::always_inline]] static void Multiply(const uint16_t* lines, const float* const (&factors)[Q],
                                              int64_t at, Sums& sums) {
    const Lanes first{_mm512_loadu_ps(lines)}, second{_mm512_loadu_ps(lines + kLine)};
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      const Lanes factor = Splat(factors[q][at]);
      sums[0][q] = PairRows::MultiplyAdd(first, factor, sums[0][q]);
      sums[1][q] = PairRows::MultiplyAdd(second, factor, sums[1][q]);
    }
  }

  // Scores of pages `page` and `page + 1`, whose keys begin at `key`.
  [[gnu::always_inline]] void ScorePages(int page, int64_t columns, const uint16_t* key) {
    const int64_t steps = columns / (2 * PairRows::kSteps);
    for (int64_t step = 0, end; step < steps; step = end) {
      const bool is_first = step == 0;
      end = step + kHalfSteps < steps ? step + kHalfSteps : steps;
      Sums even, odd;
      SetZero(even);
      SetZero(odd);
#pragma GCC unroll 1
      for (int64_t i = step; i < end; ++i, key += 4 * kLine) {
        Multiply(key, factors_, 2 * i, even);
        Multiply(key + 2 * kLine, factors_, 2 * i + 1, odd);
      }
#pragma GCC unroll 2
      for (int p = 0; p < 2; ++p)
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
          float* score = weights_.of[q] + (page + p) * kPageTokens;
          const Lanes sum = Add(even[p][q], odd[p][q]);
          Store(score, is_first ? sum : Add(Load(score), sum));
        }
    }
  }

  // Weighted values of a block of columns, which begins at `value`.
  [[gnu::always_inline]] void AddValues(int64_t column, const uint16_t* value) {
    const float* weights[Q];
    for (int q = 0; q < Q; ++q) weights[q] = weights_.packed[q];
    Sums sum;
#pragma GCC unroll 2
    for (int p = 0; p < kVectors; ++p)
#pragma GCC unroll 8
      for (int q = 0; q < Q; ++q) sum[p][q] = Load(values_[q] + column + 16 * p);
    for (int first = 0; first < kChunkPages * kHalfSteps; first += 2 * kHalfSteps) {
      Sums even, odd;
      SetZero(even);
#pragma GCC unroll 1
      for (int i = first; i < first + kHalfSteps; ++i, value += kVectors * kLine)
        Multiply(value, weights, i, even);
      SetZero(odd);
#pragma GCC unroll 1
      for (int i = first + kHalfSteps; i < first + 2 * kHalfSteps; ++i, value += kVectors * kLine)
        Multiply(value, weights, i, odd);
      AddHalves(even, odd, sum);
    }
#pragma GCC unroll 2
    for (int p = 0; p < kVectors; ++p)
#pragma GCC unroll 8
      for (int q = 0; q < Q; ++q) Store(values_[q] + column + 16 * p, sum[p][q]);
  }

  const float* factors_[Q];
  float* values_[Q];
  Weights weights_;
};

// Chunks behind a chunk that have to follow in memory: prefetchers that find a new line have read it at full speed after as much.
constexpr int kChunksBehind = 4;

// Whether the chunk's keys and values, of all KV heads, lie in memory as they are read here, and chunks enough behind them.
inline bool IsStraight(const AttentionArgs& args, int32_t start, int32_t end) {
  constexpr int kPages = (1 + kChunksBehind) * kChunkPages;
  const int32_t* pages = args.page_table + start / kPageTokens;
  if (args.kv_heads != args.kv.num_kv_heads || args.kv.value_columns != 32) return false;
  if (start + kPages * kPageTokens > end || pages[0] % kQuadPages != 0) return false;
  for (int p = 1; p < kPages; ++p)
    if (pages[p] != pages[0] + p) return false;
  return true;
}

void AttendStraight(const AttentionArgs& args, const CachedChunk<uint16_t>& chunk, int count,
                    Query* queries) {
  ForBlocks(0, count, [&]<int Q>(int first) {
    StraightBlock<Q>(queries + first).Attend(args, chunk, queries + first);
  });
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_STRAIGHT_INL_H_
