// The names of tensors in the folders of each family, where they are not those of Llama (weight_roles.cc).
// A tensor that several roles share stands under the first of them: queries, or gate.
#ifndef ROPEWAY_ENGINE_MODEL_FAMILY_NAMES_H_
#define ROPEWAY_ENGINE_MODEL_FAMILY_NAMES_H_

#include "engine/model/hf_names.h"

namespace ropeway::family_names {

using Role = WeightRole;
using Layout = HfLayout;

// Norms before and after both blocks.
inline constexpr HfName kGemmaNames[] = {
    {Role::kFfnNorm, "model.layers.*.pre_feedforward_layernorm.weight"},
};
inline constexpr HfName kGlmNames[] = {
    {Role::kGate, "model.layers.*.mlp.gate_up_proj.weight", Layout::kGateUp},
};
inline constexpr HfName kGlm4Names[] = {
    {Role::kGate, "model.layers.*.mlp.gate_up_proj.weight", Layout::kGateUp},
    {Role::kAttentionPostNorm, "model.layers.*.post_self_attn_layernorm.weight"},
    {Role::kFfnPostNorm, "model.layers.*.post_mlp_layernorm.weight"},
};
inline constexpr HfName kBaichuanNames[] = {
    {Role::kQuery, "model.layers.*.self_attn.W_pack.weight", Layout::kQkv},
};
inline constexpr HfName kChatGlmNames[] = {
    {Role::kTokenEmbedding, "transformer.embedding.word_embeddings.weight"},
    {Role::kOutputNorm, "transformer.encoder.final_layernorm.weight"},
    {Role::kOutput, "transformer.output_layer.weight"},
    {Role::kAttentionNorm, "transformer.encoder.layers.*.input_layernorm.weight"},
    {Role::kQuery, "transformer.encoder.layers.*.self_attention.query_key_value.weight", Layout::kQkv},
    {Role::kAttentionOutput, "transformer.encoder.layers.*.self_attention.dense.weight"},
    {Role::kFfnNorm, "transformer.encoder.layers.*.post_attention_layernorm.weight"},
    {Role::kGate, "transformer.encoder.layers.*.mlp.dense_h_to_4h.weight", Layout::kGateUp},
    {Role::kDown, "transformer.encoder.layers.*.mlp.dense_4h_to_h.weight"},
};
inline constexpr HfName kQwenNames[] = {
    {Role::kTokenEmbedding, "transformer.wte.weight"},
    {Role::kOutputNorm, "transformer.ln_f.weight"},
    {Role::kAttentionNorm, "transformer.h.*.ln_1.weight"},
    {Role::kQuery, "transformer.h.*.attn.c_attn.weight", Layout::kQkv},
    {Role::kAttentionOutput, "transformer.h.*.attn.c_proj.weight"},
    {Role::kFfnNorm, "transformer.h.*.ln_2.weight"},
    {Role::kGate, "transformer.h.*.mlp.w2.weight"},
    {Role::kUp, "transformer.h.*.mlp.w1.weight"},
    {Role::kDown, "transformer.h.*.mlp.c_proj.weight"},
};
inline constexpr HfName kInternLm2Names[] = {
    {Role::kTokenEmbedding, "model.tok_embeddings.weight"},
    {Role::kOutput, "output.weight"},
    {Role::kAttentionNorm, "model.layers.*.attention_norm.weight"},
    {Role::kQuery, "model.layers.*.attention.wqkv.weight", Layout::kQkvByGroup},
    {Role::kAttentionOutput, "model.layers.*.attention.wo.weight"},
    {Role::kFfnNorm, "model.layers.*.ffn_norm.weight"},
    {Role::kGate, "model.layers.*.feed_forward.w1.weight"},
    {Role::kUp, "model.layers.*.feed_forward.w3.weight"},
    {Role::kDown, "model.layers.*.feed_forward.w2.weight"},
};
inline constexpr HfName kHunyuanNames[] = {
    {Role::kQueryNorm, "model.layers.*.self_attn.query_layernorm.weight"},
    {Role::kKeyNorm, "model.layers.*.self_attn.key_layernorm.weight"},
};
inline constexpr HfName kPhiNames[] = {
    {Role::kOutputNorm, "model.final_layernorm.weight"},
    {Role::kAttentionOutput, "model.layers.*.self_attn.dense.weight"},
    {Role::kQueryNorm, "model.layers.*.self_attn.q_layernorm.weight"},
    {Role::kKeyNorm, "model.layers.*.self_attn.k_layernorm.weight"},
    {Role::kUp, "model.layers.*.mlp.fc1.weight"},
    {Role::kDown, "model.layers.*.mlp.fc2.weight"},
};
inline constexpr HfName kPhi3Names[] = {
    {Role::kQuery, "model.layers.*.self_attn.qkv_proj.weight", Layout::kQkv},
    {Role::kGate, "model.layers.*.mlp.gate_up_proj.weight", Layout::kGateUp},
};
inline constexpr HfName kPersimmonNames[] = {
    {Role::kOutputNorm, "model.final_layernorm.weight"},
    {Role::kQuery, "model.layers.*.self_attn.query_key_value.weight", Layout::kQkvByGroup},
    {Role::kQueryNorm, "model.layers.*.self_attn.q_layernorm.weight"},
    {Role::kKeyNorm, "model.layers.*.self_attn.k_layernorm.weight"},
    {Role::kAttentionOutput, "model.layers.*.self_attn.dense.weight"},
    {Role::kUp, "model.layers.*.mlp.dense_h_to_4h.weight"},
    {Role::kDown, "model.layers.*.mlp.dense_4h_to_h.weight"},
};
inline constexpr HfName kStableLmNames[] = {
    {Role::kQueryNorm, "model.layers.*.self_attn.q_layernorm.norms.#.weight", Layout::kHeads},
    {Role::kKeyNorm, "model.layers.*.self_attn.k_layernorm.norms.#.weight", Layout::kHeads},
};
inline constexpr HfName kStarcoder2Names[] = {
    {Role::kUp, "model.layers.*.mlp.c_fc.weight"},
    {Role::kDown, "model.layers.*.mlp.c_proj.weight"},
};
inline constexpr HfName kApertusNames[] = {
    {Role::kAttentionNorm, "model.layers.*.attention_layernorm.weight"},
    {Role::kFfnNorm, "model.layers.*.feedforward_layernorm.weight"},
};
inline constexpr HfName kErnieMoeNames[] = {
    {Role::kRouterCorrection, "model.layers.*.mlp.moe_statics.e_score_correction_bias", Layout::kOneRow},
};
inline constexpr HfName kHunyuanMoeNames[] = {
    {Role::kQueryNorm, "model.layers.*.self_attn.query_layernorm.weight"},
    {Role::kKeyNorm, "model.layers.*.self_attn.key_layernorm.weight"},
    {Role::kRouter, "model.layers.*.mlp.gate.wg.weight"},
    {Role::kSharedGate, "model.layers.*.mlp.shared_mlp.gate_proj.weight"},
    {Role::kSharedUp, "model.layers.*.mlp.shared_mlp.up_proj.weight"},
    {Role::kSharedDown, "model.layers.*.mlp.shared_mlp.down_proj.weight"},
};
inline constexpr HfName kMixtralNames[] = {
    {Role::kRouter, "model.layers.*.block_sparse_moe.gate.weight"},
    {Role::kExpertGate, "model.layers.*.block_sparse_moe.experts.#.w1.weight", Layout::kExperts},
    {Role::kExpertUp, "model.layers.*.block_sparse_moe.experts.#.w3.weight", Layout::kExperts},
    {Role::kExpertDown, "model.layers.*.block_sparse_moe.experts.#.w2.weight", Layout::kExperts},
};
inline constexpr HfName kQwen2MoeNames[] = {
    {Role::kSharedGate, "model.layers.*.mlp.shared_expert.gate_proj.weight"},
    {Role::kSharedUp, "model.layers.*.mlp.shared_expert.up_proj.weight"},
    {Role::kSharedDown, "model.layers.*.mlp.shared_expert.down_proj.weight"},
};
inline constexpr HfName kGraniteMoeNames[] = {
    {Role::kRouter, "model.layers.*.block_sparse_moe.router.layer.weight"},
    {Role::kExpertGate, "model.layers.*.block_sparse_moe.input_linear.weight", Layout::kExpertsGateUp},
    {Role::kExpertDown, "model.layers.*.block_sparse_moe.output_linear.weight", Layout::kExpertsStacked},
    {Role::kSharedGate, "model.layers.*.shared_mlp.input_linear.weight", Layout::kGateUp},
    {Role::kSharedDown, "model.layers.*.shared_mlp.output_linear.weight"},
};
inline constexpr HfName kGptOssNames[] = {
    {Role::kRouter, "model.layers.*.mlp.router.weight"},
    {Role::kExpertGate, "model.layers.*.mlp.experts.gate_up_proj", Layout::kExpertsGateUpAlternating},
    {Role::kExpertDown, "model.layers.*.mlp.experts.down_proj", Layout::kExpertsTransposed},
};
inline constexpr HfName kGptOssPackedNames[] = {
    {Role::kRouter, "model.layers.*.mlp.router.weight"},
    {Role::kExpertGate, "model.layers.*.mlp.experts.gate_up_proj", Layout::kExpertsGateUpInTurn},
    {Role::kExpertDown, "model.layers.*.mlp.experts.down_proj", Layout::kExpertsStacked},
};
inline constexpr HfName kLlama4Names[] = {
    {Role::kGate, "model.layers.*.feed_forward.gate_proj.weight"},
    {Role::kUp, "model.layers.*.feed_forward.up_proj.weight"},
    {Role::kDown, "model.layers.*.feed_forward.down_proj.weight"},
    {Role::kRouter, "model.layers.*.feed_forward.router.weight"},
    {Role::kExpertGate, "model.layers.*.feed_forward.experts.gate_up_proj", Layout::kExpertsGateUpTransposed},
    {Role::kExpertDown, "model.layers.*.feed_forward.experts.down_proj", Layout::kExpertsTransposed},
    {Role::kSharedGate, "model.layers.*.feed_forward.shared_expert.gate_proj.weight"},
    {Role::kSharedUp, "model.layers.*.feed_forward.shared_expert.up_proj.weight"},
    {Role::kSharedDown, "model.layers.*.feed_forward.shared_expert.down_proj.weight"},
};
inline constexpr HfName kGpt2Names[] = {
    {Role::kTokenEmbedding, "transformer.wte.weight"},
    {Role::kPositionEmbedding, "transformer.wpe.weight"},
    {Role::kOutputNorm, "transformer.ln_f.weight"},
    {Role::kAttentionNorm, "transformer.h.*.ln_1.weight"},
    {Role::kQuery, "transformer.h.*.attn.c_attn.weight", Layout::kQkvTransposed},
    {Role::kAttentionOutput, "transformer.h.*.attn.c_proj.weight", Layout::kTransposed},
    {Role::kFfnNorm, "transformer.h.*.ln_2.weight"},
    {Role::kUp, "transformer.h.*.mlp.c_fc.weight", Layout::kTransposed},
    {Role::kDown, "transformer.h.*.mlp.c_proj.weight", Layout::kTransposed},
};
inline constexpr HfName kGptBigCodeNames[] = {
    {Role::kTokenEmbedding, "transformer.wte.weight"},
    {Role::kPositionEmbedding, "transformer.wpe.weight"},
    {Role::kOutputNorm, "transformer.ln_f.weight"},
    {Role::kAttentionNorm, "transformer.h.*.ln_1.weight"},
    {Role::kQuery, "transformer.h.*.attn.c_attn.weight", Layout::kQkvByGroup},
    {Role::kAttentionOutput, "transformer.h.*.attn.c_proj.weight"},
    {Role::kFfnNorm, "transformer.h.*.ln_2.weight"},
    {Role::kUp, "transformer.h.*.mlp.c_fc.weight"},
    {Role::kDown, "transformer.h.*.mlp.c_proj.weight"},
};
inline constexpr HfName kGptNeoNames[] = {
    {Role::kTokenEmbedding, "transformer.wte.weight"},
    {Role::kPositionEmbedding, "transformer.wpe.weight"},
    {Role::kOutputNorm, "transformer.ln_f.weight"},
    {Role::kAttentionNorm, "transformer.h.*.ln_1.weight"},
    {Role::kQuery, "transformer.h.*.attn.attention.q_proj.weight"},
    {Role::kKey, "transformer.h.*.attn.attention.k_proj.weight"},
    {Role::kValue, "transformer.h.*.attn.attention.v_proj.weight"},
    {Role::kAttentionOutput, "transformer.h.*.attn.attention.out_proj.weight"},
    {Role::kFfnNorm, "transformer.h.*.ln_2.weight"},
    {Role::kUp, "transformer.h.*.mlp.c_fc.weight"},
    {Role::kDown, "transformer.h.*.mlp.c_proj.weight"},
};
inline constexpr HfName kGptJNames[] = {
    {Role::kTokenEmbedding, "transformer.wte.weight"},
    {Role::kOutputNorm, "transformer.ln_f.weight"},
    {Role::kAttentionNorm, "transformer.h.*.ln_1.weight"},
    {Role::kQuery, "transformer.h.*.attn.q_proj.weight"},
    {Role::kKey, "transformer.h.*.attn.k_proj.weight"},
    {Role::kValue, "transformer.h.*.attn.v_proj.weight"},
    {Role::kAttentionOutput, "transformer.h.*.attn.out_proj.weight"},
    {Role::kUp, "transformer.h.*.mlp.fc_in.weight"},
    {Role::kDown, "transformer.h.*.mlp.fc_out.weight"},
};
inline constexpr HfName kCodeGenNames[] = {
    {Role::kTokenEmbedding, "transformer.wte.weight"},
    {Role::kOutputNorm, "transformer.ln_f.weight"},
    {Role::kAttentionNorm, "transformer.h.*.ln_1.weight"},
    {Role::kQuery, "transformer.h.*.attn.qkv_proj.weight", Layout::kQvkInFour},
    {Role::kAttentionOutput, "transformer.h.*.attn.out_proj.weight"},
    {Role::kUp, "transformer.h.*.mlp.fc_in.weight"},
    {Role::kDown, "transformer.h.*.mlp.fc_out.weight"},
};
inline constexpr HfName kGptNeoXNames[] = {
    {Role::kTokenEmbedding, "gpt_neox.embed_in.weight"},
    {Role::kOutputNorm, "gpt_neox.final_layer_norm.weight"},
    {Role::kOutput, "embed_out.weight"},
    {Role::kAttentionNorm, "gpt_neox.layers.*.input_layernorm.weight"},
    {Role::kQuery, "gpt_neox.layers.*.attention.query_key_value.weight", Layout::kQkvByGroup},
    {Role::kAttentionOutput, "gpt_neox.layers.*.attention.dense.weight"},
    {Role::kFfnNorm, "gpt_neox.layers.*.post_attention_layernorm.weight"},
    {Role::kUp, "gpt_neox.layers.*.mlp.dense_h_to_4h.weight"},
    {Role::kDown, "gpt_neox.layers.*.mlp.dense_4h_to_h.weight"},
};
inline constexpr HfName kOptNames[] = {
    {Role::kTokenEmbedding, "model.decoder.embed_tokens.weight"},
    {Role::kPositionEmbedding, "model.decoder.embed_positions.weight"},
    {Role::kOutputNorm, "model.decoder.final_layer_norm.weight"},
    {Role::kAttentionNorm, "model.decoder.layers.*.self_attn_layer_norm.weight"},
    {Role::kQuery, "model.decoder.layers.*.self_attn.q_proj.weight"},
    {Role::kKey, "model.decoder.layers.*.self_attn.k_proj.weight"},
    {Role::kValue, "model.decoder.layers.*.self_attn.v_proj.weight"},
    {Role::kAttentionOutput, "model.decoder.layers.*.self_attn.out_proj.weight"},
    {Role::kFfnNorm, "model.decoder.layers.*.final_layer_norm.weight"},
    {Role::kUp, "model.decoder.layers.*.fc1.weight"},
    {Role::kDown, "model.decoder.layers.*.fc2.weight"},
};
inline constexpr HfName kBioGptNames[] = {
    {Role::kTokenEmbedding, "biogpt.embed_tokens.weight"},
    {Role::kPositionEmbedding, "biogpt.embed_positions.weight"},
    {Role::kOutputNorm, "biogpt.layer_norm.weight"},
    {Role::kOutput, "output_projection.weight"},
    {Role::kAttentionNorm, "biogpt.layers.*.self_attn_layer_norm.weight"},
    {Role::kQuery, "biogpt.layers.*.self_attn.q_proj.weight"},
    {Role::kKey, "biogpt.layers.*.self_attn.k_proj.weight"},
    {Role::kValue, "biogpt.layers.*.self_attn.v_proj.weight"},
    {Role::kAttentionOutput, "biogpt.layers.*.self_attn.out_proj.weight"},
    {Role::kFfnNorm, "biogpt.layers.*.final_layer_norm.weight"},
    {Role::kUp, "biogpt.layers.*.fc1.weight"},
    {Role::kDown, "biogpt.layers.*.fc2.weight"},
};
inline constexpr HfName kXglmNames[] = {
    {Role::kOutputNorm, "model.layer_norm.weight"},
    {Role::kAttentionNorm, "model.layers.*.self_attn_layer_norm.weight"},
    {Role::kAttentionOutput, "model.layers.*.self_attn.out_proj.weight"},
    {Role::kFfnNorm, "model.layers.*.final_layer_norm.weight"},
    {Role::kUp, "model.layers.*.fc1.weight"},
    {Role::kDown, "model.layers.*.fc2.weight"},
};
inline constexpr HfName kBloomNames[] = {
    {Role::kTokenEmbedding, "transformer.word_embeddings.weight"},
    {Role::kEmbeddingNorm, "transformer.word_embeddings_layernorm.weight"},
    {Role::kOutputNorm, "transformer.ln_f.weight"},
    {Role::kAttentionNorm, "transformer.h.*.input_layernorm.weight"},
    {Role::kQuery, "transformer.h.*.self_attention.query_key_value.weight", Layout::kQkvByGroup},
    {Role::kAttentionOutput, "transformer.h.*.self_attention.dense.weight"},
    {Role::kFfnNorm, "transformer.h.*.post_attention_layernorm.weight"},
    {Role::kUp, "transformer.h.*.mlp.dense_h_to_4h.weight"},
    {Role::kDown, "transformer.h.*.mlp.dense_4h_to_h.weight"},
};
inline constexpr HfName kFalconNames[] = {
    {Role::kTokenEmbedding, "transformer.word_embeddings.weight"},
    {Role::kOutputNorm, "transformer.ln_f.weight"},
    {Role::kAttentionNorm, "transformer.h.*.input_layernorm.weight"},
    {Role::kQuery, "transformer.h.*.self_attention.query_key_value.weight", Layout::kQkvByGroup},
    {Role::kAttentionOutput, "transformer.h.*.self_attention.dense.weight"},
    {Role::kFfnNorm, "transformer.h.*.post_attention_layernorm.weight"},
    {Role::kUp, "transformer.h.*.mlp.dense_h_to_4h.weight"},
    {Role::kDown, "transformer.h.*.mlp.dense_4h_to_h.weight"},
};
inline constexpr HfName kFalconNamesOfTwoNorms[] = {
    {Role::kTokenEmbedding, "transformer.word_embeddings.weight"},
    {Role::kOutputNorm, "transformer.ln_f.weight"},
    {Role::kAttentionNorm, "transformer.h.*.ln_attn.weight"},
    {Role::kQuery, "transformer.h.*.self_attention.query_key_value.weight", Layout::kQkvByGroup},
    {Role::kAttentionOutput, "transformer.h.*.self_attention.dense.weight"},
    {Role::kFfnNorm, "transformer.h.*.ln_mlp.weight"},
    {Role::kUp, "transformer.h.*.mlp.dense_h_to_4h.weight"},
    {Role::kDown, "transformer.h.*.mlp.dense_4h_to_h.weight"},
};
inline constexpr HfName kMptNames[] = {
    {Role::kTokenEmbedding, "transformer.wte.weight"},
    {Role::kOutputNorm, "transformer.norm_f.weight"},
    {Role::kAttentionNorm, "transformer.blocks.*.norm_1.weight"},
    {Role::kQuery, "transformer.blocks.*.attn.Wqkv.weight", Layout::kQkv},
    {Role::kAttentionOutput, "transformer.blocks.*.attn.out_proj.weight"},
    {Role::kFfnNorm, "transformer.blocks.*.norm_2.weight"},
    {Role::kUp, "transformer.blocks.*.ffn.up_proj.weight"},
    {Role::kDown, "transformer.blocks.*.ffn.down_proj.weight"},
};

}  // namespace ropeway::family_names

#endif  // ROPEWAY_ENGINE_MODEL_FAMILY_NAMES_H_
