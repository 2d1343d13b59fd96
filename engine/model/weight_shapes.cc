#include "engine/model/weight_shapes.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/check.h"

namespace ropeway {

const std::vector<RoleInfo>& AllRoles() {
  using Role = WeightRole;
  static const auto& roles = *new std::vector<RoleInfo>{
      {Role::kTokenEmbedding, false, "token_embd.weight", "model.embed_tokens.weight"},
      {Role::kOutputNorm, false, "output_norm.weight", "model.norm.weight"},
      {Role::kOutput, false, "output.weight", "lm_head.weight"},
      {Role::kAttentionNorm, true, "attn_norm.weight", "input_layernorm.weight"},
      {Role::kQuery, true, "attn_q.weight", "self_attn.q_proj.weight"},
      {Role::kKey, true, "attn_k.weight", "self_attn.k_proj.weight"},
      {Role::kValue, true, "attn_v.weight", "self_attn.v_proj.weight"},
      {Role::kQueryBias, true, "attn_q.bias", "self_attn.q_proj.bias"},
      {Role::kKeyBias, true, "attn_k.bias", "self_attn.k_proj.bias"},
      {Role::kValueBias, true, "attn_v.bias", "self_attn.v_proj.bias"},
      {Role::kQueryNorm, true, "attn_q_norm.weight", "self_attn.q_norm.weight"},
      {Role::kKeyNorm, true, "attn_k_norm.weight", "self_attn.k_norm.weight"},
      {Role::kAttentionOutput, true, "attn_output.weight", "self_attn.o_proj.weight"},
      {Role::kAttentionOutputBias, true, "attn_output.bias", "self_attn.o_proj.bias"},
      {Role::kAttentionPostNorm, true, "post_attention_norm.weight", "post_attention_layernorm.weight"},
      {Role::kFfnNorm, true, "ffn_norm.weight", "post_attention_layernorm.weight"},
      {Role::kGate, true, "ffn_gate.weight", "mlp.gate_proj.weight"},
      {Role::kUp, true, "ffn_up.weight", "mlp.up_proj.weight"},
      {Role::kDown, true, "ffn_down.weight", "mlp.down_proj.weight"},
      {Role::kGateBias, true, "ffn_gate.bias", "mlp.gate_proj.bias"},
      {Role::kUpBias, true, "ffn_up.bias", "mlp.up_proj.bias"},
      {Role::kDownBias, true, "ffn_down.bias", "mlp.down_proj.bias"},
      {Role::kFfnPostNorm, true, "post_ffw_norm.weight", "post_feedforward_layernorm.weight"},
  };
  return roles;
}

const RoleInfo& InfoOf(WeightRole role) {
  for (const RoleInfo& info : AllRoles())
    if (info.role == role) return info;
  ROPEWAY_CHECK(false);
}

bool HasRole(WeightRole role, const DecoderSpec& spec) {
  switch (role) {
    case WeightRole::kOutput:
      return !spec.tied_output;
    case WeightRole::kQueryBias:
    case WeightRole::kKeyBias:
    case WeightRole::kValueBias:
      return spec.qkv_bias;
    case WeightRole::kAttentionOutputBias:
      return spec.attention_output_bias;
    case WeightRole::kGateBias:
    case WeightRole::kUpBias:
    case WeightRole::kDownBias:
      return spec.ffn_bias;
    case WeightRole::kQueryNorm:
    case WeightRole::kKeyNorm:
      return spec.qk_norm;
    case WeightRole::kAttentionPostNorm:
    case WeightRole::kFfnPostNorm:
      return spec.sandwich_norms;
    default:
      return true;
  }
}

std::vector<int64_t> ShapeOf(WeightRole role, const DecoderSpec& spec) {
  const int64_t d = spec.hidden_size, f = spec.ffn_size, h = int64_t{spec.num_heads} * spec.head_dim;
  const int64_t k = int64_t{spec.num_kv_heads} * spec.head_dim,
                v = int64_t{spec.num_kv_heads} * spec.value_dim;
  switch (role) {
    case WeightRole::kTokenEmbedding:
    case WeightRole::kOutput:
      return {spec.vocab_size, d};
    case WeightRole::kQuery:
      return {h, d};
    case WeightRole::kKey:
      return {k, d};
    case WeightRole::kValue:
      return {v, d};
    case WeightRole::kQueryBias:
      return {h};
    case WeightRole::kKeyBias:
      return {k};
    case WeightRole::kValueBias:
      return {v};
    case WeightRole::kQueryNorm:
    case WeightRole::kKeyNorm:
      return {spec.head_dim};
    case WeightRole::kAttentionOutput:
      return {d, int64_t{spec.num_heads} * spec.value_dim};
    case WeightRole::kGate:
    case WeightRole::kUp:
      return {f, d};
    case WeightRole::kDown:
      return {d, f};
    case WeightRole::kGateBias:
    case WeightRole::kUpBias:
      return {f};
    case WeightRole::kOutputNorm:
    case WeightRole::kAttentionNorm:
    case WeightRole::kAttentionOutputBias:
    case WeightRole::kAttentionPostNorm:
    case WeightRole::kFfnNorm:
    case WeightRole::kDownBias:
    case WeightRole::kFfnPostNorm:
      return {d};
  }
  ROPEWAY_CHECK(false);
}

absl::Status CheckShape(const std::string& name, WeightRole role, const DecoderSpec& spec,
                        const TensorView& view) {
  const std::vector<int64_t> expected = ShapeOf(role, spec);
  if (view.shape == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("tensor '", name, "' must have the shape [",
                                                 absl::StrJoin(expected, ", "), "], has [",
                                                 absl::StrJoin(view.shape, ", "), "]"));
}

}  // namespace ropeway
