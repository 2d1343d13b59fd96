// Attention whose scores a small network changes, over all heads at one pair of query and key (DAPE);
// included once per instruction set after attention_inl.h. A token goes through the chunks of its sequence by
// itself, all heads together.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_MIXED_ATTENTION_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_MIXED_ATTENTION_INL_H_

static_assert(sizeof(Query) <= kMixedQueryBytes);

// What a token needs, in the scratch. H heads.
struct MixedToken {
  Query* queries;  // [H]
  float* vectors;  // [H], of QueryMemory: [2 padded Ev + 2 padded E]
  float* scores;   // [H, kChunk]
  float* biases;   // [H, kChunk]
  float* between;  // [width, 16]
  int num_heads;
};

inline MixedToken PlaceMixedToken(const AttentionArgs& args) {
  MixedToken token;
  token.num_heads = args.kv.num_kv_heads * args.queries_per_token;
  token.queries = reinterpret_cast<Query*>(args.scratch);
  token.vectors = reinterpret_cast<float*>(args.scratch + int64_t{token.num_heads} * kMixedQueryBytes);
  token.scores = token.vectors + token.num_heads * 2 * (args.kv.padded_value_dim + args.kv.padded_head_dim);
  token.biases = token.scores + int64_t{token.num_heads} * kChunk;
  token.between = token.biases + int64_t{token.num_heads} * kChunk;
  return token;
}

// A mixer goes with neither zones nor relative keys.
inline QueryMemory MemoryOf(const AttentionArgs& args, const MixedToken& token, int head) {
  const int64_t query = args.kv.padded_head_dim, value = args.kv.padded_value_dim;
  float* values = token.vectors + head * 2 * (value + query);
  float* rounded = values + 2 * value;
  return {.values = values,
          .total_values = values + value,
          .rounded = rounded,
          .packed = rounded + query,
          .position = nullptr};
}

// Scaled and capped scores of pages [page, pages), and their biases.
template <class Rows>
void ScoreHeads(const AttentionArgs& args, const MixedToken& token, int32_t start, int page, int pages,
                int32_t end) {
  for (int g = 0; g < args.kv.num_kv_heads; ++g) {
    const typename Rows::Chunk chunk = ChunkAt<ElementOf<Rows>>(args, g, start, end);
    ForBlocks(0, args.queries_per_token, [&]<int Q>(int first) {
      Query* queries = token.queries + g * args.queries_per_token + first;
      Weights products;
      ScoreQueries<Rows, Q>(args, chunk, page, pages, queries, products);
      for (int q = 0; q < Q; ++q) {
        const int64_t head = (int64_t{g} * args.queries_per_token + first + q) * kChunk;
        for (int p = page; p < pages; ++p) {
          const int at = p * kPageTokens;
          Store(token.scores + head + at, ScaleAndCap(args, queries[q].modified, Load(products.of[q] + at)));
          Store(token.biases + head + at,
                AddBias(args.modifier.bias, queries[q].position(), start + at, queries[q].modified, Zero()));
        }
      }
    });
  }
}

// score + bias + MLP for one page, in the place of the scores.
inline void MixPage(const HeadMixer& mixer, const MixedToken& token, int at) {
  const int heads = token.num_heads, num_inputs = mixer.takes_biases ? 2 * heads : heads;
  for (int w = 0; w < mixer.width; ++w) {
    const float* weights = mixer.in_weights + int64_t{w} * num_inputs;
    Lanes sum = Splat(mixer.in_biases[w]);
    for (int h = 0; h < heads; ++h)
      sum = Fma(Load(token.scores + int64_t{h} * kChunk + at), Splat(weights[h]), sum);
    for (int h = heads; h < num_inputs; ++h)
      sum = Fma(Load(token.biases + int64_t{h - heads} * kChunk + at), Splat(weights[h]), sum);
    Store(token.between + 16 * w, IfLess(Zero(), sum, sum, Mul(sum, Splat(kLeakySlope))));
  }
  for (int h = 0; h < heads; ++h) {
    float* score = token.scores + int64_t{h} * kChunk + at;
    Lanes sum = Splat(mixer.out_biases[h]);
    for (int w = 0; w < mixer.width; ++w)
      sum = Fma(Load(token.between + 16 * w), Splat(mixer.out_weights[int64_t{h} * mixer.width + w]), sum);
    Store(score, Add(Add(Load(score), Load(token.biases + int64_t{h} * kChunk + at)), sum));
  }
}

// Weights of positions [first, last) of the chunk, and their values.
template <class Rows>
void WeighHeads(const AttentionArgs& args, const MixedToken& token, int32_t start, int first, int last,
                int32_t end) {
  constexpr float kUnit = Rows::kOneChain ? 1 : kLog2E;
  const int pages = (last + kPageTokens - 1) / kPageTokens;
  for (int g = 0; g < args.kv.num_kv_heads; ++g) {
    const typename Rows::Chunk chunk = ChunkAt<ElementOf<Rows>>(args, g, start, end);
    ForBlocks(0, args.queries_per_token, [&]<int Q>(int block) {
      const int first_head = g * args.queries_per_token + block;
      Query* queries = token.queries + first_head;
      Weights weights;
      for (int q = 0; q < Q; ++q) {
        for (int p = 0; p < pages; ++p) {
          const int at = p * kPageTokens;
          Store(weights.of[q] + at, Load(token.scores + int64_t{first_head + q} * kChunk + at));
        }
        Soften<Rows, false>(args.kv, start, pages, {1, kUnit}, queries[q], weights.of[q], weights.packed[q]);
      }
      WeighAllColumns<Rows, Q>(chunk, args.kv.padded_value_dim, first, last, weights, queries);
    });
  }
}

