#include "engine/exec/cpu/pass.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/model/decoder_phases.h"

namespace ropeway {
namespace {

using kernels::ActivationKind;
using kernels::Epilogue;
using kernels::kPanelRows;
using kernels::kPrepareTokens;

// Tokens of one piece of attention work.
constexpr int kAttentionTokens = 16;

constexpr ActivationKind kKinds[] = {ActivationKind::kInt8, ActivationKind::kFloat};

int64_t Padded(int64_t columns, int64_t multiple) { return (columns + multiple - 1) / multiple * multiple; }

// Room for whole panels in every row, and rows that do not lie a multiple of 4 KB apart, where they would
// compete for the same lines of the cache.
int64_t Stride(int64_t columns) {
  const int64_t stride = Padded(columns, kPanelRows);
  return stride * sizeof(float) % 4096 == 0 ? stride + 16 : stride;
}

AlignedBuffer Floats(int64_t count) { return AlignedBuffer(count * static_cast<int64_t>(sizeof(float))); }

}  // namespace

Workspace::Workspace(const DecoderSpec& spec, const kernels::KernelTable& table, const kernels::KvLayout& kv,
                     int threads, int max_tokens, int max_logit_rows)
    : max_tokens_(max_tokens),
      max_logit_rows_(max_logit_rows),
      hidden_stride_(Stride(spec.hidden_size)),
      qkv_stride_(Stride(int64_t{spec.num_heads + spec.num_kv_heads} * spec.head_dim +
                         int64_t{spec.num_kv_heads} * spec.value_dim)),
      attention_stride_(Stride(int64_t{spec.num_heads} * spec.value_dim)),
      ffn_stride_(Stride(spec.ffn_size)),
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
      std::max<int64_t>({spec.hidden_size, int64_t{spec.num_heads} * spec.value_dim, spec.ffn_size});
  for (ActivationKind kind : kKinds) {
    const int64_t columns = Padded(widest, kQuantBlock);
    activations_[static_cast<int>(kind)] = AlignedBuffer(table.activation_bytes(kind, rows, columns));
    for (int i = 0; i < threads; ++i)
      private_activations_.emplace_back(table.activation_bytes(kind, kPrepareTokens, columns));
  }
  for (int i = 0; i < threads; ++i)
    scratch_.emplace_back(table.attention_scratch_bytes(kv, spec.num_heads, 0));
  int64_t angles = 0;
  for (const RopeSpec& rope : spec.ropes) {
    angle_offsets_.push_back(angles);
    angles += int64_t{max_tokens} * (rope.rotary_dim / 2);
  }
  cosines_.resize(angles);
  sines_.resize(angles);
  next_item_ = std::make_unique<std::atomic<int64_t>[]>(spec.layers.size());
}

// One member's way through one step: the phases of decoder_phases.h. Each phase ends when all members may
// read what it wrote.
class Decoder::Pass {
 public:
  Pass(const Decoder& decoder, Workspace& workspace, Team& team)
      : spec_(decoder.spec_),
        weights_(decoder.weights_),
        table_(*decoder.table_),
        frequencies_(decoder.frequencies_),
        workspace_(workspace),
        team_(team) {}

  void Forward(const TokenBatch& batch, const KvCache& cache);
  void Logits(absl::Span<const int32_t> indices);

  void Embed();
  void ProjectQkv(int index);
  void RotateAndStore(int index);
  void Attend(int index);
  void AddAttention(int index);
  void ProjectGateUp(int index);
  void AddFeedForward(int index);

  void NormOutput();
  void ProjectOutput();
  void SoftcapLogits();

