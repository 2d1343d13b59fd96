#include "engine/exec/cpu/pass.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/model/decoder_phases.h"
#include "engine/position/rpe3d.h"

namespace ropeway {
namespace {

using kernels::ActivationKind;
using kernels::Epilogue;
using kernels::kPanelRows;
using kernels::kPrepareTokens;

// Tokens of one piece of attention work.
constexpr int kAttentionTokens = 16;

// Tokens of one piece of what is done token by token.
constexpr int64_t kPieceTokens = 8;

// Multiplications of one piece of a product, at least, and pieces per member, at most: what a member that
// lost its core holds up, and how finely the others can help it. A core of an EPYC does some 90 thousand
// million a second in a prompt of 512 of SmolLM2, and 20 for one token: a piece takes 6 us there, 26 us here.
constexpr int64_t kPieceProducts = int64_t{1} << 19;
constexpr int64_t kMostPieces = 8;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr ActivationKind kKinds[] = {ActivationKind::kInt8, ActivationKind::kFloat};

int64_t Padded(int64_t columns, int64_t multiple) { return (columns + multiple - 1) / multiple * multiple; }

// Room for whole panels in every row, and rows that do not lie a multiple of 4 KB apart, where they would
// compete for the same lines of the cache.
int64_t Stride(int64_t columns) {
  const int64_t stride = Padded(columns, kPanelRows);
  return stride * sizeof(float) % 4096 == 0 ? stride + 16 : stride;
}

// Chunked 3D-RPE of a layer; null where it has none.
const Rpe3dSpec* ZonesOf(const LayerSpec& layer) {
  const auto* rpe3d = std::get_if<Rpe3dSpec>(&layer.position.scheme);
  return rpe3d != nullptr && rpe3d->form == Rpe3dForm::kChunked ? rpe3d : nullptr;
}

bool HasZones(const DecoderSpec& spec) {
  return std::any_of(spec.layers.begin(), spec.layers.end(),
                     [](const LayerSpec& layer) { return ZonesOf(layer) != nullptr; });
}

int WidestMixer(const DecoderSpec& spec) {
  int widest = 0;
  for (const LayerSpec& layer : spec.layers)
    if (const auto* dape = std::get_if<DapeSpec>(&layer.position.scheme))
      widest = std::max(widest, dape->width);
  return widest;
}

AlignedBuffer Floats(int64_t count) { return AlignedBuffer(count * static_cast<int64_t>(sizeof(float))); }

struct NormFormula {
  NormKind kind;
  float epsilon;
};

// Of `n` columns, by vectors that begin at column `first`.
void Norm(const kernels::KernelTable& table, const NormFormula& formula,
          const NormWeights<std::vector<float>>& norm, int64_t first, int64_t n, const float* x, float* out) {
  const float* weight = norm.weight.data() + first;
  const float* bias = norm.bias.empty() ? nullptr : norm.bias.data() + first;
  if (formula.kind == NormKind::kRms)
    table.rms_norm(x, weight, n, formula.epsilon, out);
  else
    table.layer_norm(x, weight, bias, n, formula.epsilon, out);
}

}  // namespace

Workspace::Workspace(const DecoderSpec& spec, const kernels::KernelTable& table, const kernels::KvLayout& kv,
                     int threads, int max_tokens, int max_logit_rows)
    : max_tokens_(max_tokens),
      max_logit_rows_(max_logit_rows),
      hidden_stride_(Stride(spec.hidden_size)),
      qkv_stride_(Stride(spec.qkv_size())),
      attention_stride_(Stride(int64_t{spec.num_heads} * spec.value_dim)),
      ffn_stride_(Stride(spec.max_ffn_size())),
      logit_stride_(Stride(spec.vocab_size)) {
  const int64_t rows = std::max(max_tokens, max_logit_rows);
  hidden_ = Floats(max_tokens * hidden_stride_);
  branch_ = Floats(rows * hidden_stride_);
  normed_ = Floats(int64_t{threads} * kPrepareTokens * hidden_stride_);
  qkv_ = Floats(max_tokens * qkv_stride_);
  attention_ = Floats(max_tokens * attention_stride_);
  ffn_ = Floats(max_tokens * ffn_stride_);
  logits_ = Floats(max_logit_rows * logit_stride_);
  const int64_t widest =
      std::max<int64_t>({spec.hidden_size, int64_t{spec.num_heads} * spec.value_dim, spec.max_ffn_size()});
  for (ActivationKind kind : kKinds) {
    const int64_t columns = Padded(widest, kQuantBlock);
    activations_[static_cast<int>(kind)] = AlignedBuffer(table.activation_bytes(kind, rows, columns));
    for (int i = 0; i < threads; ++i)
      private_activations_.emplace_back(table.activation_bytes(kind, kPrepareTokens, columns));
  }
  if (HasZones(spec)) {
    previous_queries_ = Floats(max_tokens * qkv_stride_);
    older_queries_ = Floats(max_tokens * qkv_stride_);
  }
  for (int i = 0; i < threads; ++i) {
    scratch_.emplace_back(table.attention_scratch_bytes(kv, spec.num_heads, WidestMixer(spec)));
    private_angles_.emplace_back(2 * int64_t{spec.head_dim});
  }
  int64_t angles = 0;
  for (const RotarySpec& rotary : spec.Rotaries()) {
    angle_offsets_.push_back(angles);
    angles += int64_t{max_tokens} * (RotaryDimOf(rotary, spec.head_dim) / 2);
  }
  cosines_.resize(angles);
  sines_.resize(angles);
  first_pieces_.resize(threads);
}

// One member's way through one step: the phases of decoder_phases.h. Each phase ends when all members may
// read what it wrote.
class Decoder::Pass {
 public:
  using Vectors = NormWeights<std::vector<float>>;

