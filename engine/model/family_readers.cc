#include "engine/model/family_readers.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ropeway::family_readers {
namespace {

using Json = nlohmann::json;

absl::Status ReadMptAttention(const Json* object, const std::string& where, LayerSpec& layer) {
  if (object == nullptr)
    return absl::UnimplementedError(absl::StrCat(where, " must say that 'alibi' is true"));
  if (!object->is_object()) return absl::InvalidArgumentError(absl::StrCat(where, " must be an object"));
  JsonFields fields(*object, where);
  ASSIGN_OR_RETURN(const bool alibi, fields.BoolOr("alibi", true));
  if (!alibi) return absl::UnimplementedError(absl::StrCat(fields.NameOf("alibi"), " must be true"));
  ASSIGN_OR_RETURN(const std::string type, fields.StringOr("attn_type", "multihead_attention"));
  if (type != "multihead_attention")
    return absl::UnimplementedError(
        absl::StrCat(fields.NameOf("attn_type"), " is '", type, "'; supported is multihead_attention"));
  ASSIGN_OR_RETURN(const double clip, fields.DoubleOr("clip_qkv", 0));
  ASSIGN_OR_RETURN(const double scale, fields.DoubleOr("softmax_scale", layer.attention.scale));
  layer.attention.clip = static_cast<float>(clip);
  layer.attention.scale = static_cast<float>(scale);
  RETURN_IF_ERROR(OnlyFalse(fields, "qk_ln"));
  RETURN_IF_ERROR(OnlyFalse(fields, "prefix_lm"));
  RETURN_IF_ERROR(OnlyFalse(fields, "attn_uses_sequence_id"));
  constexpr absl::string_view kIgnorable[] = {"_name_or_path",
                                              "alibi_bias_max",
                                              "architectures",
                                              "attn_impl",
                                              "attn_pdrop",
                                              "chunk_size_feed_forward",
                                              "dtype",
                                              "id2label",
                                              "is_encoder_decoder",
                                              "label2id",
                                              "model_type",
                                              "output_attentions",
                                              "output_hidden_states",
                                              "problem_type",
                                              "return_dict",
                                              "torch_dtype"};
  return fields.Finish(kIgnorable);
}

}  // namespace

absl::Status OnlyFalse(JsonFields& config, const char* name) {
  ASSIGN_OR_RETURN(const bool value, config.BoolOr(name, false));
  if (!value) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(config.NameOf(name), " is true; only false is supported"));
}

absl::Status OnlyTrue(JsonFields& config, const char* name) {
  ASSIGN_OR_RETURN(const bool value, config.BoolOr(name, true));
  if (value) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(config.NameOf(name), " is false; only true is supported"));
}

absl::StatusOr<RopeObject> RequireRope(JsonFields& config) {
  for (const char* name : {"rope_parameters", "rope_scaling"}) {
    const Json* object = config.Find(name);
    if (object == nullptr) continue;
    if (object->is_object()) return RopeObject{object, config.NameOf(name)};
    return absl::InvalidArgumentError(absl::StrCat(config.NameOf(name), " must be an object"));
  }
  return absl::InvalidArgumentError(absl::StrCat(config.NameOf("rope_parameters"), " is missing"));
}

absl::Status ReadApertus(JsonFields& config, DecoderSpec&, LayerSpec&) {
  return RequireRope(config).status();
}

absl::Status ReadMinistral3(JsonFields& config, DecoderSpec&, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const RopeObject rope, RequireRope(config));
  JsonFields fields(*rope.object, rope.name);
  ASSIGN_OR_RETURN(const double beta, fields.Double("llama_4_scaling_beta"));
  ASSIGN_OR_RETURN(const int32_t original, fields.Int("original_max_position_embeddings"));
  if (original < 1)
    return absl::InvalidArgumentError(
        absl::StrCat(fields.NameOf("original_max_position_embeddings"), " must be positive, is ", original));
  layer.attention.query_scale =
      TemperatureScale{.floor_scale = static_cast<double>(original), .attention_scale = beta, .first = 0};
  return absl::OkStatus();
}

