// Blocks of kQueries queries that see all of a chunk, where scores are products times a scale: nearly all there is to do
// for long prompts. Included once per instruction set after attention_inl.h. The bytes are those of AttendBlock.
//
// On Zen 4 two of four units multiply, and products keep both busy. Soft-max needs mostly the others, but each of its
// operations waits for the one before. So they stand one by one between the products of the scores of the next block, a
// stage of two vectors beside each step (Softening), and the maxima between the products of values of the block before:
// what stands in one piece is not reached before the products ahead of it are done, and then waited for. Nothing
// branches: whether a chunk raises a query's maximum is as good as random, so every chunk may; where it does not, sums
// and values are multiplied by 1.
//
// What bounds the whole, per 4 queries x 64 keys of 64 columns: 1,024 products and 94 other multiplications (64 of
// soft-max, 20 to shrink sums and values, 10 of an exponential), 75 % of 1,490 cycles over prompts of 2,048. The loops take
// 1,340 out of L1: each store of a vector costs half a product, of which there are 64, and each run of 128
// products loses 6 cycles to the sums of halves. Beside them the first and the last block of a chunk, which have nothing to
// stand beside, 20; queries, ends of spans and results 80; chunks that not all queries see 30; fetching the next chunk 20.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_WHOLE_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_WHOLE_INL_H_

// The largest of each of four.
inline __m128 MaximaOfLanes(const Lanes (&a)[4]) {
  __m128 four[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a[i].v), _mm512_extractf32x8_ps(a[i].v, 1));
    four[i] = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  }
  const __m128 first = _mm_max_ps(_mm_movelh_ps(four[0], four[1]), _mm_movehl_ps(four[1], four[0]));
  const __m128 second = _mm_max_ps(_mm_movelh_ps(four[2], four[3]), _mm_movehl_ps(four[3], four[2]));
  return _mm_max_ps(_mm_shuffle_ps(first, second, 0x88), _mm_shuffle_ps(first, second, 0xDD));
}

// From a query's scores of a chunk to its weights: two halves of two pages, each in kStages stages.
class Softening {
 public:
  static constexpr int kStages = 1 + kPowerStages;

  Softening(float scale, float shrink, const float* scores, float* packed, Query& query)
      : scale_(scale),
        below_(-query.max),
        shrink_(shrink),
        scores_(scores),
        packed_(packed),
        sums_(query.sums) {}

  template <int kHalf, int kStage>
  [[gnu::always_inline]] void Run() {
#pragma GCC unroll 2
    for (int p = 0; p < kPages; ++p) {
      if constexpr (kStage == 0) {
        const Lanes score = Load(scores_ + (kHalf * kPages + p) * kPageTokens);
        x_[p] = Max(Splat(kExpMin), Fma(score, Splat(scale_), Splat(below_)));
      } else {
        PowerBf16Stage<kStage>(x_[p], rounded_[p], weight_[p]);
      }
    }
    if constexpr (kStage + 1 < kStages) return;
    const Lanes sum = Load(sums_);
    Store(sums_, Add(Add(kHalf == 0 ? Mul(sum, Splat(shrink_)) : sum, weight_[0]), weight_[1]));
    PairRows::Pack(weight_, kPages, packed_ + kHalf * kPages * kPageTokens / PairRows::kSteps);
  }

 private:
  static constexpr int kPages = kChunkPages / 2;

  const float scale_, below_, shrink_;
  const float* const scores_;
  float* const packed_;
  float* const sums_;
  Lanes x_[kPages], rounded_[kPages], weight_[kPages];
};

// Asks for one of `parts` parts of the chunk that follows.
inline void FetchPart(const CachedChunk<uint16_t>& chunk, const KvLayout& kv, int part, int parts) {
  constexpr int kLine = 32;
  const int64_t lines = kv.head_elements / kLine;
  for (int p = 0; p * kPageTokens < chunk.last; ++p)
    for (int64_t i = lines * part / parts; i < lines * (part + 1) / parts; ++i)
      FetchAhead(chunk.keys[p] + i * kLine, chunk.ahead[p]);
}

// One chunk for a group of queries.
class WholeChunk {
 public:
  using Rows = DotRows<false, true>;

  WholeChunk(const AttentionArgs& args, const CachedChunk<uint16_t>& chunk, Query* queries)
      : kv_(args.kv), chunk_(chunk), queries_(queries), scale_(args.scale * kLog2E) {}

