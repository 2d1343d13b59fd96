#include "engine/model/weight_roles.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "engine/base/check.h"
#include "engine/position/dape.h"

namespace ropeway {
namespace {

using Shape = std::vector<int64_t>;
using Spec = DecoderSpec;
using Layer = LayerSpec;

Presence PresentIf(bool weight, bool bias = false) {
  return !weight ? Presence::kAbsent : bias ? Presence::kWeightAndBias : Presence::kWeight;
}

bool HasWeight(Presence presence) {
  return presence == Presence::kWeight || presence == Presence::kWeightAndBias;
}
bool HasBias(Presence presence) {
  return presence == Presence::kBias || presence == Presence::kWeightAndBias;
}

Presence Always(const Spec&, const Layer&) { return Presence::kWeight; }
// The table that is added to the input, whichever layers name it.
const LearnedSpec* LearnedOf(const Spec& spec) {
  for (const Layer& layer : spec.layers)
    if (const auto* learned = std::get_if<LearnedSpec>(&layer.position.scheme)) return learned;
  return nullptr;
}
Presence IfLearned(const Spec& spec, const Layer&) { return PresentIf(LearnedOf(spec) != nullptr); }
Presence Norm(const Spec& spec, bool present) {
  return PresentIf(present && spec.norm.has_weight, spec.norm.has_bias);
}
Presence HeadNorm(const Spec&, const Layer& layer) {
  const HeadNormSpec& norm = layer.attention.head_norm;
  return PresentIf(norm.kind != NormKind::kNone && norm.has_weight, norm.has_bias);
}
Presence OutputNorm(const Spec& spec, const Layer&) { return Norm(spec, spec.output_norm); }
Presence NarrowEmbedding(const Spec& spec, const Layer&) { return PresentIf(spec.embedding_size > 0); }
Presence EmbeddingNorm(const Spec& spec, const Layer&) { return Norm(spec, spec.embedding_norm); }
Presence AttentionNorm(const Spec& spec, const Layer&) { return Norm(spec, spec.has_attention_norm()); }
Presence FfnNorm(const Spec& spec, const Layer&) { return Norm(spec, spec.has_ffn_norm()); }
Presence PostNorm(const Spec& spec, const Layer&) { return Norm(spec, spec.block.post_norm); }
Presence Output(const Spec& spec, const Layer&) {
  // A tied output has its own bias nevertheless.
  if (spec.tied_output) return spec.output_bias ? Presence::kBias : Presence::kAbsent;
  return PresentIf(true, spec.output_bias);
}
Presence Query(const Spec&, const Layer& layer) {
  const AttentionSpec& attention = layer.attention;
  return PresentIf(!attention.is_latent() || attention.latent.query_rank == 0,
                   attention.qkv_bias && !attention.is_latent());
}
Presence KeyOrValue(const Spec&, const Layer& layer) {
  return PresentIf(!layer.attention.is_latent(), layer.attention.qkv_bias);
}
bool HasLatentQuery(const Layer& layer) {
  return layer.attention.is_latent() && layer.attention.latent.query_rank > 0;
}
Presence LatentQuery(const Spec&, const Layer& layer) {
  return PresentIf(HasLatentQuery(layer), layer.attention.qkv_bias);
}
Presence OfLatentQuery(const Spec&, const Layer& layer) { return PresentIf(HasLatentQuery(layer)); }
Presence LatentKv(const Spec&, const Layer& layer) {
  return PresentIf(layer.attention.is_latent(), layer.attention.qkv_bias);
}
Presence OfLatentKv(const Spec&, const Layer& layer) { return PresentIf(layer.attention.is_latent()); }
Presence LatentTogether(const Spec&, const Layer& layer) {
  return PresentIf(layer.attention.is_latent() && !layer.attention.latent.apart);
}
Presence LatentApart(const Spec&, const Layer& layer) {
  return PresentIf(layer.attention.is_latent() && layer.attention.latent.apart);
}
Presence AttentionOutput(const Spec&, const Layer& layer) {
  return PresentIf(true, layer.attention.output_bias);
}
Presence Gate(const Spec&, const Layer& layer) {
  return PresentIf(layer.ffn.gated && !layer.ffn.has_experts(), layer.ffn.bias);
}
Presence Ffn(const Spec&, const Layer& layer) { return PresentIf(!layer.ffn.has_experts(), layer.ffn.bias); }
Presence Router(const Spec&, const Layer& layer) {
  return PresentIf(layer.ffn.has_experts(), layer.ffn.experts.router_bias);
}
Presence RouterCorrection(const Spec&, const Layer& layer) {
  return PresentIf(layer.ffn.has_experts() && layer.ffn.experts.correction);
}
Presence ExpertGate(const Spec&, const Layer& layer) {
  return PresentIf(layer.ffn.gated && layer.ffn.has_experts(), layer.ffn.bias);
}
Presence Expert(const Spec&, const Layer& layer) {
  return PresentIf(layer.ffn.has_experts(), layer.ffn.bias);
}
bool HasSharedExpert(const Layer& layer) {
  return layer.ffn.has_experts() && layer.ffn.experts.shared_size > 0;
}
Presence SharedRouter(const Spec&, const Layer& layer) {
  return PresentIf(HasSharedExpert(layer) && layer.ffn.experts.shared_gate);
}
Presence SharedGate(const Spec&, const Layer& layer) {
  return PresentIf(layer.ffn.gated && HasSharedExpert(layer));
}
Presence Shared(const Spec&, const Layer& layer) { return PresentIf(HasSharedExpert(layer)); }
Presence Xielu(const Spec&, const Layer& layer) { return PresentIf(layer.ffn.numbers_are_weights()); }
Presence Sinks(const Spec&, const Layer& layer) { return PresentIf(layer.attention.sinks); }

Shape Stream(const Spec& spec, const Layer&) { return {spec.hidden_size}; }
Shape Vocabulary(const Spec& spec, const Layer&) { return {spec.vocab_size, spec.embedding_width()}; }
Shape EmbeddingIn(const Spec& spec, const Layer&) { return {spec.hidden_size, spec.embedding_size}; }
Shape EmbeddingOut(const Spec& spec, const Layer&) { return {spec.embedding_size, spec.hidden_size}; }
Shape Positions(const Spec& spec, const Layer&) { return {LearnedOf(spec)->rows, spec.hidden_size}; }
Shape Queries(const Spec& spec, const Layer&) {
  return {int64_t{spec.num_heads} * spec.head_dim, spec.hidden_size};
}
Shape Keys(const Spec& spec, const Layer&) {
  return {int64_t{spec.num_kv_heads} * spec.head_dim, spec.hidden_size};
}
Shape Values(const Spec& spec, const Layer&) {
  return {int64_t{spec.num_kv_heads} * spec.value_dim, spec.hidden_size};
}
// As files hold them: [heads * E] where one mean is over all heads, [heads, E] where each has its own, [E].
Shape HeadNormShape(const Spec& spec, const HeadNormSpec& norm, int64_t heads) {
  if (norm.all_heads) return {heads * spec.head_dim};
  if (norm.per_head) return {heads, spec.head_dim};
  return {spec.head_dim};
}
Shape QueryNorms(const Spec& spec, const Layer& layer) {
  return HeadNormShape(spec, layer.attention.head_norm, spec.num_heads);
}
Shape KeyNorms(const Spec& spec, const Layer& layer) {
  return HeadNormShape(spec, layer.attention.head_norm, spec.num_kv_heads);
}
Shape LatentQueryShape(const Spec& spec, const Layer& layer) {
  return {layer.attention.latent.query_rank, spec.hidden_size};
}
Shape LatentQueryRank(const Spec&, const Layer& layer) { return {layer.attention.latent.query_rank}; }
Shape FromLatentQuery(const Spec& spec, const Layer& layer) {
  return {int64_t{spec.num_heads} * spec.head_dim, layer.attention.latent.query_rank};
}
Shape LatentKvShape(const Spec& spec, const Layer& layer) {
  const LatentSpec& latent = layer.attention.latent;
  return {int64_t{latent.kv_rank} + latent.rotary_dim, spec.hidden_size};
}
Shape LatentKvRank(const Spec&, const Layer& layer) { return {layer.attention.latent.kv_rank}; }
Shape FromLatentKv(const Spec& spec, const Layer& layer) {
  const LatentSpec& latent = layer.attention.latent;
  return {int64_t{spec.num_heads} * (spec.head_dim - latent.rotary_dim + spec.value_dim), latent.kv_rank};
}
Shape KeysFromLatent(const Spec& spec, const Layer& layer) {
  const LatentSpec& latent = layer.attention.latent;
  return {spec.num_heads, latent.kv_rank, spec.head_dim - latent.rotary_dim};
}
Shape ValuesFromLatent(const Spec& spec, const Layer& layer) {
  return {spec.num_heads, spec.value_dim, layer.attention.latent.kv_rank};
}
Shape Heads(const Spec& spec, const Layer&) { return {spec.num_heads}; }
Shape FromHeads(const Spec& spec, const Layer&) {
  return {spec.hidden_size, int64_t{spec.num_heads} * spec.value_dim};
}
Shape ToFfn(const Spec& spec, const Layer& layer) { return {layer.ffn.size, spec.hidden_size}; }
Shape FromFfn(const Spec& spec, const Layer& layer) { return {spec.hidden_size, layer.ffn.size}; }
Shape ToExperts(const Spec& spec, const Layer& layer) {
  return {layer.ffn.experts.count, layer.ffn.size, spec.hidden_size};
}
Shape FromExperts(const Spec& spec, const Layer& layer) {
  return {layer.ffn.experts.count, spec.hidden_size, layer.ffn.size};
}
Shape RouterShape(const Spec& spec, const Layer& layer) {
  return {layer.ffn.experts.count, spec.hidden_size};
}
Shape Experts(const Spec&, const Layer& layer) { return {layer.ffn.experts.count}; }
Shape ToShared(const Spec& spec, const Layer& layer) {
  return {layer.ffn.experts.shared_size, spec.hidden_size};
}
Shape FromShared(const Spec& spec, const Layer& layer) {
  return {spec.hidden_size, layer.ffn.experts.shared_size};
}
Shape OneRow(const Spec& spec, const Layer&) { return {1, spec.hidden_size}; }
Shape One(const Spec&, const Layer&) { return {1}; }
Shape Scalar(const Spec&, const Layer&) { return {}; }

template <typename Scheme>
Presence IfScheme(const Spec&, const Layer& layer) {
  return PresentIf(SchemeOrBase<Scheme>(layer.position.scheme) != nullptr);
}
template <typename Scheme>
const Scheme& SchemeOf(const Layer& layer) {
  return *std::get_if<Scheme>(&layer.position.scheme);
}
template <typename Scheme>
Presence IfWhole(const Spec&, const Layer& layer) {
  return PresentIf(std::holds_alternative<Scheme>(layer.position.scheme));
}
Presence IfShawValues(const Spec&, const Layer& layer) {
  const auto* shaw = std::get_if<ShawSpec>(&layer.position.scheme);
  return PresentIf(shaw != nullptr && shaw->value);
}
// The two layers of a multilayer perceptron, which have biases.
Presence IfFire(const Spec&, const Layer& layer) {
  return PresentIf(SchemeOrBase<FireSpec>(layer.position.scheme) != nullptr, true);
}
Presence IfDape(const Spec&, const Layer& layer) {
  return PresentIf(std::holds_alternative<DapeSpec>(layer.position.scheme), true);
}

Shape ShawTable(const Spec& spec, const Layer& layer) {
  const auto& shaw = SchemeOf<ShawSpec>(layer);
  const int64_t rows = 2 * int64_t{shaw.clip} + 1;
  return shaw.per_head ? Shape{spec.num_heads, rows, spec.head_dim} : Shape{rows, spec.head_dim};
}
Shape T5Table(const Spec& spec, const Layer& layer) {
  return {SchemeOf<T5Spec>(layer).num_buckets, spec.num_heads};
}
Shape QueryOffsets(const Spec& spec, const Layer&) { return {spec.num_heads, spec.head_dim}; }
Shape FireIn(const Spec&, const Layer& layer) {
  return {SchemeOrBase<FireSpec>(layer.position.scheme)->width, 1};
}
Shape FireOut(const Spec& spec, const Layer& layer) {
  return {spec.num_heads, SchemeOrBase<FireSpec>(layer.position.scheme)->width};
}
Shape DapeIn(const Spec& spec, const Layer& layer) {
  const auto& dape = SchemeOf<DapeSpec>(layer);
  return {dape.width, spec.num_heads * (DapeTakesBiases(dape.base) ? 2 : 1)};
}
Shape DapeOut(const Spec& spec, const Layer& layer) {
  return {spec.num_heads, SchemeOf<DapeSpec>(layer).width};
}

using Role = WeightRole;

constexpr RoleInfo kRoles[] = {
    {Role::kTokenEmbedding, false, Always, Vocabulary, "token_embd.weight", "model.embed_tokens.weight"},
    {Role::kPositionEmbedding, false, IfLearned, Positions, "position_embd.weight",
     "model.embed_positions.weight"},
    {Role::kEmbeddingNorm, false, EmbeddingNorm, Stream, "token_embd_norm.weight", "model.embed_norm.weight"},
    {Role::kEmbeddingIn, false, NarrowEmbedding, EmbeddingIn, "", "model.decoder.project_in.weight"},
    {Role::kEmbeddingOut, false, NarrowEmbedding, EmbeddingOut, "", "model.decoder.project_out.weight"},
    {Role::kOutputNorm, false, OutputNorm, Stream, "output_norm.weight", "model.norm.weight"},
    {Role::kOutput, false, Output, Vocabulary, "output.weight", "lm_head.weight"},
    {Role::kAttentionNorm, true, AttentionNorm, Stream, "blk.*.attn_norm.weight",
     "model.layers.*.input_layernorm.weight"},
    {Role::kQuery, true, Query, Queries, "blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight"},
    {Role::kKey, true, KeyOrValue, Keys, "blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight"},
    {Role::kValue, true, KeyOrValue, Values, "blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight"},
    {Role::kQueryNorm, true, HeadNorm, QueryNorms, "blk.*.attn_q_norm.weight",
     "model.layers.*.self_attn.q_norm.weight"},
    {Role::kKeyNorm, true, HeadNorm, KeyNorms, "blk.*.attn_k_norm.weight",
     "model.layers.*.self_attn.k_norm.weight"},
    {Role::kSinks, true, Sinks, Heads, "blk.*.attn_sinks.weight", "model.layers.*.self_attn.sinks"},
    {Role::kLatentQuery, true, LatentQuery, LatentQueryShape, "blk.*.attn_q_a.weight",
     "model.layers.*.self_attn.q_a_proj.weight"},
    {Role::kLatentQueryNorm, true, OfLatentQuery, LatentQueryRank, "blk.*.attn_q_a_norm.weight",
     "model.layers.*.self_attn.q_a_layernorm.weight"},
    {Role::kQueryFromLatent, true, OfLatentQuery, FromLatentQuery, "blk.*.attn_q_b.weight",
     "model.layers.*.self_attn.q_b_proj.weight"},
    {Role::kLatentKv, true, LatentKv, LatentKvShape, "blk.*.attn_kv_a_mqa.weight",
     "model.layers.*.self_attn.kv_a_proj_with_mqa.weight"},
    {Role::kLatentKvNorm, true, OfLatentKv, LatentKvRank, "blk.*.attn_kv_a_norm.weight",
     "model.layers.*.self_attn.kv_a_layernorm.weight"},
    {Role::kKeyValueFromLatent, true, LatentTogether, FromLatentKv, "blk.*.attn_kv_b.weight",
     "model.layers.*.self_attn.kv_b_proj.weight"},
    {Role::kKeyFromLatent, true, LatentApart, KeysFromLatent, "blk.*.attn_k_b.weight", ""},
    {Role::kValueFromLatent, true, LatentApart, ValuesFromLatent, "blk.*.attn_v_b.weight", ""},
    {Role::kAttentionOutput, true, AttentionOutput, FromHeads, "blk.*.attn_output.weight",
     "model.layers.*.self_attn.o_proj.weight"},
    {Role::kAttentionPostNorm, true, PostNorm, Stream, "blk.*.post_attention_norm.weight",
     "model.layers.*.post_attention_layernorm.weight"},
    {Role::kFfnNorm, true, FfnNorm, Stream, "blk.*.ffn_norm.weight",
     "model.layers.*.post_attention_layernorm.weight"},
    {Role::kGate, true, Gate, ToFfn, "blk.*.ffn_gate.weight", "model.layers.*.mlp.gate_proj.weight"},
    {Role::kUp, true, Ffn, ToFfn, "blk.*.ffn_up.weight", "model.layers.*.mlp.up_proj.weight"},
    {Role::kDown, true, Ffn, FromFfn, "blk.*.ffn_down.weight", "model.layers.*.mlp.down_proj.weight"},
    {Role::kFfnPostNorm, true, PostNorm, Stream, "blk.*.post_ffw_norm.weight",
     "model.layers.*.post_feedforward_layernorm.weight"},
    {Role::kRouter, true, Router, RouterShape, "blk.*.ffn_gate_inp.weight", "model.layers.*.mlp.gate.weight"},
    {Role::kRouterCorrection, true, RouterCorrection, Experts, "blk.*.exp_probs_b.bias",
     "model.layers.*.mlp.gate.e_score_correction_bias"},
    {Role::kExpertGate, true, ExpertGate, ToExperts, "blk.*.ffn_gate_exps.weight",
     "model.layers.*.mlp.experts.#.gate_proj.weight"},
    {Role::kExpertUp, true, Expert, ToExperts, "blk.*.ffn_up_exps.weight",
     "model.layers.*.mlp.experts.#.up_proj.weight"},
    {Role::kExpertDown, true, Expert, FromExperts, "blk.*.ffn_down_exps.weight",
     "model.layers.*.mlp.experts.#.down_proj.weight"},
    {Role::kSharedRouter, true, SharedRouter, OneRow, "blk.*.ffn_gate_inp_shexp.weight",
     "model.layers.*.mlp.shared_expert_gate.weight"},
    {Role::kSharedGate, true, SharedGate, ToShared, "blk.*.ffn_gate_shexp.weight",
     "model.layers.*.mlp.shared_experts.gate_proj.weight"},
    {Role::kSharedUp, true, Shared, ToShared, "blk.*.ffn_up_shexp.weight",
     "model.layers.*.mlp.shared_experts.up_proj.weight"},
    {Role::kSharedDown, true, Shared, FromShared, "blk.*.ffn_down_shexp.weight",
     "model.layers.*.mlp.shared_experts.down_proj.weight"},
    {Role::kXieluP, true, Xielu, One, "", "model.layers.*.mlp.act_fn.alpha_p"},
    {Role::kXieluN, true, Xielu, One, "", "model.layers.*.mlp.act_fn.alpha_n"},
    {Role::kXieluL, true, Xielu, Scalar, "", "model.layers.*.mlp.act_fn.beta"},
    {Role::kXieluM, true, Xielu, Scalar, "", "model.layers.*.mlp.act_fn.eps"},
    {Role::kShawKeys, true, IfWhole<ShawSpec>, ShawTable, "blk.*.attn_shaw_k.weight",
     "model.layers.*.self_attn.shaw.key.weight"},
    {Role::kShawValues, true, IfShawValues, ShawTable, "blk.*.attn_shaw_v.weight",
     "model.layers.*.self_attn.shaw.value.weight"},
    {Role::kT5Biases, true, IfWhole<T5Spec>, T5Table, "blk.*.attn_rel_b.weight",
     "model.layers.*.self_attn.relative_attention_bias.weight"},
    {Role::kXlProjection, true, IfWhole<TransformerXlSpec>, Queries, "blk.*.attn_xl_r.weight",
     "model.layers.*.self_attn.transformer_xl.r_proj.weight"},
    {Role::kXlContent, true, IfWhole<TransformerXlSpec>, QueryOffsets, "blk.*.attn_xl_u.weight",
     "model.layers.*.self_attn.transformer_xl.u"},
    {Role::kXlPosition, true, IfWhole<TransformerXlSpec>, QueryOffsets, "blk.*.attn_xl_v.weight",
     "model.layers.*.self_attn.transformer_xl.v"},
    {Role::kKerple1, true, IfScheme<KerpleSpec>, Heads, "blk.*.attn_kerple_1.weight",
     "model.layers.*.self_attn.kerple.r1"},
    {Role::kKerple2, true, IfScheme<KerpleSpec>, Heads, "blk.*.attn_kerple_2.weight",
     "model.layers.*.self_attn.kerple.r2"},
    {Role::kFireIn, true, IfFire, FireIn, "blk.*.attn_fire_in.weight",
     "model.layers.*.self_attn.fire.mlp.0.weight"},
    {Role::kFireOut, true, IfFire, FireOut, "blk.*.attn_fire_out.weight",
     "model.layers.*.self_attn.fire.mlp.2.weight"},
    {Role::kFireC, true, IfScheme<FireSpec>, One, "blk.*.attn_fire_c.weight",
     "model.layers.*.self_attn.fire.c"},
    {Role::kFireLMultiplier, true, IfScheme<FireSpec>, One, "blk.*.attn_fire_l.weight",
     "model.layers.*.self_attn.fire.l_multiplier"},
    {Role::kDapeIn, true, IfDape, DapeIn, "blk.*.attn_dape_in.weight",
     "model.layers.*.self_attn.dape.mlp.0.weight"},
    {Role::kDapeOut, true, IfDape, DapeOut, "blk.*.attn_dape_out.weight",
     "model.layers.*.self_attn.dape.mlp.2.weight"},
};

Presence PresenceOf(const RoleInfo& info, const DecoderSpec& spec, int layer) {
  return info.presence(spec, spec.layers[layer]);
}

}  // namespace

absl::Span<const RoleInfo> AllRoles() { return kRoles; }

const RoleInfo& InfoOf(WeightRole role) {
  const RoleInfo& info = kRoles[static_cast<size_t>(role)];
  ROPEWAY_CHECK(info.role == role);
  return info;
}

std::vector<TensorId> TensorsOf(const DecoderSpec& spec) {
  std::vector<TensorId> ids;
  for (const RoleInfo& info : kRoles)
    for (int layer = 0; layer < (info.of_layer ? spec.num_layers() : 1); ++layer) {
      const Presence presence = PresenceOf(info, spec, layer);
      if (HasWeight(presence)) ids.push_back({info.role, layer});
      if (HasBias(presence)) ids.push_back({info.role, layer, /*is_bias=*/true});
    }
  return ids;
}

bool HasTensor(const TensorId& id, const DecoderSpec& spec) {
  const Presence presence = PresenceOf(InfoOf(id.role), spec, id.layer);
  return id.is_bias ? HasBias(presence) : HasWeight(presence);
}

std::vector<int64_t> ShapeOf(const TensorId& id, const DecoderSpec& spec) {
  Shape shape = InfoOf(id.role).shape(spec, spec.layers[id.layer]);
  const bool is_norm_of_heads = id.role == Role::kQueryNorm || id.role == Role::kKeyNorm;
  if (id.is_bias && !is_norm_of_heads) shape.resize(IsOfExperts(id.role) ? 2 : 1);
  if (id.expert >= 0) shape.erase(shape.begin());
  return shape;
}

bool IsOfExperts(WeightRole role) {
  return role == Role::kExpertGate || role == Role::kExpertUp || role == Role::kExpertDown;
}

std::string ExpandName(const char* pattern, const TensorId& id) {
  std::string name = absl::StrReplaceAll(pattern, {{"*", absl::StrCat(id.layer)}});
  if (!id.is_bias) return name;
  absl::string_view stem = name;
  if (absl::ConsumeSuffix(&stem, "weight")) return absl::StrCat(stem, "bias");
  return absl::StrCat(name, "_bias");
}

}  // namespace ropeway