  Pass(const Decoder& decoder, Workspace& workspace, Team& team)
      : decoder_(decoder),
        spec_(decoder.spec_),
        weights_(decoder.weights_),
        table_(*decoder.table_),
        workspace_(workspace),
        team_(team) {}

  void Forward(const TokenBatch& batch, const KvCache& cache);
  void Logits(absl::Span<const int32_t> indices);

  void Embed();
  void ProjectQkv(int index);
  void RotateAndStore(int index);
  void Attend(int index);
  void AddAttention(int index);
  void ProjectFfn(int index);
  void AddFeedForward(int index);

  void NormOutput();
  void ProjectOutput();
  void FinishLogits();

 private:
  float* Hidden(int64_t token) { return workspace_.hidden_.as<float>() + token * workspace_.hidden_stride_; }
  float* Branch(int64_t token) { return workspace_.branch_.as<float>() + token * workspace_.hidden_stride_; }
  float* Qkv(int64_t token) { return workspace_.qkv_.as<float>() + token * workspace_.qkv_stride_; }
  float* Keys(int64_t token) { return Qkv(token) + int64_t{spec_.num_heads} * spec_.head_dim; }
  float* Values(int64_t token) { return Keys(token) + int64_t{spec_.num_kv_heads} * spec_.head_dim; }
  float* OtherQueries(Rpe3dKeyZone zone, int64_t token) {
    AlignedBuffer& queries =
        zone == Rpe3dKeyZone::kBefore ? workspace_.previous_queries_ : workspace_.older_queries_;
    return queries.as<float>() + token * workspace_.qkv_stride_;
  }
  int64_t num_tokens() const { return batch_->token_ids.size(); }
  int64_t RowOf(int64_t token) const {
    const auto after = std::upper_bound(batch_->row_starts.begin(), batch_->row_starts.end(), token);
    return after - batch_->row_starts.begin() - 1;
  }
  // Pieces of attention go by KV heads; a mixer takes all heads together.
  int HeadItems(int index) const {
    return weights_.modifiers[index].modifier.mixer.width > 0 ? 1 : spec_.num_kv_heads;
  }

  // The rows that a product multiplies.
  struct Input {
    const float* x;  // [num_tokens, x_stride]
    int64_t x_stride;
    int64_t num_tokens;
    const Vectors* norm = nullptr;  // applied first, where the model has it; null: none
  };
  // Where a product goes.
  struct Output {
    float* y;  // [num_tokens, y_stride]
    int64_t y_stride;
    Epilogue epilogue = Epilogue::kStore;
    Activation activation = Activation::kSilu;
  };

