// What families whose folders bring the code of their models along have in their config.json. Defaults are those of that
// code.
#include <string>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/decimals.h"
#include "engine/base/status_macros.h"
#include "engine/model/family_readers.h"

namespace ropeway::family_readers {
namespace {

// Fields of implementations that compute the same, and of training.
absl::Status ReadFlags(JsonFields& config, std::initializer_list<const char*> names) {
  for (const char* name : names) RETURN_IF_ERROR(config.BoolOr(name, false).status());
  return absl::OkStatus();
}

absl::StatusOr<int32_t> PositiveOr(JsonFields& config, const char* name, int32_t or_default) {
  ASSIGN_OR_RETURN(const int32_t value, config.IntOr(name, or_default));
  if (value > 0) return value;
  return absl::InvalidArgumentError(absl::StrCat(config.NameOf(name), " must be positive, is ", value));
}

}  // namespace

// No field says what the code of each folder does. Those of 13 billion weights have ALiBi and tell their context by
// another name; the second generation, which normalises its output layer, has a loss of its own or its larger vocabulary.
absl::Status ReadBaichuan(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  constexpr int32_t kSecondVocabulary = 125696;
  const bool is_alibi = config.Find("max_position_embeddings") == nullptr;
  ASSIGN_OR_RETURN(const int32_t longest, PositiveOr(config, "model_max_length", spec.context_length));
  if (is_alibi) {
    layer.position.scheme = AlibiSpec{};
    spec.context_length = longest;
  }
  spec.unit_output = config.Has("z_loss_weight") || spec.vocab_size == kSecondVocabulary;
  if (spec.unit_output && spec.tied_output)
    return absl::UnimplementedError(
        absl::StrCat(config.NameOf("tie_word_embeddings"),
                     " is true beside an output layer whose rows have length 1; only false is supported"));
  RETURN_IF_ERROR(config.DoubleOr("z_loss_weight", 0).status());
  return ReadFlags(config, {"_from_model_config"});
}

absl::Status ReadChatGlm(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const bool is_rms, config.BoolOr("rmsnorm", true));
  if (!is_rms) spec.norm = {.kind = NormKind::kLayer, .epsilon = spec.norm.epsilon, .has_bias = true};
  // "add_bias_linear" is of all products.
  layer.attention.qkv_bias |= layer.attention.output_bias;
  ASSIGN_OR_RETURN(spec.block.norms_stream, config.BoolOr("apply_residual_connection_post_layernorm", false));
  ASSIGN_OR_RETURN(spec.output_norm, config.BoolOr("post_layer_norm", true));
  RETURN_IF_ERROR(OnlyTrue(config, "multi_query_attention"));
  if (!config.Has("multi_query_attention"))
    return absl::UnimplementedError(
        absl::StrCat(config.NameOf("multi_query_attention"), " is missing; only true is supported"));
  RETURN_IF_ERROR(OnlyFalse(config, "interleaved_qkv"));
  RETURN_IF_ERROR(OnlyFalse(config, "prefix_projection"));
  for (const char* name : {"quantization_bit", "pre_seq_len"}) {
    ASSIGN_OR_RETURN(const int32_t value, config.IntOr(name, 0));
    if (value != 0)
      return absl::UnimplementedError(
          absl::StrCat(config.NameOf(name), " is ", value, "; only 0 is supported"));
  }
  ASSIGN_OR_RETURN(const int32_t tokens, config.IntOr("vocab_size", spec.vocab_size));
  if (tokens > spec.vocab_size)
    return absl::InvalidArgumentError(absl::StrCat(config.NameOf("vocab_size"),
                                                   " must be at most 'padded_vocab_size' ", spec.vocab_size,
                                                   ", is ", tokens));
  // Scores are divided by the index of the layer and multiplied by it again.
  return ReadFlags(config, {"apply_query_key_layer_scaling", "attention_softmax_in_fp32",
                            "bias_dropout_fusion", "fp32_residual_connection", "original_rope"});
}

