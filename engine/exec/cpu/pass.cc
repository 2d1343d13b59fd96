#include "engine/exec/cpu/pass.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/exec/cpu/pass_phases.h"

namespace ropeway {
namespace {

using kernels::ActivationKind;
using kernels::kPrepareTokens;

// Of the narrow rows of latent attention, side by side; 0 where no layer has it.
int64_t WidestLatent(const DecoderSpec& spec) {
  int64_t widest = 0;
  for (const LayerSpec& layer : spec.layers) {
    const LatentSpec& latent = layer.attention.latent;
    widest = std::max(widest, int64_t{latent.query_rank} + latent.kv_rank + latent.rotary_dim);
  }
  return widest;
}

}  // namespace

Workspace::Workspace(const DecoderSpec& spec, const kernels::KernelTable& table, const kernels::KvLayout& kv,
                     int threads, int max_tokens, int max_logit_rows, int32_t max_positions)
    : max_tokens_(max_tokens),
      max_logit_rows_(max_logit_rows),
      latent_stride_(Stride(WidestLatent(spec))),
      narrow_stride_(Stride(spec.embedding_size)),
      hidden_stride_(Stride(spec.hidden_size)),
      qkv_stride_(Stride(spec.qkv_size())),
      attention_stride_(Stride(int64_t{spec.num_heads} * spec.value_dim)),
      ffn_stride_(Stride(spec.max_ffn_size())),
      logit_stride_(Stride(spec.vocab_size)),
      experts_(spec, table, threads, max_tokens) {
  const int64_t rows = std::max(max_tokens, max_logit_rows);
  hidden_ = Floats(max_tokens * hidden_stride_);
  branch_ = Floats(rows * hidden_stride_);
  normed_ = Floats(int64_t{threads} * kPrepareTokens * hidden_stride_);
  qkv_ = Floats(max_tokens * qkv_stride_);
  latent_ = Floats(max_tokens * latent_stride_);
  narrow_ = Floats(rows * narrow_stride_);
  attention_ = Floats(max_tokens * attention_stride_);
  ffn_ = Floats(max_tokens * ffn_stride_);
  logits_ = Floats(max_logit_rows * logit_stride_);
  const int64_t widest = std::max<int64_t>({spec.hidden_size, int64_t{spec.num_heads} * spec.value_dim,
                                            spec.max_ffn_size(), WidestLatent(spec), spec.embedding_size});
  for (ActivationKind kind : kActivationKinds) {
    const int64_t columns = RoundUp(widest, kQuantBlock);
    activations_[static_cast<int>(kind)] = AlignedBuffer(table.activation_bytes(kind, rows, columns));
    for (int i = 0; i < threads; ++i)
      private_activations_.emplace_back(table.activation_bytes(kind, kPrepareTokens, columns));
  }
  if (spec.has_zones()) {
    previous_queries_ = Floats(max_tokens * qkv_stride_);
    older_queries_ = Floats(max_tokens * qkv_stride_);
  }
  for (int i = 0; i < threads; ++i) {
    scratch_.emplace_back(table.attention_scratch_bytes(kv, spec.num_heads, spec.max_mixer_width()));
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
  first_spans_.resize(threads);
  kv_ahead_.resize(threads);
  if (table.merge_spans != nullptr && threads > 1) {
    const int64_t spans = kSpanRows * (int64_t{max_positions} / kernels::kAttentionSpan + 1);
    spans_ = Floats(spans * spec.num_heads * (kv.padded_value_dim + kernels::kSpanHead));
  }
}

void Decoder::Pass::Forward(const TokenBatch& batch, const KvCache& cache) {
  batch_ = &batch;
  cache_ = &cache;
  RunDecoder(spec_, *this);
}

void Decoder::Pass::Logits(absl::Span<const int32_t> indices) {
  indices_ = indices;
  RunLogits(*this);
}

void Decoder::Pass::Embed() {
  CountAttentionPieces();
  FindKvAhead();
  const bool is_narrow = spec_.embedding_size > 0;
  if (is_narrow) {
    ForEachToken(team_, num_tokens(), [&](int64_t t) { weights_.Embed(batch_->token_ids[t], Narrow(t)); });
    Multiply({Narrow(0), workspace_.narrow_stride_, num_tokens()}, weights_.embedding_in,
             {Hidden(0), workspace_.hidden_stride_}, nullptr);
  }
  ForEachToken(team_, num_tokens(), [&](int64_t t) {
    float* x = Hidden(t);
    if (!is_narrow) weights_.Embed(batch_->token_ids[t], x);
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

void Decoder::Pass::Norm(const NormFormula& formula, const Vectors& norm, int64_t first, int64_t n,
                         const float* x, float* out) const {
  const float* weight = norm.weight.data() + first;
  const float* bias = norm.bias.empty() ? nullptr : norm.bias.data() + first;
  if (formula.kind == NormKind::kRms)
    table_.rms_norm(x, weight, n, formula.epsilon, out);
  else
    table_.layer_norm(x, weight, bias, n, formula.epsilon, out);
}

void Decoder::Pass::NormRow(const Vectors& norm, const float* x, float* out) const {
  Norm({spec_.norm.kind, spec_.norm.epsilon}, norm, 0, spec_.hidden_size, x, out);
}

// Gathers the rows that were chosen, so that they lie side by side.
void Decoder::Pass::NormOutput() {
  ForEachToken(team_, indices_.size(),
               [&](int64_t i) { std::copy_n(Hidden(indices_[i]), spec_.hidden_size, Branch(i)); });
}

void Decoder::Pass::ProjectOutput() {
  const auto rows = static_cast<int64_t>(indices_.size());
  Input input{Branch(0), workspace_.hidden_stride_, rows, &weights_.output_norm};
  if (spec_.embedding_size > 0) {
    Multiply(input, weights_.embedding_out, {Narrow(0), workspace_.narrow_stride_}, &weights_.output);
    input = {Narrow(0), workspace_.narrow_stride_, rows};
  }
  Multiply(input, weights_.output, {workspace_.logits_.as<float>(), workspace_.logit_stride_}, nullptr);
}

// The product has added the bias.
void Decoder::Pass::FinishLogits() {
  if (spec_.logit_softcap == 0) return;
  team_.ForEach(indices_.size(), [&](int64_t i) {
    table_.softcap(static_cast<float>(spec_.logit_softcap), spec_.vocab_size,
                   workspace_.mutable_logits(static_cast<int>(i)));
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