 private:
  Range Mine(int64_t count) const { return PartOf(count, team_.index(), team_.size()); }
  float* Hidden(int64_t token) { return workspace_.hidden_.as<float>() + token * workspace_.hidden_stride_; }
  float* Branch(int64_t token) { return workspace_.branch_.as<float>() + token * workspace_.hidden_stride_; }
  float* Qkv(int64_t token) { return workspace_.qkv_.as<float>() + token * workspace_.qkv_stride_; }
  float* Keys(int64_t token) { return Qkv(token) + int64_t{spec_.num_heads} * spec_.head_dim; }
  float* Values(int64_t token) { return Keys(token) + int64_t{spec_.num_kv_heads} * spec_.head_dim; }
  int64_t num_tokens() const { return batch_->token_ids.size(); }

  void FindAngles();
  void NormHeads(const LayerWeights& layer, float* heads);
  void RotateHeads(int rope, int64_t token);
  void AttendPiece(int index, size_t row, int64_t piece, int head);

  void AddToHidden(const Projection& projection, const std::vector<float>& post_norm, const Projection* next);
  void Prepare(const float* x, int64_t x_stride, int64_t num_tokens, const Projection& consumer,
               const std::vector<float>* norm);
  void PrepareGroup(const float* x, int64_t x_stride, const Projection& consumer,
                    const std::vector<float>* norm, int64_t group);
  uint8_t* Activations(ActivationKind kind);
  void Multiply(const Projection& projection, float* y, int64_t y_stride, Epilogue epilogue,
                const Projection* next);

  const DecoderSpec& spec_;
  const DecoderWeights& weights_;
  const kernels::KernelTable& table_;
  const std::vector<std::vector<double>>& frequencies_;
  Workspace& workspace_;
  Team& team_;
  const TokenBatch* batch_ = nullptr;  // of Forward
  const KvCache* cache_ = nullptr;     // of Forward
  absl::Span<const int32_t> indices_;  // of Logits
  int64_t num_tokens_ = 0;             // of the product that Prepare last prepared for
};

void Decoder::Pass::Forward(const TokenBatch& batch, const KvCache& cache) {
  batch_ = &batch;
  cache_ = &cache;
  RunDecoder(spec_, *this);
}

void Decoder::Pass::Logits(absl::Span<const int32_t> indices) {
  indices_ = indices;
  RunLogits(spec_, *this);
}

void Decoder::Pass::Embed() {
  const Range mine = Mine(num_tokens());
  for (int64_t t = mine.first; t < mine.last; ++t) {
    weights_.Embed(batch_->token_ids[t], Hidden(t));
    if (spec_.embedding_scale == 1) continue;
    for (int64_t i = 0; i < spec_.hidden_size; ++i) Hidden(t)[i] *= spec_.embedding_scale;
  }
  if (team_.index() == 0)
    for (int i = 0; i < spec_.num_layers(); ++i) workspace_.next_item_[i].store(0, std::memory_order_relaxed);
  FindAngles();
  team_.Wait();
}

void Decoder::Pass::FindAngles() {
  const Range mine = Mine(num_tokens());
  for (size_t rope = 0; rope < spec_.ropes.size(); ++rope) {
    const int64_t half = spec_.ropes[rope].rotary_dim / 2, base = workspace_.angle_offsets_[rope];
    for (int64_t t = mine.first; t < mine.last; ++t)
      RopeAngles(spec_.ropes[rope], frequencies_[rope], batch_->positions[t],
                 &workspace_.cosines_[base + t * half], &workspace_.sines_[base + t * half]);
  }
}

void Decoder::Pass::ProjectQkv(int index) {
  const LayerWeights& layer = weights_.layers()[index];
  Prepare(Hidden(0), workspace_.hidden_stride_, num_tokens(), layer.qkv, &layer.attention_norm);
  Multiply(layer.qkv, Qkv(0), workspace_.qkv_stride_, Epilogue::kStore, &layer.attention_output);
  team_.Wait();
}