// The first Gemma was published as "gelu", by which its makers meant the approximation by tanh, as transformers takes it.
absl::Status ReadGemma1(JsonFields& config, DecoderSpec&, LayerSpec& layer) {
  constexpr char kApproximation[] = "gelu_pytorch_tanh";
  ASSIGN_OR_RETURN(const std::string activation, config.StringOr("hidden_act", kApproximation));
  if (activation == "gelu") layer.ffn.activation = Activation::kGeluTanh;
  const bool is_tanh = layer.ffn.activation == Activation::kGeluTanh;
  ASSIGN_OR_RETURN(const std::string again,
                   config.StringOr("hidden_activation", is_tanh ? kApproximation : activation.c_str()));
  if (again == activation || (is_tanh && again == kApproximation)) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(config.NameOf("hidden_activation"), " is '", again,
                                               "'; only what 'hidden_act' is, or ", kApproximation,
                                               " beside gelu, is supported"));
}

absl::Status ReadGemma(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  // Gemma 3 has no cap on scores; transformers reads the field and passes it by.
  RETURN_IF_ERROR(config.DoubleOr("attn_logit_softcapping", 0).status());
  constexpr double kQueryScalar = 256;
  ASSIGN_OR_RETURN(const double scalar, config.DoubleOr("query_pre_attn_scalar", kQueryScalar));
  layer.attention.scale = static_cast<float>(1 / std::sqrt(scalar));
  ASSIGN_OR_RETURN(const double logit_cap, config.DoubleOr("final_logit_softcapping", 0));
  spec.logit_softcap = logit_cap;
  return absl::OkStatus();
}

// Here the caps are there unless they are null.
absl::Status ReadGemma2(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  RETURN_IF_ERROR(ReadGemma(config, spec, layer));
  ASSIGN_OR_RETURN(const double score_cap, config.DoubleOr("attn_logit_softcapping", 0));
  layer.attention.softcap = config.Has("attn_logit_softcapping") ? score_cap : 50;
  if (!config.Has("final_logit_softcapping")) spec.logit_softcap = 30;
  return absl::OkStatus();
}

absl::Status ReadGranite(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const double embedding, config.DoubleOr("embedding_multiplier", 1));
  ASSIGN_OR_RETURN(const double logits, config.DoubleOr("logits_scaling", 1));
  ASSIGN_OR_RETURN(const double residual, config.DoubleOr("residual_multiplier", 1));
  ASSIGN_OR_RETURN(const double attention, config.DoubleOr("attention_multiplier", 1));
  spec.embedding_scale = static_cast<float>(embedding);
  spec.logit_scale = static_cast<float>(1 / logits);
  spec.block.residual_scale = static_cast<float>(residual);
  layer.attention.scale = static_cast<float>(attention);
  return absl::OkStatus();
}

// Older configs say "qkv_bias", and "bias" for all other projections.
absl::Status ReadInternLm3(JsonFields& config, DecoderSpec&, LayerSpec& layer) {
  ASSIGN_OR_RETURN(layer.attention.qkv_bias, config.BoolOr("qkv_bias", layer.attention.qkv_bias));
  ASSIGN_OR_RETURN(layer.attention.output_bias, config.BoolOr("bias", layer.attention.output_bias));
  ASSIGN_OR_RETURN(layer.ffn.bias, config.BoolOr("bias", layer.ffn.bias));
  return absl::OkStatus();
}

absl::Status ReadOlmo(JsonFields& config, DecoderSpec&, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const double clip, config.DoubleOr("clip_qkv", 0));
  layer.attention.clip = static_cast<float>(clip);
  return absl::OkStatus();
}

absl::Status ReadCohere(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const double scale, config.DoubleOr("logit_scale", 0.0625));
  spec.logit_scale = static_cast<float>(scale);
  ASSIGN_OR_RETURN(const bool norms, config.BoolOr("use_qk_norm", false));
  if (norms)
    layer.attention.head_norm = {.kind = NormKind::kLayer, .epsilon = spec.norm.epsilon, .per_head = true};
  return absl::OkStatus();
}

absl::Status ReadCohere2(JsonFields& config, DecoderSpec& spec, LayerSpec&) {
  ASSIGN_OR_RETURN(const double scale, config.DoubleOr("logit_scale", 0.0625));
  spec.logit_scale = static_cast<float>(scale);
  return absl::OkStatus();
}

absl::Status ReadPhi(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const bool norms, config.BoolOr("qk_layernorm", false));
  if (norms)
    layer.attention.head_norm = {.kind = NormKind::kLayer, .epsilon = spec.norm.epsilon, .has_bias = true};
  return absl::OkStatus();
}

absl::Status ReadPersimmon(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const bool norms, config.BoolOr("qk_layernorm", true));
  if (norms)
    layer.attention.head_norm = {.kind = NormKind::kLayer, .epsilon = spec.norm.epsilon, .has_bias = true};
  return absl::OkStatus();
}

