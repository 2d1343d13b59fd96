// Attention whose scores a small network changes, over all heads at one pair of query and key (DAPE);
// included once per instruction set after attention_inl.h. A token goes through the chunks of its sequence by
// itself, all heads together.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_MIXED_ATTENTION_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_MIXED_ATTENTION_INL_H_

static_assert(sizeof(Query) <= kMixedQueryBytes);

// What a token needs, in the scratch. H heads.
struct MixedToken {
  Query* queries;  // [H]
  float* values;   // [H, padded Ev]
  float* scores;   // [H, kChunk]
  float* biases;   // [H, kChunk]
  float* between;  // [width, 16]
  int num_heads;
};

inline MixedToken PlaceMixedToken(const AttentionArgs& args) {
  MixedToken token;
  token.num_heads = args.kv.num_kv_heads * args.queries_per_token;
  token.queries = reinterpret_cast<Query*>(args.scratch);
  token.values = reinterpret_cast<float*>(args.scratch + int64_t{token.num_heads} * kMixedQueryBytes);
  token.scores = token.values + token.num_heads * args.kv.padded_value_dim;
  token.biases = token.scores + int64_t{token.num_heads} * kChunk;
  token.between = token.biases + int64_t{token.num_heads} * kChunk;
  return token;
}

// Scaled and capped scores of pages [page, pages), and their biases.
template <typename Element>
void ScoreHeads(const AttentionArgs& args, const MixedToken& token, int32_t start, int page, int pages,
                int all_pages) {
  for (int g = 0; g < args.kv.num_kv_heads; ++g) {
    const Chunk<Element> chunk = ChunkAt<Element>(args, g, start, pages, all_pages);
    ForBlocks(0, args.queries_per_token, [&]<int Q>(int first) {
      Query* queries = token.queries + g * args.queries_per_token + first;
      Weights products;
      ScoreQueries<Element, Q>(args, chunk, page, pages, queries, products);
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
template <typename Element>
void WeighHeads(const AttentionArgs& args, const MixedToken& token, int32_t start, int first, int last,
                int all_pages) {
  const int pages = (last + kPageTokens - 1) / kPageTokens;
  for (int g = 0; g < args.kv.num_kv_heads; ++g) {
    const Chunk<Element> chunk = ChunkAt<Element>(args, g, start, pages, all_pages);
    ForBlocks(0, args.queries_per_token, [&]<int Q>(int block) {
      const int first_head = g * args.queries_per_token + block;
      Query* queries = token.queries + first_head;
      Weights weights;
      Merge merges[Q];
      for (int q = 0; q < Q; ++q) {
        Lanes score[kChunkPages];
        for (int p = 0; p < pages; ++p)
          score[p] = Load(token.scores + int64_t{first_head + q} * kChunk + p * kPageTokens);
        merges[q] = Soften(start, pages, score, queries[q], weights.of[q]);
      }
      WeighColumns<Element, Q, WidthFor(Q)>(chunk, args.kv.padded_value_dim, 0, first, last, merges, weights,
                                            queries);
    });
  }
}

template <typename Element>
void AttendMixedToken(const AttentionArgs& args, int index) {
  const MixedToken token = PlaceMixedToken(args);
  for (int h = 0; h < token.num_heads; ++h)
    InitQuery(args, index, h, token.values + h * args.kv.padded_value_dim, nullptr, token.queries[h]);
  const int32_t seen = token.queries[0].first, end = token.queries[0].last;
  const int all_pages = (end + kPageTokens - 1) / kPageTokens;
  for (int32_t start = seen / kChunk * kChunk; start < end; start += kChunk) {
    const int first = seen > start ? seen - start : 0, last = end - start < kChunk ? end - start : kChunk;
    const int page = first / kPageTokens, pages = (last + kPageTokens - 1) / kPageTokens;
    ScoreHeads<Element>(args, token, start, page, pages, all_pages);
    for (int p = page; p < pages; ++p) MixPage(args.modifier.mixer, token, p * kPageTokens);
    WeighHeads<Element>(args, token, start, first, last, all_pages);
  }
  for (int h = 0; h < token.num_heads; ++h) FinishQuery(args.kv, token.queries[h]);
}

void Attention(const AttentionArgs& args) {
  if (args.modifier.mixer.width > 0) {
    for (int t = 0; t < args.num_tokens; ++t)
      args.kv.bf16 ? AttendMixedToken<uint16_t>(args, t) : AttendMixedToken<float>(args, t);
    return;
  }
  const int rows = args.num_tokens * args.queries_per_token;
  for (int row = 0; row < rows; row += kAttentionGroup)
    AttendRows(args, row, rows - row < kAttentionGroup ? rows - row : kAttentionGroup);
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_MIXED_ATTENTION_INL_H_