  // body(token) for all tokens [0, count), some tokens a piece.
  template <typename Body>
  void ForEachToken(int64_t count, const Body& body);
  void FindAngles(int64_t token);
  void CountAttentionPieces();
  void FinishHeads(int index, int64_t token);
  void NormHeads(int index, float* heads);
  void RotateHeads(int rotary, int64_t token);
  void RotateForOtherZones(int index, const Rpe3dSpec& spec, int64_t token);
  void ScaleQueries(int index, int64_t token);
  void RotateAndStoreToken(int index, int64_t token);
  void AttendItem(int index, int64_t item);

  void NormRow(const Vectors& norm, const float* x, float* out) const;
  void AddToHidden(const Input& input, const CpuProjection& projection, const Vectors& post_norm,
                   const CpuProjection* next);
  void PrepareGroup(const Input& input, const CpuProjection& consumer, int64_t group);
  uint8_t* Activations(ActivationKind kind, int64_t num_tokens);
  void Multiply(const Input& input, const CpuProjection& projection, const Output& output,
                const CpuProjection* next);
  void MultiplyPanels(int64_t num_tokens, const CpuProjection& projection, Range panels, const Output& output,
                      const CpuProjection* next);

  const Decoder& decoder_;
  const DecoderSpec& spec_;
  const CpuWeights& weights_;
  const kernels::KernelTable& table_;
  Workspace& workspace_;
  Team& team_;
  const TokenBatch* batch_ = nullptr;  // of Forward
  const KvCache* cache_ = nullptr;     // of Forward
  absl::Span<const int32_t> indices_;  // of Logits
};

void Decoder::Pass::Forward(const TokenBatch& batch, const KvCache& cache) {
  batch_ = &batch;
  cache_ = &cache;
  RunDecoder(spec_, *this);
}

void Decoder::Pass::Logits(absl::Span<const int32_t> indices) {
  indices_ = indices;
  RunLogits(*this);
}

template <typename Body>
void Decoder::Pass::ForEachToken(int64_t count, const Body& body) {
  team_.ForEach(CeilDiv(count, kPieceTokens), [&](int64_t piece) {
    const int64_t last = std::min((piece + 1) * kPieceTokens, count);
    for (int64_t t = piece * kPieceTokens; t < last; ++t) body(t);
  });
}

void Decoder::Pass::Embed() {
  CountAttentionPieces();
  ForEachToken(num_tokens(), [&](int64_t t) {
    float* x = Hidden(t);
    weights_.Embed(batch_->token_ids[t], x);
    if (spec_.embedding_scale != 1)
      for (int64_t i = 0; i < spec_.hidden_size; ++i) x[i] *= spec_.embedding_scale;
    if (!weights_.input_positions.empty())
      table_.add(&weights_.input_positions[int64_t{batch_->positions[t]} * spec_.hidden_size], 1,
                 spec_.hidden_size, x);
    if (spec_.embedding_norm) NormRow(weights_.embedding_norm, x, x);
    FindAngles(t);
  });
}

void Decoder::Pass::FindAngles(int64_t token) {
  for (size_t n = 0; n < decoder_.rotaries_.size(); ++n) {
    const RotarySpec& rotary = decoder_.rotaries_[n];
    const int64_t at = workspace_.angle_offsets_[n] + token * (RotaryDimOf(rotary, spec_.head_dim) / 2);
    float *cosines = &workspace_.cosines_[at], *sines = &workspace_.sines_[at];
    if (!DependsOnLengths(rotary)) {
      RopeAngles(decoder_.rotations_[n], batch_->positions[token], cosines, sines);
      continue;
    }
    const double choice = RotaryChoice(rotary, batch_->lengths[RowOf(token)]);
    RopeAngles(RotationOf(rotary, spec_.head_dim, choice), batch_->positions[token], cosines, sines);
  }
}

void Decoder::Pass::ProjectQkv(int index) {
  const CpuLayer& layer = weights_.layers[index];
  Multiply({Hidden(0), workspace_.hidden_stride_, num_tokens(), &layer.attention_norm}, layer.qkv,
           {Qkv(0), workspace_.qkv_stride_}, &layer.attention_output);
}

// Keys and values to the cache.
void Decoder::Pass::RotateAndStore(int index) {
  ForEachToken(num_tokens(), [&](int64_t t) { RotateAndStoreToken(index, t); });
}

void Decoder::Pass::RotateAndStoreToken(int index, int64_t token) {
  FinishHeads(index, token);
  const int32_t position = batch_->positions[token];
  const int64_t page = batch_->page_tables[RowOf(token)][position / kPageTokens];
  table_.store_kv({.kv = cache_->kv,
                   .page = cache_->data + index * cache_->layer_stride + page * cache_->kv.page_bytes,
                   .slot = position % kPageTokens,
                   .keys = Keys(token),
                   .values = Values(token)});
}

// What happens to a token's queries, keys and values between product and attention.
void Decoder::Pass::FinishHeads(int index, int64_t token) {
  const AttentionSpec& attention = spec_.layers[index].attention;
  float* heads = Qkv(token);
  if (attention.clip > 0)
    for (int64_t i = 0; i < spec_.qkv_size(); ++i)
      heads[i] = std::clamp(heads[i], -attention.clip, attention.clip);
  const bool has_norm = attention.head_norm.kind != NormKind::kNone;
  if (has_norm && !attention.head_norm.after_rotation) NormHeads(index, heads);
  if (const Rpe3dSpec* zones = ZonesOf(spec_.layers[index])) RotateForOtherZones(index, *zones, token);
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
  if (ZonesOf(spec_.layers[index]) == nullptr) return;
  scale(OtherQueries(Rpe3dKeyZone::kBefore, token));
  scale(OtherQueries(Rpe3dKeyZone::kOlder, token));
}

void Decoder::Pass::NormHeads(int index, float* heads) {
  const CpuLayer& layer = weights_.layers[index];
  const HeadNormSpec& norm = spec_.layers[index].attention.head_norm;
  const auto norm_some = [&](int num_heads, const Vectors& vectors, float* x) {
    const int64_t all = int64_t{num_heads} * spec_.head_dim, width = norm.all_heads ? all : spec_.head_dim;
    for (int64_t first = 0; first < all; first += width)
      Norm(table_, {norm.kind, norm.epsilon}, vectors, first, width, x + first, x + first);
  };
  norm_some(spec_.num_heads, layer.query_norm, heads);
  norm_some(spec_.num_kv_heads, layer.key_norm, heads + int64_t{spec_.num_heads} * spec_.head_dim);
}

void Decoder::Pass::NormRow(const Vectors& norm, const float* x, float* out) const {
  Norm(table_, {spec_.norm.kind, spec_.norm.epsilon}, norm, 0, spec_.hidden_size, x, out);
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
  first_pieces.assign(1, 0);
  for (size_t row = 0; row < batch_->page_tables.size(); ++row) {
    const int64_t tokens = batch_->row_starts[row + 1] - batch_->row_starts[row];
    first_pieces.push_back(first_pieces.back() + CeilDiv(tokens, kAttentionTokens));
  }
}

// An item is a piece, a few tokens of a row, for one KV head.
void Decoder::Pass::Attend(int index) {
  team_.ForEach(workspace_.first_pieces_[team_.index()].back() * HeadItems(index),
                [&](int64_t item) { AttendItem(index, item); });
}

void Decoder::Pass::AttendItem(int index, int64_t item) {
  const std::vector<int64_t>& first_pieces = workspace_.first_pieces_[team_.index()];
  const int heads = HeadItems(index), head = static_cast<int>(item % heads);
  const int64_t any_piece = item / heads;
  const size_t row =
      std::upper_bound(first_pieces.begin(), first_pieces.end(), any_piece) - first_pieces.begin() - 1;
  // The last tokens see most: they come first, so that no one is left with a long piece at the end.
  const int64_t piece = first_pieces[row + 1] - 1 - any_piece;
  const int group = spec_.heads_per_kv_head();
  const int32_t token = batch_->row_starts[row] + static_cast<int32_t>(piece) * kAttentionTokens;
  const int64_t column = int64_t{head} * group * spec_.head_dim;
  const bool has_zones = ZonesOf(spec_.layers[index]) != nullptr;
  table_.attention(
      {.kv = cache_->kv,
       .cache = cache_->data + index * cache_->layer_stride,
       .page_stride = cache_->kv.page_bytes,
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
       .scratch = workspace_.scratch_[team_.index()].data()});
}

void Decoder::Pass::AddAttention(int index) {
  const CpuLayer& layer = weights_.layers[index];
  AddToHidden({workspace_.attention_.as<float>(), workspace_.attention_stride_, num_tokens()},
              layer.attention_output, layer.attention_post_norm, &layer.ffn_input);
}

void Decoder::Pass::ProjectFfn(int index) {
  const CpuLayer& layer = weights_.layers[index];
  const FfnSpec& ffn = spec_.layers[index].ffn;
  Multiply({Hidden(0), workspace_.hidden_stride_, num_tokens(), &layer.ffn_norm}, layer.ffn_input,
           {workspace_.ffn_.as<float>(), workspace_.ffn_stride_,
            ffn.gated ? Epilogue::kGate : Epilogue::kActivate, ffn.activation},
           &layer.down);
}

void Decoder::Pass::AddFeedForward(int index) {
  const CpuLayer& layer = weights_.layers[index];
  const CpuProjection& next =
      index + 1 < spec_.num_layers() ? weights_.layers[index + 1].qkv : weights_.output;
  AddToHidden({workspace_.ffn_.as<float>(), workspace_.ffn_stride_, num_tokens()}, layer.down,
              layer.ffn_post_norm, &next);
}

// The end of a block: hidden += scale * projection, or hidden += scale * norm(projection).
void Decoder::Pass::AddToHidden(const Input& input, const CpuProjection& projection, const Vectors& post_norm,
                                const CpuProjection* next) {
  const BlockSpec& block = spec_.block;
  if (!block.post_norm && block.residual_scale == 1) {
    Multiply(input, projection, {Hidden(0), workspace_.hidden_stride_, Epilogue::kAdd}, next);
    return;
  }
  Multiply(input, projection, {Branch(0), workspace_.hidden_stride_}, next);
  ForEachToken(input.num_tokens, [&](int64_t t) {
    if (block.post_norm) NormRow(post_norm, Branch(t), Branch(t));
    table_.add(Branch(t), block.residual_scale, spec_.hidden_size, Hidden(t));
  });
}

// Few tokens are prepared by every member for itself, which costs no more than waiting for another to do it,
// and no phase.
uint8_t* Decoder::Pass::Activations(ActivationKind kind, int64_t num_tokens) {
  if (num_tokens > kPrepareTokens) return workspace_.activations_[static_cast<int>(kind)].data();
  const int64_t threads = workspace_.scratch_.size();
  return workspace_.private_activations_[static_cast<int>(kind) * threads + team_.index()].data();
}

// One group of tokens: normed, where asked for, and brought into every form that the consumer's matrices
// multiply.
void Decoder::Pass::PrepareGroup(const Input& input, const CpuProjection& consumer, int64_t group) {
  const int64_t columns = consumer.parts[0].matrix.columns, first = group * kPrepareTokens;
  const int64_t tokens = std::min<int64_t>(kPrepareTokens, input.num_tokens - first);
  const float* rows = input.x + first * input.x_stride;
  int64_t stride = input.x_stride;
  if (input.norm != nullptr && !input.norm->weight.empty()) {
    float* normed =
        workspace_.normed_.as<float>() + team_.index() * kPrepareTokens * workspace_.hidden_stride_;
    for (int64_t t = 0; t < tokens; ++t)
      NormRow(*input.norm, rows + t * stride, normed + t * workspace_.hidden_stride_);
    rows = normed;
    stride = workspace_.hidden_stride_;
  }
  for (ActivationKind kind : kKinds) {
    const bool wanted =
        std::any_of(consumer.parts.begin(), consumer.parts.end(),
                    [&](const CpuProjection::Part& part) { return part.matrix.activation == kind; });
    if (!wanted) continue;
    table_.prepare({.kind = kind,
                    .x = rows,
                    .x_stride = stride,
                    .num_tokens = input.num_tokens,
                    .columns = columns,
                    .out = Activations(kind, input.num_tokens),
                    .groups = {group, group + 1}});
  }
}

// Panels are counted over all matrices of the projection.
void Decoder::Pass::Multiply(const Input& input, const CpuProjection& projection, const Output& output,
                             const CpuProjection* next) {
  int64_t panels = 0, products = 0;
  for (const CpuProjection::Part& part : projection.parts) {
    panels += part.matrix.num_panels;
    products += part.matrix.rows * part.matrix.columns * input.num_tokens;
  }
  const bool together = input.num_tokens > kPrepareTokens;
  if (together)
    team_.ForEach(kernels::NumPrepareGroups(input.num_tokens),
                  [&](int64_t group) { PrepareGroup(input, projection, group); });
  const int64_t per_member = std::clamp<int64_t>(products / kPieceProducts / team_.size(), 1, kMostPieces);
  const int64_t pieces = std::min(panels, per_member * team_.size());
  bool prepared = together;
  team_.ForEach(pieces, [&](int64_t piece) {
    if (!prepared) PrepareGroup(input, projection, 0);
    prepared = true;
    MultiplyPanels(input.num_tokens, projection, {panels * piece / pieces, panels * (piece + 1) / pieces},
                   output, next);
  });
}

void Decoder::Pass::MultiplyPanels(int64_t num_tokens, const CpuProjection& projection, Range panels,
                                   const Output& output, const CpuProjection* next) {
  int64_t first = 0;
  for (const CpuProjection::Part& part : projection.parts) {
    const kernels::PackedMatrix& matrix = part.matrix;
    const Range range{std::max<int64_t>(panels.first - first, 0),
                      std::min(panels.last - first, matrix.num_panels)};
    first += matrix.num_panels;
    if (range.first >= range.last) continue;
    // What is read next: the panel that follows, or the member's first one of the product to come.
    const kernels::PackedMatrix* after = next == nullptr ? nullptr : &next->parts[0].matrix;
    int64_t after_panel = after == nullptr ? 0 : PartOf(after->num_panels, team_.index(), team_.size()).first;
    if (range.last < PartOf(matrix.num_panels, team_.index(), team_.size()).last) {
      after = &matrix;
      after_panel = range.last;
    }
    table_.matmul({.matrix = &matrix,
                   .activations = Activations(matrix.activation, num_tokens),
                   .num_tokens = num_tokens,
                   .y = output.y + part.first_output,
                   .y_stride = output.y_stride,
                   .epilogue = output.epilogue,
                   .activation = output.activation,
                   .bias = projection.bias.empty() ? nullptr : projection.bias.data() + part.first_output,
                   .panels = range,
                   .next = after == nullptr ? nullptr : after->panel(after_panel),
                   .next_bytes = after == nullptr ? 0 : after->panel_bytes});
  }
}

// Gathers the rows that were chosen, so that they lie side by side.
void Decoder::Pass::NormOutput() {
  ForEachToken(indices_.size(),
               [&](int64_t i) { std::copy_n(Hidden(indices_[i]), spec_.hidden_size, Branch(i)); });
}

void Decoder::Pass::ProjectOutput() {
  Multiply(
      {Branch(0), workspace_.hidden_stride_, static_cast<int64_t>(indices_.size()), &weights_.output_norm},
      weights_.output, {workspace_.logits_.as<float>(), workspace_.logit_stride_}, nullptr);
}

// The product has added the bias.
void Decoder::Pass::FinishLogits() {
  if (spec_.logit_softcap == 0) return;
  team_.ForEach(indices_.size(), [&](int64_t i) {
    table_.softcap(spec_.logit_softcap, spec_.vocab_size, workspace_.mutable_logits(static_cast<int>(i)));
  });
}

Decoder::Decoder(DecoderSpec spec, CpuWeights weights, const kernels::KernelTable& table)
    : spec_(std::move(spec)), weights_(std::move(weights)), table_(&table), rotaries_(spec_.Rotaries()) {
  for (const RotarySpec& rotary : rotaries_) rotations_.push_back(RotationOf(rotary, spec_.head_dim, 0));
  for (const LayerSpec& layer : spec_.layers) layer_rotaries_.push_back(RotaryIndexOf(layer, rotaries_));
}

void Decoder::Forward(const TokenBatch& batch, const KvCache& cache, Workspace& workspace, Team& team) const {
  ROPEWAY_DCHECK(batch.token_ids.size() <= static_cast<size_t>(workspace.max_tokens()));
  Pass(*this, workspace, team).Forward(batch, cache);
}

void Decoder::Logits(absl::Span<const int32_t> indices, Workspace& workspace, Team& team) const {
  ROPEWAY_DCHECK(indices.size() <= static_cast<size_t>(workspace.max_logit_rows()));
  Pass(*this, workspace, team).Logits(indices);
}

}  // namespace ropeway
