// Blocks of queries that see all of a chunk: nearly all there is to do for long prompts, and in decode. Included once per
// instruction set after attention_inl.h. The bytes are those of AttendBlocks, which takes what is left: chunks that not all
// queries see, zones, and relative values.
//
// On Zen 4 two of four units multiply, and products keep both busy. Soft-max needs mostly the others, but each of its
// operations waits for the one before. So they stand one by one between the products of the scores of the next block, a
// stage of two vectors beside each step (Softening), and the maxima between the products of values of the block before:
// what stands in one piece is not reached before the products ahead of it are done, and then waited for. Nothing
// branches: whether a chunk raises a query's maximum is as good as random, so every chunk may; where it does not, sums
// and values are multiplied by 1. In a prompt the next block is of other queries of a token's KV head, or of the next chunk; in
// decode of the next KV head.
//
// What bounds the whole in a prompt, per 4 queries x 64 keys of 64 columns: 1,024 products and 94 other multiplications (64
// of soft-max, 20 to shrink sums and values, 10 of an exponential), 76 % of 1,470 cycles over prompts of 2,048. The loops take
// 1,340 out of L1: each store of a vector costs half a product, of which there are 64, and each run of 128
// products loses 6 cycles to the sums of halves. Beside them queries, ends of spans and results 80; chunks that not all
// queries see 30. Asking for the next chunk besides takes 2 to 4 % of the time, and gives nothing. Decode:
// attention_straight_inl.h.
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

// Blocks of Q queries that see all of a chunk each, one behind the other: the soft-max of one stands beside the scores of the
// next, whose maxima stand beside the values of the one before.
template <class Rows, int Q>
class WholeBlocks {
 public:
  explicit WholeBlocks(const AttentionArgs& args)
      : args_(args),
        kv_(args.kv),
        rule_(RuleOf(args)),
        modifies_(rule_ != ScoreRule::kScaled || args.modifier.relative_keys.rows.data != nullptr) {}

  // What the queries come to is theirs after Finish.
  void Push(const CachedChunk<uint16_t>& chunk, Query* queries) {
    const int next = 1 - last_;
    slots_[next].chunk = chunk;
    slots_[next].queries = queries;
    Score(next);
    if (is_pending_) {
      AddValues(next);
    } else {
      if (modifies_) Modify(slots_[next], kLastPage);
      RaiseMaxima(slots_[next]);
      FindShrinking(slots_[next]);
    }
    last_ = next;
    is_pending_ = true;
  }
  void Finish() {
    if (!is_pending_) return;
    SoftenFrom(0);
    AddValues(kNone);
    is_pending_ = false;
  }

 private:
  static constexpr int kNone = -1;
  static constexpr int kWidth = WidthFor<Rows>(Q);  // pages, or vectors of values
  static constexpr int kLastPage = kChunkPages - kWidth;
  // Of one half of a block of columns.
  static constexpr int kSteps = kSumBlock / 2 / Rows::kSteps;
  static_assert(kSteps == Softening::kStages && Q <= 4);

  struct Slot {
    CachedChunk<uint16_t> chunk;
    Query* queries;
    Weights weights;  // scores first
    alignas(16) float shrink[4];
  };

  Softening SofteningOf(int q) {
    Slot& last = slots_[last_];
    const float scale = ScalingOf<Rows>(args_, rule_, last.queries[q]).after;
    return {scale, last.shrink[q], last.weights.of[q], last.weights.packed[q], last.queries[q]};
  }

  template <int kHalf = 0, int kStage = 0>
  [[gnu::always_inline]] static void RunAll(Softening& softening) {
    softening.template Run<kHalf, kStage>();
    if constexpr (kStage + 1 < kSteps)
      RunAll<kHalf, kStage + 1>(softening);
    else if constexpr (kHalf == 0)
      RunAll<1>(softening);
  }

  // The soft-max of the last block's queries from q on.
  [[gnu::noinline]] void SoftenFrom(int q) {
    for (; q < Q; ++q) {
      Softening softening = SofteningOf(q);
      RunAll(softening);
    }
  }

  // Scores of a slot, and the soft-max of the last one.
  void Score(int slot) {
    const int64_t columns = kv_.padded_head_dim;
    int q = is_pending_ ? 0 : Q;
    for (int page = 0; page < kChunkPages; page += kWidth) {
      for (int64_t column = 0; column < columns; column += kSumBlock) {
        if (q < Q && column + kSumBlock <= columns)
          ScoreAndSoften(slots_[slot], page, column, q++);
        else
          ScoreColumns(slots_[slot], page, column);
      }
      if (modifies_ && page > 0) Modify(slots_[slot], page - kWidth);
    }
    SoftenFrom(q);
  }