absl::Status ReadStableLm(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const bool norms, config.BoolOr("qk_layernorm", false));
  ASSIGN_OR_RETURN(const bool parallel, config.BoolOr("use_parallel_residual", false));
  if (norms)
    layer.attention.head_norm = {.kind = NormKind::kLayer, .epsilon = spec.norm.epsilon, .per_head = true};
  if (parallel) spec.block.kind = BlockKind::kParallel;
  return absl::OkStatus();
}

absl::Status ReadGptNeoX(JsonFields& config, DecoderSpec& spec, LayerSpec&) {
  ASSIGN_OR_RETURN(const bool parallel, config.BoolOr("use_parallel_residual", true));
  if (parallel) spec.block.kind = BlockKind::kParallelTwoNorms;
  return absl::OkStatus();
}

absl::Status ReadGpt2(JsonFields& config, DecoderSpec&, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const bool scaled, config.BoolOr("scale_attn_weights", true));
  if (!scaled) layer.attention.scale = 1;
  return absl::OkStatus();
}

absl::Status FinishGpt2(JsonFields& config, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const bool by_layer, config.BoolOr("scale_attn_by_inverse_layer_idx", false));
  if (by_layer)
    for (int i = 0; i < spec.num_layers(); ++i) spec.layers[i].attention.scale /= static_cast<float>(i + 1);
  return absl::OkStatus();
}

absl::Status ReadGptBigCode(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const bool multi_query, config.BoolOr("multi_query", true));
  spec.num_kv_heads = multi_query ? 1 : spec.num_heads;
  ASSIGN_OR_RETURN(const int32_t said, config.IntOr("num_key_value_heads", spec.num_kv_heads));
  if (said != spec.num_kv_heads)
    return absl::InvalidArgumentError(absl::StrCat(config.NameOf("num_key_value_heads"), " must be ",
                                                   spec.num_kv_heads, " as 'multi_query' says, is ", said));
  return ReadGpt2(config, spec, layer);
}

// "attention_layers" names each layer, "attention_types" says how to repeat them.
absl::Status FinishGptNeo(JsonFields& config, DecoderSpec& spec) {
  constexpr char kLayers[] = "attention_layers", kTypes[] = "attention_types";
  ASSIGN_OR_RETURN(const int32_t window, config.IntOr("window_size", 256));
  std::vector<Json> kinds;
  const Json *layers = config.Find(kLayers), *types = config.Find(kTypes);
  if (layers != nullptr && layers->is_array()) {
    kinds.assign(layers->begin(), layers->end());
  } else if (types != nullptr && types->is_array()) {
    for (const Json& type : *types) {
      const bool fits =
          type.is_array() && type.size() == 2 && type[0].is_array() && type[1].is_number_unsigned();
      const size_t times = fits ? type[1].get<size_t>() : 0;
      if (!fits || times > spec.layers.size())
        return absl::InvalidArgumentError(
            absl::StrCat(config.NameOf(kTypes), " must hold pairs of kinds and how often they are repeated"));
      for (size_t i = 0; i < times && kinds.size() <= spec.layers.size(); ++i)
        kinds.insert(kinds.end(), type[0].begin(), type[0].end());
    }
  }
  if (kinds.size() != spec.layers.size())
    return absl::InvalidArgumentError(absl::StrCat(config.NameOf(layers != nullptr ? kLayers : kTypes),
                                                   " must name ", spec.layers.size(), " layers, names ",
                                                   kinds.size()));
  for (size_t i = 0; i < kinds.size(); ++i) {
    if (kinds[i] != "global" && kinds[i] != "local")
      return absl::UnimplementedError(
          absl::StrCat(config.NameOf(kLayers), " of layer ", i, " must be global or local"));
    if (kinds[i] == "local") spec.layers[i].position.window = window;
    spec.layers[i].attention.scale = 1;  // scores are not scaled
  }
  return absl::OkStatus();
}

absl::Status ReadGptJ(JsonFields& config, DecoderSpec&, LayerSpec&) {
  return config.IntOr("n_ctx", 0).status();  // said once more
}