// Queries and keys: norm, where the model has one, and rotation. Keys and values to the cache.
void Decoder::Pass::RotateAndStore(int index) {
  const LayerWeights& layer = weights_.layers()[index];
  const Range mine = Mine(num_tokens());
  uint8_t* pages = cache_->data + index * cache_->layer_stride;
  size_t row = 0;
  for (int64_t t = mine.first; t < mine.last; ++t) {
    if (spec_.qk_norm) NormHeads(layer, Qkv(t));
    if (const int rope = spec_.layers[index].rope; rope >= 0) RotateHeads(rope, t);
    while (t >= batch_->row_starts[row + 1]) ++row;
    const int32_t position = batch_->positions[t];
    table_.store_kv({.kv = cache_->kv,
                     .page = pages + batch_->page_tables[row][position / kPageSize] * cache_->kv.page_bytes,
                     .slot = position % kPageSize,
                     .keys = Keys(t),
                     .values = Values(t)});
  }
  team_.Wait();
}

void Decoder::Pass::NormHeads(const LayerWeights& layer, float* heads) {
  for (int head = 0; head < spec_.num_heads + spec_.num_kv_heads; ++head) {
    float* x = heads + int64_t{head} * spec_.head_dim;
    const std::vector<float>& norm = head < spec_.num_heads ? layer.query_norm : layer.key_norm;
    table_.rms_norm(x, norm.data(), spec_.head_dim, spec_.norm_epsilon, x);
  }
}

void Decoder::Pass::RotateHeads(int rope, int64_t token) {
  const RopeSpec& spec = spec_.ropes[rope];
  const int64_t base = workspace_.angle_offsets_[rope] + token * (spec.rotary_dim / 2);
  table_.rotate({.heads = Qkv(token),
                 .num_heads = spec_.num_heads + spec_.num_kv_heads,
                 .head_stride = spec_.head_dim,
                 .rotary_dim = spec.rotary_dim,
                 .cosines = &workspace_.cosines_[base],
                 .sines = &workspace_.sines_[base],
                 .interleaved = spec.pairing == RopePairing::kInterleaved});
}

// Pieces of work, a few tokens of a row for one KV head each, go to whoever is free.
void Decoder::Pass::Attend(int index) {
  std::atomic<int64_t>& next = workspace_.next_item_[index];
  int64_t first = 0, item = next.fetch_add(1, std::memory_order_relaxed);
  for (size_t row = 0; row < batch_->page_tables.size(); ++row) {
    const int32_t tokens = batch_->row_starts[row + 1] - batch_->row_starts[row];
    const int64_t pieces = (tokens + kAttentionTokens - 1) / kAttentionTokens,
                  items = pieces * spec_.num_kv_heads;
    for (; item < first + items; item = next.fetch_add(1, std::memory_order_relaxed)) {
      // The last tokens see most: they come first, so that no one is left with a long piece at the end.
      const int64_t piece = pieces - 1 - (item - first) / spec_.num_kv_heads;
      AttendPiece(index, row, piece, static_cast<int>((item - first) % spec_.num_kv_heads));
    }
    first += items;
  }
  team_.Wait();
}

void Decoder::Pass::AttendPiece(int index, size_t row, int64_t piece, int head) {
  const int group = spec_.heads_per_kv_head();
  const int32_t token = batch_->row_starts[row] + static_cast<int32_t>(piece) * kAttentionTokens;
  table_.attention({.kv = cache_->kv,
                    .cache = cache_->data + index * cache_->layer_stride,
                    .page_stride = cache_->kv.page_bytes,
                    .page_table = batch_->page_tables[row].data(),
                    .kv_head = head,
                    .queries_per_token = group,
                    .num_tokens = std::min(kAttentionTokens, batch_->row_starts[row + 1] - token),
                    .first_position = batch_->positions[token],
                    .queries = Qkv(token) + int64_t{head} * group * spec_.head_dim,
                    .query_stride = workspace_.qkv_stride_,
                    .out = workspace_.attention_.as<float>() + token * workspace_.attention_stride_ +
                           int64_t{head} * group * spec_.value_dim,
                    .out_stride = workspace_.attention_stride_,
                    .scale = spec_.attention_scale,
                    .modifier = {.softcap = spec_.attention_softcap, .window = spec_.layers[index].window},
                    .scratch = workspace_.scratch_[team_.index()].data()});
}