  // From products to scores, but for the scale that is left to soft-max. It stands behind other products than those it
  // changes, so that it need not wait for them.
  [[gnu::noinline]] void Modify(Slot& slot, int page) {
    float(*scores)[kChunk] = slot.weights.of;
    if (rule_ != ScoreRule::kCapped) {
      for (int q = 0; q < Q; ++q)
        ModifyProducts(args_, rule_, slot.chunk.start, page, page + kWidth, slot.queries[q], scores[q]);
      return;
    }
    for (int q = 0; q < Q; ++q)
#pragma GCC unroll 4
      for (int p = page; p < page + kWidth; ++p) {
        float* at = scores[q] + p * kPageTokens;
        Store(at, BriefTanh(Load(at)));
      }
  }

  [[gnu::noinline]] void ScoreColumns(Slot& slot, int page, int64_t column) {
    const int64_t some = kv_.padded_head_dim - column < kSumBlock ? kv_.padded_head_dim - column : kSumBlock;
    const float* factors[Q];
    for (int q = 0; q < Q; ++q) factors[q] = slot.queries[q].factors[0];
    Lanes sum[kWidth][Q];
    SetZero(sum);
    AddKeyBlock<Rows>(slot.chunk, page, column, some / 2 / Rows::kSteps, factors, sum);
    AddScores(slot, page, column, sum);
  }

  // A whole block of columns, and the soft-max of query q of the last slot.
  [[gnu::noinline]] void ScoreAndSoften(Slot& slot, int page, int64_t column, int softened) {
    Softening softening = SofteningOf(softened);
    Lanes even[kWidth][Q], odd[kWidth][Q];
    SetZero(even);
    StepsFrom<0>(slot, page, column / 2 / Rows::kSteps, softening, even);
    SetZero(odd);
    StepsFrom<1>(slot, page, column / 2 / Rows::kSteps, softening, odd);
#pragma GCC unroll 4
    for (int p = 0; p < kWidth; ++p)
#pragma GCC unroll 8
      for (int q = 0; q < Q; ++q) even[p][q] = Add(even[p][q], odd[p][q]);
    AddScores(slot, page, column, even);
  }

  // Step kStep of a half of a block of columns, and those behind it.
  template <int kHalf, int kStep = 0>
  [[gnu::always_inline]] void StepsFrom(const Slot& slot, int page, int64_t first, Softening& softening,
                                        Lanes (&sum)[kWidth][Q]) {
    Lanes key[kWidth];
#pragma GCC unroll 4
    for (int p = 0; p < kWidth; ++p) key[p] = Rows::template Key<kHalf>(slot.chunk, page + p, first + kStep);
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      const Lanes factor = Splat(slot.queries[q].factors[0][(first + kStep) * 2 + kHalf]);
#pragma GCC unroll 4
      for (int p = 0; p < kWidth; ++p) sum[p][q] = Rows::MultiplyAdd(key[p], factor, sum[p][q]);
    }
    softening.template Run<kHalf, kStep>();
    if constexpr (kStep + 1 < kSteps) StepsFrom<kHalf, kStep + 1>(slot, page, first, softening, sum);
  }

  // Sums of a block of columns, which begin with zero, onto those of the blocks before.
  [[gnu::always_inline]] static void AddScores(Slot& slot, int page, int64_t column,
                                               const Lanes (&sum)[kWidth][Q]) {
#pragma GCC unroll 4
    for (int p = 0; p < kWidth; ++p)
#pragma GCC unroll 8
      for (int q = 0; q < Q; ++q) {
        float* at = slot.weights.of[q] + (page + p) * kPageTokens;
        Store(at, column == 0 ? sum[p][q] : Add(Load(at), sum[p][q]));
      }
  }

  // The maxima of a slot's queries, and the logarithms of what they shrink sums and values by.
  [[gnu::always_inline]] void RaiseMaxima(Slot& slot) {
    Query* queries = slot.queries;
    const float scale = ScalingOf<Rows>(args_, rule_, queries[0]).after;
    Lanes largest[4];
    alignas(16) float maxima[4];
#pragma GCC unroll 8
    for (int q = 0; q < 4; ++q) {
      const float* scores = slot.weights.of[q < Q ? q : 0];
      maxima[q] = queries[q < Q ? q : 0].max;
      largest[q] = Load(scores);
#pragma GCC unroll 4
      for (int p = 1; p < kChunkPages; ++p) largest[q] = Max(largest[q], Load(scores + p * kPageTokens));
    }
    const __m128 before = _mm_load_ps(maxima);
    const __m128 after = _mm_max_ps(_mm_mul_ps(MaximaOfLanes(largest), _mm_set1_ps(scale)), before);
    _mm_store_ps(maxima, after);
    for (int q = 0; q < Q; ++q) queries[q].max = maxima[q];
    _mm_store_ps(slot.shrink, _mm_mul_ps(_mm_sub_ps(before, after), _mm_set1_ps(kLn2)));
  }
  [[gnu::always_inline]] static void FindShrinking(Slot& slot) {
    const Lanes exponents{_mm512_zextps128_ps512(_mm_load_ps(slot.shrink))};
    _mm_store_ps(slot.shrink, _mm512_castps512_ps128(WeightOf(exponents).v));
  }

  // Weighted values of the last slot, and the maxima of another one: beside the first values, or beside the last ones where
  // its scores are still to be modified.
  void AddValues(int raised) {
    const int64_t row = kv_.padded_value_dim;
    for (int64_t column = 0, next; column < row; column = next) {
      const bool is_wide = column + 16 * kWidth <= row;
      next = column + (is_wide ? 16 * kWidth : 16);
      const bool raises = raised != kNone && (modifies_ ? next == row : column == 0);
      if (raises && modifies_) Modify(slots_[raised], kLastPage);
      if (is_wide)
        AddVectors<kWidth>(column, raises ? raised : kNone);
      else
        AddVectors<1>(column, raises ? raised : kNone);
    }
  }

  template <int kVectors>
  [[gnu::noinline]] void AddVectors(int64_t column, int raised) {
    const Slot& last = slots_[last_];
    Lanes sum[kVectors][Q];
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q)
#pragma GCC unroll 4
      for (int p = 0; p < kVectors; ++p)
        sum[p][q] = Mul(Load(last.queries[q].values + column + 16 * p), Splat(last.shrink[q]));
    AddValueBlock<Rows>(last.chunk, column, 0, 0, kChunk, last.weights, sum);
    if (raised != kNone) RaiseMaxima(slots_[raised]);
    AddValueBlock<Rows>(last.chunk, column, 1, 0, kChunk, last.weights, sum);
    if (raised != kNone) FindShrinking(slots_[raised]);
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q)
#pragma GCC unroll 4
      for (int p = 0; p < kVectors; ++p) Store(last.queries[q].values + column + 16 * p, sum[p][q]);
  }

  const AttentionArgs& args_;
  const KvLayout& kv_;
  const ScoreRule rule_;
  const bool modifies_;  // products, before soft-max
  Slot slots_[2];
  int last_ = 0;
  bool is_pending_ = false;  // soft-max and values of the last slot
};