// "rope_ratio" multiplies the base, but in the folders of ChatGLM2, which alone are told by their names, divides positions.
absl::Status FinishChatGlm(JsonFields& config, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const double ratio, config.DoubleOr("rope_ratio", 1));
  if (!(ratio > 0))
    return absl::InvalidArgumentError(
        absl::StrCat(config.NameOf("rope_ratio"), " must be positive, is ", Decimals(ratio)));
  ASSIGN_OR_RETURN(const std::string name, config.StringOr("_name_or_path", ""));
  const bool divides = absl::StrContains(name, "chatglm2");
  for (LayerSpec& layer : spec.layers) {
    auto* rope = std::get_if<RopeSpec>(&layer.position.scheme);
    if (rope == nullptr || ratio == 1) continue;
    if (rope->scaling != RopeScalingKind::kNone)
      return absl::UnimplementedError(
          absl::StrCat(config.NameOf("rope_ratio"), " beside another scaling of the rope is not supported"));
    if (divides) {
      rope->scaling = RopeScalingKind::kLinear;
      rope->factor = ratio;
    } else {
      rope->base *= ratio;
    }
  }
  return absl::OkStatus();
}

// Its "intermediate_size" is that of gate and up together.
absl::Status ReadQwen(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  if (layer.ffn.size % 2 != 0)
    return absl::InvalidArgumentError(
        absl::StrCat(config.NameOf("intermediate_size"), " must be even, is ", layer.ffn.size));
  layer.ffn.size /= 2;
  if (int64_t{spec.head_dim} * spec.num_heads != spec.hidden_size)
    return absl::InvalidArgumentError(absl::StrCat(config.NameOf("kv_channels"), " times ", spec.num_heads,
                                                   " heads must be 'hidden_size' ", spec.hidden_size, ", is ",
                                                   int64_t{spec.head_dim} * spec.num_heads));
  ASSIGN_OR_RETURN(const bool no_bias, config.BoolOr("no_bias", true));
  layer.attention.output_bias = layer.ffn.bias = !no_bias;
  RETURN_IF_ERROR(OnlyTrue(config, "scale_attn_weights"));
  RETURN_IF_ERROR(OnlyFalse(config, "use_cache_quantization"));
  RETURN_IF_ERROR(
      ReadFlags(config, {"bf16", "fp16", "fp32", "onnx_safe", "softmax_in_fp32", "use_cache_kernel"}));
  RETURN_IF_ERROR(config.DoubleOr("attn_dropout_prob", 0).status());
  RETURN_IF_ERROR(config.DoubleOr("emb_dropout_prob", 0).status());
  return config.Find("use_flash_attn") == nullptr || config.Find("use_flash_attn")->is_boolean()
             ? absl::OkStatus()
             : config.String("use_flash_attn").status();  // "auto"
}

// Beyond the length of its training the base of its rotations grows with the prompt, and queries with their position.
absl::Status FinishQwen(JsonFields& config, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const bool stretches, config.BoolOr("use_dynamic_ntk", true));
  ASSIGN_OR_RETURN(const bool grows, config.BoolOr("use_logn_attn", true));
  ASSIGN_OR_RETURN(const int32_t trained, PositiveOr(config, "seq_length", spec.context_length));
  if (grows && trained < 2)
    return absl::InvalidArgumentError(
        absl::StrCat(config.NameOf("seq_length"), " must be at least 2, is ", trained));
  for (LayerSpec& layer : spec.layers) {
    if (grows) layer.attention.query_scale = LognScale{.train_length = trained};
    auto* rope = std::get_if<RopeSpec>(&layer.position.scheme);
    if (rope == nullptr || !stretches) continue;
    if (rope->scaling != RopeScalingKind::kNone)
      return absl::UnimplementedError(absl::StrCat(config.NameOf("use_dynamic_ntk"),
                                                   " beside another scaling of the rope is not supported"));
    rope->scaling = RopeScalingKind::kQwen1Ntk;
    rope->original_context = trained;
  }
  return absl::OkStatus();
}

}  // namespace ropeway::family_readers