void Decoder::Pass::AddAttention(int index) {
  const LayerWeights& layer = weights_.layers()[index];
  Prepare(workspace_.attention_.as<float>(), workspace_.attention_stride_, num_tokens(),
          layer.attention_output, nullptr);
  AddToHidden(layer.attention_output, layer.attention_post_norm, &layer.gate_up);
}

void Decoder::Pass::ProjectGateUp(int index) {
  const LayerWeights& layer = weights_.layers()[index];
  Prepare(Hidden(0), workspace_.hidden_stride_, num_tokens(), layer.gate_up, &layer.ffn_norm);
  Multiply(layer.gate_up, workspace_.ffn_.as<float>(), workspace_.ffn_stride_,
           spec_.activation == FfnActivation::kSilu ? Epilogue::kSiluGate : Epilogue::kGeluGate, &layer.down);
  team_.Wait();
}

void Decoder::Pass::AddFeedForward(int index) {
  const LayerWeights& layer = weights_.layers()[index];
  const Projection& next =
      index + 1 < spec_.num_layers() ? weights_.layers()[index + 1].qkv : weights_.output();
  Prepare(workspace_.ffn_.as<float>(), workspace_.ffn_stride_, num_tokens(), layer.down, nullptr);
  AddToHidden(layer.down, layer.ffn_post_norm, &next);
}

// The end of a block: hidden += projection, or hidden += norm(projection).
void Decoder::Pass::AddToHidden(const Projection& projection, const std::vector<float>& post_norm,
                                const Projection* next) {
  if (post_norm.empty()) {
    Multiply(projection, Hidden(0), workspace_.hidden_stride_, Epilogue::kAdd, next);
    team_.Wait();
    return;
  }
  Multiply(projection, Branch(0), workspace_.hidden_stride_, Epilogue::kStore, next);
  team_.Wait();
  const Range mine = Mine(num_tokens_);
  for (int64_t t = mine.first; t < mine.last; ++t) {
    table_.rms_norm(Branch(t), post_norm.data(), spec_.hidden_size, spec_.norm_epsilon, Branch(t));
    table_.add(Branch(t), spec_.hidden_size, Hidden(t));
  }
  team_.Wait();
}

// Few tokens are prepared by every member for itself, which costs no more than waiting for another to do it,
// and no barrier.
uint8_t* Decoder::Pass::Activations(ActivationKind kind) {
  if (num_tokens_ > kPrepareTokens) return workspace_.activations_[static_cast<int>(kind)].data();
  const int64_t threads = workspace_.scratch_.size();
  return workspace_.private_activations_[static_cast<int>(kind) * threads + team_.index()].data();
}

// One group of tokens: normed, where asked for, and brought into every form that the consumer's matrices
// multiply.
void Decoder::Pass::PrepareGroup(const float* x, int64_t x_stride, const Projection& consumer,
                                 const std::vector<float>* norm, int64_t group) {
  const int64_t columns = consumer.parts[0].matrix.columns, first = group * kPrepareTokens;
  const int64_t tokens = std::min<int64_t>(kPrepareTokens, num_tokens_ - first);
  const float* rows = x + first * x_stride;
  if (norm != nullptr) {
    float* normed =
        workspace_.normed_.as<float>() + team_.index() * kPrepareTokens * workspace_.hidden_stride_;
    for (int64_t t = 0; t < tokens; ++t)
      table_.rms_norm(rows + t * x_stride, norm->data(), columns, spec_.norm_epsilon,
                      normed + t * workspace_.hidden_stride_);
    rows = normed;
    x_stride = workspace_.hidden_stride_;
  }
  for (ActivationKind kind : kKinds) {
    const bool wanted =
        std::any_of(consumer.parts.begin(), consumer.parts.end(),
                    [&](const Projection::Part& part) { return part.matrix.activation == kind; });
    if (!wanted) continue;
    table_.prepare({.kind = kind,
                    .x = rows,
                    .x_stride = x_stride,
                    .num_tokens = num_tokens_,
                    .columns = columns,
                    .out = Activations(kind),
                    .groups = {group, group + 1}});
  }
}

