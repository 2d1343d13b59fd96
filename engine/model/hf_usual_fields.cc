#include "engine/model/hf_usual_fields.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace ropeway {
namespace {

using Json = nlohmann::json;

// Notes of the training and of the software that saved the file, numbers for tokenizers and generation, choices among
// equal implementations.
constexpr absl::string_view kWithoutEffect[] = {
    "_attn_implementation_autoset",
    "_commit_hash",
    "_flash_attn_2_enabled",
    "_from_model_config",
    "_name_or_path",
    "_num_labels",
    "_sliding_window_pattern",
    "activation_dropout",
    "anyres_pooling_size",
    "anyres_vit_max_image_size",
    "anyres_vit_two_views",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attention_softmax_in_fp32",
    "attn_implementation",
    "attn_pdrop",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bias_dropout_fusion",
    "bos_token_id",
    "cache_implementation",
    "cla_share_factor",
    "class_num",
    "classifier_dropout",
    "custom_pipelines",
    "decoder_start_token_id",
    "dense_list",
    "diversity_penalty",
    "do_sample",
    "dropout",
    "dtype",
    "early_stopping",
    "emb_pdrop",
    "embd_pdrop",
    "embed_dropout",
    "embedding_dropout",
    "embedding_fraction",
    "encoder_no_repeat_ngram_size",
    "eod_token_id",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "ff_factor",
    "finetuning_task",
    "flash_attn",
    "for_llm_compressor",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "fuse_linear",
    "fuse_ln",
    "fuse_rms_norm",
    "fuse_rope",
    "fuse_swiglu",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "id2label",
    "im_end_id",
    "im_newline_id",
    "im_start_id",
    "inference_runner",
    "init_config",
    "init_device",
    "init_method",
    "init_std",
    "initializer_range",
    "input_jitter_noise",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "layer_switch",
    "layerdrop",
    "learned_pos_emb",
    "length_penalty",
    "mask_init_id",
    "masked_softmax_fusion",
    "max_batch_size",
    "max_length",
    "max_sequence_length",
    "max_window_layers",
    "micro_batch_size",
    "min_length",
    "model_max_length",
    "mup_denominator",
    "n_special",
    "neftune_noise_alpha",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_media_embeds",
    "num_return_sequences",
    "offset_alibi",
    "org_vocab_size",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_router_logits",
    "output_scores",
    "pad_id",
    "pad_key_length",
    "pad_token_id",
    "pool_type",
    "pre_allocate_kv_cache",
    "predict_special_tokens",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "reorder_and_upcast_attn",
    "repetition_penalty",
    "resid_dropout",
    "resid_pdrop",
    "residual_dropout",
    "return_dict",
    "return_dict_in_generate",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "scale_attention_softmax_in_fp32",
    "sep_token_id",
    "skip_bias_add",
    "skip_cls_token",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "text_end_id",
    "text_start_id",
    "tf_legacy_loss",
    "token_balance_loss",
    "tokenizer_class",
    "tokenizer_name",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_embedding_sharing",
    "use_flash_attention",
    "use_flash_attn",
    "use_parallel_embedding",
    "use_sparse_flash_attn",
    "use_sparse_head_and_loss_fn",
    "validate_runner_input",
    "verbose",
    "video_start_id",
    "vit_input_resolution",
    "vit_mapping_type",
    "vit_norm_type",
    "vit_patch",
    "vit_path",
    "vit_token",
    "vit_type",
    "vit_used_rms_norm",
    "weight_share_add_bias",
};

// Fields of all models that must be false or absent.
constexpr const char* kMustBeFalse[] = {
    "add_cross_attention", "is_encoder_decoder",          "rope_interleaved",
    "tie_encoder_decoder", "use_bidirectional_attention", "use_mrope"};

// A field of a family, or of any that does not read it itself (null), with the value that says what is computed, as JSON.
struct UsualField {
  const char* model_type;
  const char* name;
  const char* value;
};

constexpr UsualField kUsual[] = {
    {nullptr, "add_classification_head", "false"},
    {nullptr, "apply_residual_connection_post_layernorm", "false"},
    {nullptr, "attention_bias", "false"},
    {nullptr, "bias", "false"},
    {nullptr, "lm_head_bias", "false"},
    {nullptr, "mlp_bias", "false"},
    {nullptr, "rope_type", "\"default\""},
    {nullptr, "rotary", "true"},
    {nullptr, "rotary_scaling_factor", "1.0"},
    {nullptr, "scale_attn_weights", "true"},
    {nullptr, "skip_bias_add_qkv", "false"},
    {nullptr, "use_cla", "false"},
    {nullptr, "use_parallel_residual", "false"},
    {nullptr, "use_rmsnorm", "true"},
    {nullptr, "use_rotary_pos_emb", "true"},
    {nullptr, "use_sliding_window", "false"},
    {"apertus", "post_norm", "false"},
    {"apertus", "qk_norm", "true"},
    {"cohere2", "order_of_interleaved_layers", "\"local_attn_first\""},
    {"cohere2", "position_embedding_type", "\"rope_gptj\""},
    {"cohere2", "rotary_pct", "1.0"},
    {"cohere2", "use_gated_activation", "true"},
    {"cohere2", "use_parallel_block", "true"},
    {"cohere2", "use_qk_norm", "false"},
    {"ernie4_5", "compression_ratio", "1.0"},
    {"hunyuan_v1_dense", "norm_type", "\"rms\""},
    {"hunyuan_v1_dense", "use_qk_norm", "true"},
    {"hunyuan_v1_moe", "group_limited_greedy", "false"},
    {"hunyuan_v1_moe", "moe_drop_tokens", "false"},
    {"hunyuan_v1_moe", "moe_layer_num_skipped", "0"},
    {"hunyuan_v1_moe", "moe_random_routing_dropped_token", "false"},
    {"hunyuan_v1_moe", "n_group", "false"},
    {"hunyuan_v1_moe", "norm_topk_prob", "true"},
    {"hunyuan_v1_moe", "norm_type", "\"rms\""},
    {"hunyuan_v1_moe", "num_shared_expert", "1"},
    {"hunyuan_v1_moe", "position_embedding_xdrope", "false"},
    {"hunyuan_v1_moe", "topk_group", "false"},
    {"hunyuan_v1_moe", "use_mixed_mlp_moe", "true"},
    {"hunyuan_v1_moe", "use_mla", "false"},
    {"hunyuan_v1_moe", "use_qk_norm", "true"},
    {"phi3", "full_attn_mod", "1"},
    {"phi3", "interpolate_factor", "1"},
    {"starcoder2", "mlp_type", "\"default\""},
    {"starcoder2", "norm_type", "\"layer_norm\""},
};

// The same with the field that says it, too.
struct FieldSaidAgain {
  const char* model_type;
  const char* name;
  const char* said_by;
};

constexpr FieldSaidAgain kSaidAgain[] = {
    {nullptr, "attention_head_dim", "head_dim"},
    {nullptr, "n_ctx", "n_positions"},
    {nullptr, "num_heads", "num_attention_heads"},
    {nullptr, "sliding_window_size", "sliding_window"},
    {"gemma2", "hidden_act", "hidden_activation"},
    {"gemma3_text", "hidden_act", "hidden_activation"},
    {"hunyuan_v1_moe", "moe_intermediate_size", "intermediate_size"},
};

// Also where it is said of each layer.
bool Says(const Json& value, const Json& usual) {
  const auto is_usual = [&](const Json& one) { return one == usual; };
  return is_usual(value) ||
         (value.is_array() && !value.empty() && std::all_of(value.begin(), value.end(), is_usual));
}

absl::Status MustBe(const JsonFields& config, const char* name, const Json& value, absl::string_view what) {
  return absl::UnimplementedError(
      absl::StrCat(config.NameOf(name), " is ", Shown(value), "; only ", what, " is supported"));
}

absl::Status CheckUsualField(JsonFields& config, const UsualField& usual) {
  const Json* value = config.Find(usual.name);
  if (value == nullptr || Says(*value, Json::parse(usual.value))) return absl::OkStatus();
  return MustBe(config, usual.name, *value, usual.value);
}

absl::Status CheckSaidAgain(JsonFields& config, const FieldSaidAgain& again) {
  const Json* value = config.Find(again.name);
  if (value == nullptr) return absl::OkStatus();
  const Json* other = config.Asked(again.said_by) ? config.Find(again.said_by) : nullptr;
  if (other != nullptr && Says(*value, *other)) return absl::OkStatus();
  const std::string said = other == nullptr ? "" : absl::StrCat(", ", Shown(*other), ",");
  return MustBe(config, again.name, *value, absl::StrCat("what '", again.said_by, "' says", said));
}

// Some files name the kind of each layer where all are of the one kind that there is.
absl::Status CheckLayerTypes(JsonFields& config) {
  constexpr char kName[] = "layer_types";
  if (config.Asked(kName)) return absl::OkStatus();
  const Json* types = config.Find(kName);
  if (types == nullptr) return absl::OkStatus();
  const bool all_full =
      types->is_array() && !types->empty() &&
      std::all_of(types->begin(), types->end(), [](const Json& type) { return type == "full_attention"; });
  return all_full ? absl::OkStatus() : MustBe(config, kName, *types, "full_attention for every layer");
}

}  // namespace