template <class Rows>
void AttendMixedToken(const AttentionArgs& args, int index) {
  const MixedToken token = PlaceMixedToken(args);
  for (int h = 0; h < token.num_heads; ++h)
    InitQuery<Rows>(args, index, h, MemoryOf(args, token, h), token.queries[h]);
  const int32_t seen = token.queries[0].first, end = token.queries[0].last;
  for (int32_t span = seen / kAttentionSpan * kAttentionSpan; span < end; span += kAttentionSpan) {
    for (int h = 0; h < token.num_heads; ++h) BeginSpan(args.kv, token.queries[h]);
    const int32_t from = seen > span ? seen / kChunk * kChunk : span;
    for (int32_t start = from; start < span + kAttentionSpan && start < end; start += kChunk) {
      const int first = seen > start ? seen - start : 0, last = end - start < kChunk ? end - start : kChunk;
      const int page = first / kPageTokens, pages = (last + kPageTokens - 1) / kPageTokens;
      ScoreHeads<Rows>(args, token, start, page, pages, end);
      for (int p = page; p < pages; ++p) MixPage(args.modifier.mixer, token, p * kPageTokens);
      WeighHeads<Rows>(args, token, start, first, last, end);
    }
    for (int h = 0; h < token.num_heads; ++h) EndSpan<Rows>(args, h, token.queries[h]);
  }
  for (int h = 0; h < token.num_heads; ++h) FinishQuery(args.kv, token.queries[h]);
}

void AttendTokens(const AttentionArgs& args);

// KV heads [first, first + count) of the call's one token.
inline AttentionArgs HeadsOf(const AttentionArgs& args, int first, int count) {
  AttentionArgs some = args;
  const int64_t head = int64_t{first} * args.queries_per_token, column = head * args.kv.head_dim;
  some.kv_head += first;
  some.kv_heads = count;
  some.queries += column;
  if (args.modifier.zone > 0) {
    some.previous_queries += column;
    some.older_queries += column;
  }
  some.out += head * args.kv.value_dim;
  if (args.span >= 0) some.spans += head * (args.kv.padded_value_dim + kSpanHead);
  return some;
}

// One token, several KV heads: as many in turn as have few queries each and together no more than a group.
void AttendHeads(const AttentionArgs& args) {
  const int in_turn = args.queries_per_token <= kFewQueries ? kAttentionGroup / args.queries_per_token : 1;
  for (int first = 0; first < args.kv_heads; first += in_turn) {
    const int heads = args.kv_heads - first < in_turn ? args.kv_heads - first : in_turn;
    const AttentionArgs some = HeadsOf(args, first, heads);
    const int rows = heads * args.queries_per_token;
    if (heads == 1)
      AttendTokens(some);
    else if (args.kv.bf16)
      AttendRows<FewChunks>(some, 0, rows);
    else
      AttendRows<CacheChunks<FloatRows>>(some, 0, rows);
  }
}

void AttendTokens(const AttentionArgs& args) {
  if (args.kv_heads > 1) return AttendHeads(args);
  const int rows = args.num_tokens * args.queries_per_token;
  for (int row = 0; row < rows; row += kAttentionGroup) {
    const int count = rows - row < kAttentionGroup ? rows - row : kAttentionGroup;
    if (!args.kv.bf16)
      AttendRows<CacheChunks<FloatRows>>(args, row, count);
    else if (count <= kFewQueries)
      AttendRows<FewChunks>(args, row, count);
    else
      AttendMany(args, row, count);
  }
}

[[gnu::noinline]] void AttendAny(const AttentionArgs& args) {
  if (args.modifier.mixer.width == 0) return AttendTokens(args);
  for (int t = 0; t < args.num_tokens; ++t)
    args.kv.bf16 ? AttendMixedToken<PairRows>(args, t) : AttendMixedToken<FloatRows>(args, t);
}

[[gnu::noinline]] void MergeRows(const AttentionArgs& args) {
  for (int row = 0; row < args.num_tokens * QueriesOfToken(args); ++row)
    args.kv.bf16 ? MergeRow<PairRows>(args, row) : MergeRow<FloatRows>(args, row);
}

// Denormal numbers are zero where keys are bf16, as instructions for bf16 have it.
template <void (*kRun)(const AttentionArgs&)>
void WithoutDenormals(const AttentionArgs& args) {
  constexpr unsigned kFlushToZero = 1u << 15, kDenormalsAreZero = 1u << 6;
  const unsigned before = _mm_getcsr();
  if (args.kv.bf16) _mm_setcsr(before | kFlushToZero | kDenormalsAreZero);
  kRun(args);
  _mm_setcsr(before);
}

void Attention(const AttentionArgs& args) { WithoutDenormals<&AttendAny>(args); }
void MergeSpans(const AttentionArgs& args) { WithoutDenormals<&MergeRows>(args); }

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_MIXED_ATTENTION_INL_H_
