// What attention takes: projections, norms and rotations of heads, the cache, and attention itself.
#include <algorithm>

#include "engine/exec/cpu/pass_phases.h"

namespace ropeway {

// What a branch is given: the stream through `norm`, unless that is of the stream itself.
Decoder::Pass::Input Decoder::Pass::FromStream(const Vectors& norm) {
  const bool is_of_stream = spec_.block.norms_stream || spec_.block.norms_sum;
  return {Hidden(0), workspace_.hidden_stride_, num_tokens(), is_of_stream ? nullptr : &norm};
}

void Decoder::Pass::NormStream(const Vectors& norm) {
  ForEachToken(team_, num_tokens(), [&](int64_t t) { NormRow(norm, Hidden(t), Hidden(t)); });
}

void Decoder::Pass::ProjectQkv(int index) {
  const CpuLayer& layer = weights_.layers[index];
  if (spec_.block.norms_stream) NormStream(layer.attention_norm);
  if (spec_.layers[index].attention.is_latent()) return ProjectLatent(index);
  Multiply(FromStream(layer.attention_norm), layer.qkv, {Qkv(0), workspace_.qkv_stride_},
           &layer.attention_output);
}

void Decoder::Pass::ProjectLatent(int index) {
  const CpuLayer& layer = weights_.layers[index];
  const LatentSpec& latent = spec_.layers[index].attention.latent;
  Multiply(FromStream(layer.attention_norm), layer.latent, {Latent(0), workspace_.latent_stride_},
           &layer.qkv);
  ForEachToken(team_, num_tokens(), [&](int64_t t) {
    float *query = Latent(t), *kv = query + latent.query_rank;
    if (latent.query_rank > 0)
      table_.rms_norm(query, layer.latent_query_norm.data(), latent.query_rank, latent.epsilon, query);
    table_.rms_norm(kv, layer.latent_kv_norm.data(), latent.kv_rank, latent.epsilon, kv);
  });
  const Input narrow{Latent(0), workspace_.latent_stride_, num_tokens()};
  Multiply(latent.query_rank > 0 ? narrow : FromStream(layer.attention_norm), layer.qkv,
           {Qkv(0), workspace_.qkv_stride_}, &layer.latent_kv);
  Multiply({Latent(0) + latent.query_rank, workspace_.latent_stride_, num_tokens()}, layer.latent_kv,
           {Keys(0), workspace_.qkv_stride_}, &layer.attention_output);
}

// The rotated columns of a latent key are the same for all heads.
void Decoder::Pass::ShareRotatedColumns(const LatentSpec& latent, int64_t token) {
  const float* rotated = Latent(token) + latent.query_rank + latent.kv_rank;
  for (int head = 0; head < spec_.num_kv_heads; ++head)
    std::copy_n(rotated, latent.rotary_dim, Keys(token) + int64_t{head} * spec_.head_dim);
}

// Keys and values to the cache.
void Decoder::Pass::RotateAndStore(int index) {
  ForEachToken(team_, num_tokens(), [&](int64_t t) { RotateAndStoreToken(index, t); });
}

void Decoder::Pass::RotateAndStoreToken(int index, int64_t token) {
  FinishHeads(index, token);
  const int32_t position = batch_->positions[token];
  const int32_t page = batch_->page_tables[RowOf(token)][position / kPageTokens];
  table_.store_kv({.kv = cache_->kv,
                   .cache = cache_->data + index * cache_->layer_stride,
                   .quad_stride = cache_->kv.quad_bytes,
                   .page = page,
                   .slot = position % kPageTokens,
                   .keys = Keys(token),
                   .values = Values(token)});
}

// What happens to a token's queries, keys and values between product and attention.
void Decoder::Pass::FinishHeads(int index, int64_t token) {
  const AttentionSpec& attention = spec_.layers[index].attention;
  float* heads = Qkv(token);
  if (attention.is_latent()) ShareRotatedColumns(attention.latent, token);
  const auto clip = [&] {
    for (int64_t i = 0; i < spec_.qkv_size(); ++i)
      heads[i] = std::clamp(heads[i], -attention.clip, attention.clip);
  };
  if (attention.clip > 0 && !attention.clip_after_norm) clip();
  const bool has_norm = attention.head_norm.kind != NormKind::kNone;
  if (has_norm && !attention.head_norm.after_rotation) NormHeads(index, heads);
  if (attention.clip > 0 && attention.clip_after_norm) clip();
  if (const Rpe3dSpec* zones = ChunkedRpe3dOf(spec_.layers[index].position.scheme))
    RotateForOtherZones(index, *zones, token);
  if (const int rotary = decoder_.layer_rotaries_[index]; rotary >= 0) RotateHeads(rotary, token);
  if (has_norm && attention.head_norm.after_rotation) NormHeads(index, heads);
  if (!weights_.layers[index].query_factors.empty()) ScaleQueries(index, token);
}

// Two more copies of a token's queries, turned for keys of the zone before their own and of older ones.
// REQUIRES: the queries are not turned yet.
void Decoder::Pass::RotateForOtherZones(int index, const Rpe3dSpec& spec, int64_t token) {
  const Rotation& rotation = decoder_.rotations_[decoder_.layer_rotaries_[index]];
  float* cosines = workspace_.private_angles_[team_.index()].data();
  float* sines = cosines + spec_.head_dim;
  for (const Rpe3dKeyZone zone : {Rpe3dKeyZone::kBefore, Rpe3dKeyZone::kOlder}) {
    float* queries = OtherQueries(zone, token);
    std::copy_n(Qkv(token), int64_t{spec_.num_heads} * spec_.head_dim, queries);
    Rpe3dQueryAngles(spec, rotation, zone, batch_->positions[token], cosines, sines);
    table_.rotate({.heads = queries,
                   .num_heads = spec_.num_heads,
                   .head_stride = spec_.head_dim,
                   .rotary_dim = spec_.head_dim,
                   .cosines = cosines,
                   .sines = sines,
                   .interleaved = false});
  }
}

void Decoder::Pass::ScaleQueries(int index, int64_t token) {
  const float factor = weights_.layers[index].query_factors[batch_->positions[token]];
  const auto scale = [&](float* queries) {
    for (int64_t i = 0; i < int64_t{spec_.num_heads} * spec_.head_dim; ++i) queries[i] *= factor;
  };
  scale(Qkv(token));
  if (ChunkedRpe3dOf(spec_.layers[index].position.scheme) == nullptr) return;
  scale(OtherQueries(Rpe3dKeyZone::kBefore, token));
  scale(OtherQueries(Rpe3dKeyZone::kOlder, token));
}

void Decoder::Pass::NormHeads(int index, float* heads) {
  const CpuLayer& layer = weights_.layers[index];
  const HeadNormSpec& norm = spec_.layers[index].attention.head_norm;
  const auto norm_some = [&](int num_heads, const Vectors& vectors, float* x) {
    const int64_t all = int64_t{num_heads} * spec_.head_dim, width = norm.all_heads ? all : spec_.head_dim;
    for (int64_t first = 0; first < all; first += width)
      Norm({norm.kind, norm.epsilon}, vectors, first, width, x + first, x + first);
  };
  norm_some(spec_.num_heads, layer.query_norm, heads);
  norm_some(spec_.num_kv_heads, layer.key_norm, heads + int64_t{spec_.num_heads} * spec_.head_dim);
}

void Decoder::Pass::RotateHeads(int rotary, int64_t token) {
  const RotarySpec& spec = decoder_.rotaries_[rotary];
  const int dim = RotaryDimOf(spec, spec_.head_dim);
  const int64_t at = workspace_.angle_offsets_[rotary] + token * (dim / 2);
  table_.rotate({.heads = Qkv(token),
                 .num_heads = spec_.num_heads + spec_.num_kv_heads,
                 .head_stride = spec_.head_dim,
                 .rotary_dim = dim,
                 .cosines = &workspace_.cosines_[at],
                 .sines = &workspace_.sines_[at],
                 .interleaved = PairingOf(spec) == RopePairing::kInterleaved});
}

// A member counts them for itself: it is sooner done than told.
void Decoder::Pass::CountAttentionPieces() {
  std::vector<int64_t>& first_pieces = workspace_.first_pieces_[team_.index()];
  std::vector<int64_t>& first_spans = workspace_.first_spans_[team_.index()];
  first_pieces.assign(1, 0);
  first_spans.assign(1, 0);
  for (size_t row = 0; row < batch_->page_tables.size(); ++row) {
    const int32_t last = batch_->row_starts[row + 1];
    first_pieces.push_back(first_pieces.back() +
                           CeilDiv<int64_t>(last - batch_->row_starts[row], kAttentionTokens));
    first_spans.push_back(first_spans.back() + batch_->positions[last - 1] / kernels::kAttentionSpan + 1);
  }
}

// What the member attends to of rows with one token, if nobody takes it from it: its share of the items of Attend.
void Decoder::Pass::FindKvAhead() {
  Ahead().Clear();
  if (num_tokens() < kSharingTokens) return;
  const std::vector<int64_t>& first_pieces = workspace_.first_pieces_[team_.index()];
  const std::vector<int64_t>& first_spans = workspace_.first_spans_[team_.index()];
  const Range share = PartOf(first_pieces.back() * spec_.num_kv_heads, team_.index(), team_.size());
  for (size_t row = 0; row < batch_->page_tables.size(); ++row) {
    const int64_t item = first_pieces[row] * spec_.num_kv_heads;
    const int32_t token = batch_->row_starts[row];
    if (item < share.first || item >= share.last || batch_->row_starts[row + 1] - token != 1) continue;
    if (!TakesHeadsTogether(first_spans[row + 1] - first_spans[row], first_spans.back())) continue;
    Ahead().AddRow(cache_->kv, batch_->page_tables[row].first(batch_->positions[token] / kPageTokens + 1));
  }
}

// Beside products from here to the attention of that layer, if there is one, and it sees all that is asked for.
void Decoder::Pass::AskForKvOf(int index) {
  Ahead().Begin(nullptr, 0);
  if (num_tokens() < kSharingTokens || index == spec_.num_layers()) return;
  const kernels::ScoreModifier& modifier = weights_.modifiers[index].modifier;
  if (modifier.window > 0 || modifier.chunk > 0 || Mixes(index) || AttendsBySpans(index)) return;
  const CpuLayer &layer = weights_.layers[index - 1], &next = weights_.layers[index];
  int64_t weights = 0;
  for (const CpuProjection* projection : {&layer.attention_output, &layer.ffn_input, &layer.down, &next.qkv})
    for (const CpuProjection::Part& part : projection->parts)
      weights += part.matrix.rows * part.matrix.columns;
  Ahead().Begin(cache_->data + index * cache_->layer_stride, weights * num_tokens() / team_.size());
}

// Whether a few sequences, each a token long, have more work than can be shared out by rows.
bool Decoder::Pass::AttendsBySpans(int index) const {
  const int64_t rows = batch_->page_tables.size();
  return table_.merge_spans != nullptr && team_.size() > 1 && num_tokens() == rows && rows <= kSpanRows &&
         !Mixes(index) && rows < kSharedItems * team_.size() &&
         workspace_.first_spans_[team_.index()].back() > rows;
}

// Whether an item of this share of all is small enough that all KV heads may be part of it: the pages of a sequence are
// then read by one member, nearly as they lie in memory (attention_inl.h).
bool Decoder::Pass::TakesHeadsTogether(int64_t share, int64_t all) const {
  return share * kSharedItems * team_.size() <= all;
}

// An item is a piece, a few tokens of a row, for one KV head; or one span of a row's only token.
void Decoder::Pass::Attend(int index) {
  const int heads = Mixes(index) ? 1 : spec_.num_kv_heads;
  if (!AttendsBySpans(index)) {
    team_.ForEach(workspace_.first_pieces_[team_.index()].back() * heads,
                  [&](int64_t item) { AttendItem(index, item / heads, static_cast<int>(item % heads)); });
    return;
  }
  const int64_t spans = workspace_.first_spans_[team_.index()].back();
  const int items = TakesHeadsTogether(1, spans) ? 1 : heads;
  team_.ForEach(spans * items, [&](int64_t item) {
    AttendSpanItem(index, item / items, static_cast<int>(item % items), heads / items);
  });
  team_.ForEach(num_tokens() * heads, [&](int64_t item) {
    table_.merge_spans(SpanArgs(index, item / heads, static_cast<int>(item % heads)));
  });
}

namespace {
// Of things counted over all rows, the row that has number `any`.
size_t RowWith(const std::vector<int64_t>& firsts, int64_t any) {
  return std::upper_bound(firsts.begin(), firsts.end(), any) - firsts.begin() - 1;
}
}  // namespace

// Where a row's only token takes all heads together, they are the first head's item, and those of the others are empty.
void Decoder::Pass::AttendItem(int index, int64_t any_piece, int head) {
  const std::vector<int64_t>& first_pieces = workspace_.first_pieces_[team_.index()];
  const std::vector<int64_t>& first_spans = workspace_.first_spans_[team_.index()];
  const size_t row = RowWith(first_pieces, any_piece);
  // The last tokens see most: they come first, so that no one is left with a long piece at the end.
  const int64_t piece = first_pieces[row + 1] - 1 - any_piece;
  const int32_t token = batch_->row_starts[row] + static_cast<int32_t>(piece) * kAttentionTokens;
  kernels::AttentionArgs args = AttentionOf(index, row, token, head);
  const bool is_alone = batch_->row_starts[row + 1] - batch_->row_starts[row] == 1;
  if (is_alone && !Mixes(index) &&
      TakesHeadsTogether(first_spans[row + 1] - first_spans[row], first_spans.back())) {
    if (head > 0) return;
    args.kv_heads = spec_.num_kv_heads;
  }
  table_.attention(args);
}

// `heads` KV heads from `head` on of one span of a row's only token.
void Decoder::Pass::AttendSpanItem(int index, int64_t any_span, int head, int heads) {
  const std::vector<int64_t>& first_spans = workspace_.first_spans_[team_.index()];
  const size_t row = RowWith(first_spans, any_span);
  kernels::AttentionArgs args = SpanArgs(index, row, head);
  args.span = static_cast<int32_t>(any_span - first_spans[row]);
  args.kv_heads = heads;
  table_.attention(args);
}

// Of the only token of a row, with the place of its spans: those of a row follow each other, all heads in each.
kernels::AttentionArgs Decoder::Pass::SpanArgs(int index, int64_t row, int head) const {
  kernels::AttentionArgs args = AttentionOf(index, row, batch_->row_starts[row], head);
  const int64_t query_floats = cache_->kv.padded_value_dim + kernels::kSpanHead;
  args.span_stride = spec_.num_heads * query_floats;
  args.spans = workspace_.spans_.as<float>() +
               workspace_.first_spans_[team_.index()][row] * args.span_stride +
               int64_t{head} * spec_.heads_per_kv_head() * query_floats;
  return args;
}

// The tokens of a row from `token` on, as many as one piece has.
kernels::AttentionArgs Decoder::Pass::AttentionOf(int index, int64_t row, int32_t token, int head) const {
  const int group = spec_.heads_per_kv_head();
  const int64_t column = int64_t{head} * group * spec_.head_dim;
  const bool has_zones = ChunkedRpe3dOf(spec_.layers[index].position.scheme) != nullptr;
  return {.kv = cache_->kv,
          .cache = cache_->data + index * cache_->layer_stride,
          .quad_stride = cache_->kv.quad_bytes,
          .page_table = batch_->page_tables[row].data(),
          .kv_head = head,
          .queries_per_token = group,
          .num_tokens = std::min(kAttentionTokens, batch_->row_starts[row + 1] - token),
          .first_position = batch_->positions[token],
          .queries = Qkv(token) + column,
          .query_stride = workspace_.qkv_stride_,
          .previous_queries = has_zones ? OtherQueries(Rpe3dKeyZone::kBefore, token) + column : nullptr,
          .older_queries = has_zones ? OtherQueries(Rpe3dKeyZone::kOlder, token) + column : nullptr,
          .out = workspace_.attention_.as<float>() + token * workspace_.attention_stride_ +
                 int64_t{head} * group * spec_.value_dim,
          .out_stride = workspace_.attention_stride_,
          .scale = spec_.layers[index].attention.scale,
          .modifier = weights_.modifiers[index].modifier,
          .scratch = workspace_.scratch_[team_.index()].data()};
}

void Decoder::Pass::AddAttention(int index) {
  const CpuLayer& layer = weights_.layers[index];
  AskForKvOf(index + 1);
  AddToHidden({workspace_.attention_.as<float>(), workspace_.attention_stride_, num_tokens()},
              layer.attention_output, layer.attention_post_norm,
              spec_.layers[index].ffn.has_experts() ? &layer.router : &layer.ffn_input);
  if (spec_.block.norms_sum) NormStream(layer.attention_norm);
}

}  // namespace ropeway