absl::Span<const absl::string_view> FieldsWithoutEffect() { return kWithoutEffect; }

absl::Status CheckUsualFields(JsonFields& config, absl::string_view model_type) {
  for (const char* name : kMustBeFalse) {
    ASSIGN_OR_RETURN(const bool value, config.BoolOr(name, false));
    if (value)
      return absl::UnimplementedError(absl::StrCat(config.NameOf(name), " is true; only false is supported"));
  }
  if (const Json* pruned = config.Find("pruned_heads"); pruned != nullptr && !pruned->empty())
    return absl::UnimplementedError(absl::StrCat(config.NameOf("pruned_heads"), " must be empty"));
  ASSIGN_OR_RETURN(const int32_t chunk, config.IntOr("chunk_size_feed_forward", 0));
  if (chunk != 0)
    return absl::UnimplementedError(
        absl::StrCat(config.NameOf("chunk_size_feed_forward"), " is ", chunk, "; only 0 is supported"));
  const auto concerns = [&](const auto& row) {
    return row.model_type == nullptr ? !config.Asked(row.name) : row.model_type == model_type;
  };
  for (const UsualField& usual : kUsual)
    if (concerns(usual)) RETURN_IF_ERROR(CheckUsualField(config, usual));
  for (const FieldSaidAgain& again : kSaidAgain)
    if (concerns(again)) RETURN_IF_ERROR(CheckSaidAgain(config, again));
  return CheckLayerTypes(config);
}

}  // namespace ropeway