// Activations for the next Multiply.
void Decoder::Pass::Prepare(const float* x, int64_t x_stride, int64_t num_tokens, const Projection& consumer,
                            const std::vector<float>* norm) {
  num_tokens_ = num_tokens;
  if (num_tokens <= kPrepareTokens) {
    PrepareGroup(x, x_stride, consumer, norm, 0);
    return;
  }
  const Range groups = Mine(kernels::NumPrepareGroups(num_tokens));
  for (int64_t group = groups.first; group < groups.last; ++group)
    PrepareGroup(x, x_stride, consumer, norm, group);
  team_.Wait();
}

// This member's panels, counted over all matrices of the projection.
void Decoder::Pass::Multiply(const Projection& projection, float* y, int64_t y_stride, Epilogue epilogue,
                             const Projection* next) {
  int64_t all = 0;
  for (const Projection::Part& part : projection.parts) all += part.matrix.num_panels;
  const Range mine = Mine(all);
  int64_t first = 0;
  for (const Projection::Part& part : projection.parts) {
    const kernels::PackedMatrix& matrix = part.matrix;
    const Range panels{std::max<int64_t>(mine.first - first, 0),
                       std::min(mine.last - first, matrix.num_panels)};
    first += matrix.num_panels;
    if (panels.first >= panels.last) continue;
    const kernels::PackedMatrix* after = next == nullptr ? nullptr : &next->parts[0].matrix;
    const int64_t after_panel = after == nullptr ? 0 : Mine(after->num_panels).first;
    table_.matmul({.matrix = &matrix,
                   .activations = Activations(matrix.activation),
                   .num_tokens = num_tokens_,
                   .y = y + part.first_output,
                   .y_stride = y_stride,
                   .epilogue = epilogue,
                   .bias = projection.bias.empty() ? nullptr : projection.bias.data() + part.first_output,
                   .panels = panels,
                   .next = after == nullptr ? nullptr : after->panel(after_panel),
                   .next_bytes = after == nullptr ? 0 : after->panel_bytes});
  }
}

// Gathers the rows that were chosen, so that they lie side by side, and norms them.
void Decoder::Pass::NormOutput() {
  const int64_t rows = indices_.size();
  const Range mine = Mine(rows);
  for (int64_t i = mine.first; i < mine.last; ++i)
    std::copy_n(Hidden(indices_[i]), spec_.hidden_size, Branch(i));
  team_.Wait();
  Prepare(Branch(0), workspace_.hidden_stride_, rows, weights_.output(), &weights_.output_norm());
}

void Decoder::Pass::ProjectOutput() {
  Multiply(weights_.output(), workspace_.logits_.as<float>(), workspace_.logit_stride_, Epilogue::kStore,
           nullptr);
  team_.Wait();
}

void Decoder::Pass::SoftcapLogits() {
  const Range mine = Mine(indices_.size());
  for (int64_t i = mine.first; i < mine.last; ++i)
    table_.softcap(spec_.final_softcap, spec_.vocab_size, workspace_.mutable_logits(static_cast<int>(i)));
  team_.Wait();
}

Decoder::Decoder(DecoderSpec spec, DecoderWeights weights, const kernels::KernelTable& table)
    : spec_(std::move(spec)), weights_(std::move(weights)), table_(&table) {
  for (const RopeSpec& rope : spec_.ropes) frequencies_.push_back(RopeFrequencies(rope));
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