  void Attend(int blocks) {
    Score(0, kNone);
    RaiseMaxima(0);
    FindShrinking(0);
    for (int b = 0; b < blocks; ++b) {
      const int next = b + 1 < blocks ? b + 1 : kNone;
      if (next != kNone)
        Score(next, b);
      else
        SoftenFrom(0, b);
      FetchPart(chunk_, kv_, b, blocks);
      AddValues(b, next);
    }
  }

 private:
  static constexpr int kNone = -1;
  static constexpr int kPages = 2;
  static constexpr int kVectors = 2;
  // Of one half of a block of columns.
  static constexpr int kSteps = kSumBlock / 2 / Rows::kSteps;
  static_assert(kSteps == Softening::kStages);

  Query* BlockOf(int block) const { return queries_ + block * kQueries; }

  Softening SofteningOf(int block, int q) {
    Weights& weights = weights_[block % 2];
    return {scale_, shrink_[block % 2][q], weights.of[q], weights.packed[q], BlockOf(block)[q]};
  }

  template <int kHalf = 0, int kStage = 0>
  [[gnu::always_inline]] static void RunAll(Softening& softening) {
    softening.template Run<kHalf, kStage>();
    if constexpr (kStage + 1 < kSteps)
      RunAll<kHalf, kStage + 1>(softening);
    else if constexpr (kHalf == 0)
      RunAll<1>(softening);
  }

  [[gnu::noinline]] void SoftenFrom(int q, int block) {
    for (; q < kQueries; ++q) {
      Softening softening = SofteningOf(block, q);
      RunAll(softening);
    }
  }

  // Scores of a block, and the soft-max of another one.
  void Score(int block, int softened) {
    const int64_t columns = kv_.padded_head_dim;
    int q = 0;
    for (int page = 0; page < kChunkPages; page += kPages)
      for (int64_t column = 0; column < columns; column += kSumBlock) {
        if (softened != kNone && q < kQueries && column + kSumBlock <= columns)
          ScoreAndSoften(block, page, column, softened, q++);
        else
          ScoreColumns(block, page, column);
      }
    if (softened != kNone) SoftenFrom(q, softened);
  }

  [[gnu::noinline]] void ScoreColumns(int block, int page, int64_t column) {
    const int64_t some = kv_.padded_head_dim - column < kSumBlock ? kv_.padded_head_dim - column : kSumBlock;
    const float* factors[kQueries];
    for (int q = 0; q < kQueries; ++q) factors[q] = BlockOf(block)[q].factors[0];
    Lanes sum[kPages][kQueries];
    SetZero(sum);
    AddKeyBlock<Rows>(chunk_, page, column, some / 2 / Rows::kSteps, factors, sum);
    AddScores(block, page, column, sum);
  }

  // A whole block of columns, and the soft-max of query q of another block.
  [[gnu::noinline]] void ScoreAndSoften(int block, int page, int64_t column, int softened, int q) {
    Softening softening = SofteningOf(softened, q);
    Lanes even[kPages][kQueries], odd[kPages][kQueries];
    const Query* queries = BlockOf(block);
    SetZero(even);
    StepsFrom<0>(page, column / 2 / Rows::kSteps, queries, softening, even);
    SetZero(odd);
    StepsFrom<1>(page, column / 2 / Rows::kSteps, queries, softening, odd);
#pragma GCC unroll 2
    for (int p = 0; p < kPages; ++p)
#pragma GCC unroll 8
      for (int q = 0; q < kQueries; ++q) even[p][q] = Add(even[p][q], odd[p][q]);
    AddScores(block, page, column, even);
  }