absl::Status ReadOpt(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const bool bias, config.BoolOr("enable_bias", true));
  ASSIGN_OR_RETURN(const bool affine, config.BoolOr("layer_norm_elementwise_affine", true));
  layer.attention.qkv_bias = layer.attention.output_bias = layer.ffn.bias = bias;
  spec.norm.has_weight = spec.norm.has_bias = affine;
  ASSIGN_OR_RETURN(const bool norms_branch, config.BoolOr("do_layer_norm_before", true));
  ASSIGN_OR_RETURN(const bool no_output_norm, config.BoolOr("_remove_final_layer_norm", false));
  spec.block.pre_norm = norms_branch;
  spec.block.norms_sum = !norms_branch;
  spec.output_norm = norms_branch && !no_output_norm;
  ASSIGN_OR_RETURN(const int32_t width, config.IntOr("word_embed_proj_dim", spec.hidden_size));
  if (width != spec.hidden_size) spec.embedding_size = width;
  if (width > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(config.NameOf("word_embed_proj_dim"), " must be positive, is ", width));
}

absl::Status ReadScaledEmbedding(JsonFields& config, DecoderSpec& spec, LayerSpec&) {
  ASSIGN_OR_RETURN(const bool scaled, config.BoolOr("scale_embedding", true));
  if (scaled) spec.embedding_scale = std::sqrt(static_cast<float>(spec.hidden_size));
  return absl::OkStatus();
}

absl::Status ReadBioGpt(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  // The code of the model passes it by, and its norms have the number that their library has.
  RETURN_IF_ERROR(config.DoubleOr("layer_norm_eps", 0).status());
  return ReadScaledEmbedding(config, spec, layer);
}

absl::Status ReadBloom(JsonFields& config, DecoderSpec& spec, LayerSpec&) {
  ASSIGN_OR_RETURN(spec.block.norms_stream, config.BoolOr("apply_residual_connection_post_layernorm", false));
  return config.BoolOr("slow_but_exact", false).status();  // the same by definition
}

// Three generations of decoders.
absl::Status ReadFalcon(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const bool newer, config.BoolOr("new_decoder_architecture", false));
  ASSIGN_OR_RETURN(const bool multi_query, config.BoolOr("multi_query", true));
  ASSIGN_OR_RETURN(const bool parallel, config.BoolOr("parallel_attn", true));
  ASSIGN_OR_RETURN(const bool alibi, config.BoolOr("alibi", false));
  ASSIGN_OR_RETURN(const int32_t kv_heads, config.IntOr("num_kv_heads", spec.num_heads));
  ASSIGN_OR_RETURN(const int32_t norms, config.IntOr("num_ln_in_parallel_attn", newer ? 2 : 1));
  spec.num_kv_heads = newer ? kv_heads : multi_query ? 1 : spec.num_heads;
  if (newer || parallel)
    spec.block.kind = newer && norms == 2 ? BlockKind::kParallelTwoNorms : BlockKind::kParallel;
  if (alibi) layer.position.scheme = AlibiSpec{.scaled = true};
  return absl::OkStatus();
}

absl::Status ReadMpt(JsonFields& config, DecoderSpec&, LayerSpec& layer) {
  RETURN_IF_ERROR(ReadMptAttention(config.Find("attn_config"), config.NameOf("attn_config"), layer));
  // transformers takes 4 D whatever this says, and so are the tensors.
  RETURN_IF_ERROR(config.IntOr("expansion_ratio", 4).status());
  RETURN_IF_ERROR(OnlyTrue(config, "no_bias"));
  if (config.Find("logit_scale") != nullptr)
    return absl::UnimplementedError(absl::StrCat(config.NameOf("logit_scale"), " must be null"));
  ASSIGN_OR_RETURN(const std::string norm, config.StringOr("norm_type", "low_precision_layernorm"));
  if (norm == "low_precision_layernorm") return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(config.NameOf("norm_type"), " is '", norm, "'; supported is low_precision_layernorm"));
}

absl::Status FinishSmolLm3(JsonFields& config, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const int32_t interval, config.IntOr("no_rope_layer_interval", 4));
  const Json* rotated = config.Find("no_rope_layers");
  if (rotated != nullptr && (!rotated->is_array() || rotated->size() != spec.layers.size()))
    return absl::InvalidArgumentError(absl::StrCat(config.NameOf("no_rope_layers"), " must be an array of ",
                                                   spec.layers.size(), " numbers"));
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const bool stands_still = rotated != nullptr
                                  ? (*rotated)[i] == 0
                                  : interval > 0 && (i + 1) % static_cast<size_t>(interval) == 0;
    if (stands_still) spec.layers[i].position.scheme = NopeSpec{};
  }
  RETURN_IF_ERROR(OnlyFalse(config, "use_sliding_window"));
  return config.IntOr("sliding_window", 0).status();  // switched off
}

}  // namespace ropeway::family_readers