inline bool GoWhole(const AttentionArgs& args, int32_t start, int count, const Query* queries) {
  return queries[count - 1].first <= start && start + kChunk <= queries[0].last && args.modifier.zone == 0 &&
         args.modifier.relative_values.data == nullptr;
}

// Many queries share what L1 and L2 hold of a chunk.
class ManyChunks {
 public:
  using Rows = GroupRows;

  ManyChunks(const AttentionArgs& args, const GroupMemory&, int) : args_(args), whole_(args) {}

  void Attend(const CachedChunk<uint16_t>& chunk, int32_t, int count, Query* queries) {
    if (!GoWhole(args_, chunk.start, count, queries)) {
      Finish();
      return AttendBlocks<Rows>(args_, chunk, count, queries);
    }
    const int blocks = count / kQueries;
    for (int b = 0; b < blocks; ++b) whole_.Push(chunk, queries + b * kQueries);
    AttendBlocks<Rows>(args_, chunk, count - blocks * kQueries, queries + blocks * kQueries);
  }
  void Finish() { whole_.Finish(); }

 private:
  const AttentionArgs& args_;
  WholeBlocks<DotRows<false, true>, kQueries> whole_;
};

void AttendMany(const AttentionArgs& args, int first_row, int count) {
  AttendRows<ManyChunks>(args, first_row, count);
}

// Few queries, which wait for memory: each block of Q queries follows those of as many, of the KV heads before.
template <int Q>
class FewWhole : public FewWhole<Q - 1> {
 public:
  explicit FewWhole(const AttentionArgs& args) : FewWhole<Q - 1>(args), blocks_(args) {}

  void Push(const CachedChunk<uint16_t>& chunk, int count, Query* queries) {
    for (; count >= Q; count -= Q, queries += Q) blocks_.Push(chunk, queries);
    FewWhole<Q - 1>::Push(chunk, count, queries);
  }
  void Finish() {
    blocks_.Finish();
    FewWhole<Q - 1>::Finish();
  }

 private:
  WholeBlocks<DotRows<true, true>, Q> blocks_;
};
template <>
class FewWhole<0> {
 public:
  explicit FewWhole(const AttentionArgs&) {}
  void Push(const CachedChunk<uint16_t>&, int, Query*) {}
  void Finish() {}
};

class FewChunks {
 public:
  using Rows = PairRows;

  FewChunks(const AttentionArgs& args, const GroupMemory&, int) : args_(args), whole_(args) {}

  void Attend(const CachedChunk<uint16_t>& chunk, int32_t end, int count, Query* queries) {
    const bool is_whole = GoWhole(args_, chunk.start, count, queries);
    const bool is_straight = is_whole && IsStraight(args_, chunk.start, end);
    if (is_whole && !is_straight) return whole_.Push(chunk, count, queries);
    Finish();
    if (is_straight)
      AttendStraight(args_, chunk, count, queries);
    else
      AttendBlocks<Rows>(args_, chunk, count, queries);
  }
  void Finish() { whole_.Finish(); }

 private:
  const AttentionArgs& args_;
  FewWhole<kQueries> whole_;
};

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_WHOLE_INL_H_