  // Step kStep of a half of a block of columns, and those behind it.
  template <int kHalf, int kStep = 0>
  [[gnu::always_inline]] void StepsFrom(int page, int64_t first, const Query* queries, Softening& softening,
                                        Lanes (&sum)[kPages][kQueries]) {
    Lanes key[kPages];
#pragma GCC unroll 2
    for (int p = 0; p < kPages; ++p) key[p] = Rows::template Key<kHalf>(chunk_, page + p, first + kStep);
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) {
      const Lanes factor = Splat(queries[q].factors[0][(first + kStep) * 2 + kHalf]);
#pragma GCC unroll 2
      for (int p = 0; p < kPages; ++p) sum[p][q] = Rows::MultiplyAdd(key[p], factor, sum[p][q]);
    }
    softening.template Run<kHalf, kStep>();
    if constexpr (kStep + 1 < kSteps) StepsFrom<kHalf, kStep + 1>(page, first, queries, softening, sum);
  }

  // Sums of a block of columns, which begin with zero, onto those of the blocks before.
  [[gnu::always_inline]] void AddScores(int block, int page, int64_t column,
                                        const Lanes (&sum)[kPages][kQueries]) {
    Weights& weights = weights_[block % 2];
#pragma GCC unroll 2
    for (int p = 0; p < kPages; ++p)
#pragma GCC unroll 8
      for (int q = 0; q < kQueries; ++q) {
        float* at = weights.of[q] + (page + p) * kPageTokens;
        Store(at, column == 0 ? sum[p][q] : Add(Load(at), sum[p][q]));
      }
  }

  // The maxima of a block's queries, and the logarithms of what they shrink sums and values by.
  [[gnu::always_inline]] void RaiseMaxima(int block) {
    Query* queries = BlockOf(block);
    Lanes largest[kQueries];
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) {
      const float* scores = weights_[block % 2].of[q];
      largest[q] = Load(scores);
#pragma GCC unroll 4
      for (int p = 1; p < kChunkPages; ++p) largest[q] = Max(largest[q], Load(scores + p * kPageTokens));
    }
    const __m128 before = _mm_setr_ps(queries[0].max, queries[1].max, queries[2].max, queries[3].max);
    const __m128 after = _mm_max_ps(_mm_mul_ps(MaximaOfLanes(largest), _mm_set1_ps(scale_)), before);
    alignas(16) float maxima[kQueries];
    _mm_store_ps(maxima, after);
    for (int q = 0; q < kQueries; ++q) queries[q].max = maxima[q];
    _mm_store_ps(shrink_[block % 2], _mm_mul_ps(_mm_sub_ps(before, after), _mm_set1_ps(kLn2)));
  }
  [[gnu::always_inline]] void FindShrinking(int block) {
    float* shrink = shrink_[block % 2];
    const Lanes exponents{_mm512_zextps128_ps512(_mm_load_ps(shrink))};
    _mm_store_ps(shrink, _mm512_castps512_ps128(WeightOf(exponents).v));
  }

  // Weighted values of a block, and the maxima of another one.
  void AddValues(int block, int raised) {
    const int64_t row = kv_.padded_value_dim;
    int64_t column = 0;
    for (; column + 16 * kVectors <= row; column += 16 * kVectors) {
      AddVectors<kVectors>(block, column, raised);
      raised = kNone;
    }
    if (column < row) AddVectors<1>(block, column, raised);
  }

  template <int kWidth>
  [[gnu::noinline]] void AddVectors(int block, int64_t column, int raised) {
    Query* queries = BlockOf(block);
    Lanes sum[kWidth][kQueries];
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q)
#pragma GCC unroll 2
      for (int p = 0; p < kWidth; ++p)
        sum[p][q] = Mul(Load(queries[q].values + column + 16 * p), Splat(shrink_[block % 2][q]));
    AddValueBlock<Rows>(chunk_, kv_.padded_value_dim, column, 0, 0, kChunk, weights_[block % 2], sum);
    if (raised != kNone) RaiseMaxima(raised);
    AddValueBlock<Rows>(chunk_, kv_.padded_value_dim, column, 1, 0, kChunk, weights_[block % 2], sum);
    if (raised != kNone) FindShrinking(raised);
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q)
#pragma GCC unroll 2
      for (int p = 0; p < kWidth; ++p) Store(queries[q].values + column + 16 * p, sum[p][q]);
  }

  const KvLayout& kv_;
  const CachedChunk<uint16_t>& chunk_;
  Query* const queries_;
  const float scale_;
  Weights weights_[2];  // of a block and the next; scores first
  alignas(16) float shrink_[2][kQueries];
};

struct WholeChunks : GroupChunks {
  static void Attend(const AttentionArgs& args, const CachedChunk<uint16_t>& chunk, int count, Query* queries,
                     float*) {
    const bool whole = queries[count - 1].first <= chunk.start && chunk.start + kChunk <= queries[0].last &&
                       ScalesAlone(args);
    const int blocks = whole ? count / kQueries : 0;
    if (blocks > 0)
      WholeChunk(args, chunk, queries).Attend(blocks);
    else
      FetchPart(chunk, args.kv, 0, 1);
    AttendBlocks<Rows>(args, chunk, count - blocks * kQueries, queries + blocks * kQueries);
  }
};

void AttendMany(const AttentionArgs& args, int first_row, int count) {
  AttendRows<WholeChunks>(args, first_row, count);
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_WHOLE_INL_H_
