#include "engine/model/hf_config.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "engine/model/hf_rope.h"
#include "engine/model/strict_json.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

// Which layers see a window only.
enum class Windows {
  kNone,
  kAll,            // all, where "sliding_window" is not null
  kFromLayer,      // those from "max_window_layers" on, where "use_sliding_window" is true
  kAllButEveryNth  // all but every "sliding_window_pattern"th
};

// What a model type implies: its formulas, and the values of fields that its configs may leave out.
struct Family {
  const char* name;
  Windows windows = Windows::kNone;
  bool attention_bias_field = false;  // has "attention_bias": biases of q, k, v and of the output
  bool mlp_bias_field = false;        // has "mlp_bias"
  bool qkv_bias = false;              // always has biases of q, k, v
  bool qk_norm = false;
  bool gemma = false;    // GeGLU, sandwich norms of 1 + w, scaled embeddings, two ropes
  int32_t kv_heads = 0;  // 0: as many as heads
  int32_t head_dim = 0;  // 0: hidden_size / heads
  int32_t context_length = 0;
  double rope_base = 10000;
};

constexpr Family kFamilies[] = {
    {.name = "llama", .attention_bias_field = true, .mlp_bias_field = true, .context_length = 2048},
    {.name = "mistral", .windows = Windows::kAll, .kv_heads = 8, .context_length = 131072},
    {.name = "qwen2",
     .windows = Windows::kFromLayer,
     .qkv_bias = true,
     .kv_heads = 32,
     .context_length = 32768},
    {.name = "qwen3",
     .windows = Windows::kFromLayer,
     .attention_bias_field = true,
     .qk_norm = true,
     .kv_heads = 32,
     .head_dim = 128,
     .context_length = 32768},
    {.name = "gemma3_text",
     .windows = Windows::kAllButEveryNth,
     .attention_bias_field = true,
     .qk_norm = true,
     .gemma = true,
     .kv_heads = 4,
     .head_dim = 256,
     .context_length = 131072,
     .rope_base = 1000000},
};

constexpr int32_t kDefaultWindow = 4096;
constexpr int32_t kDefaultWindowFromLayer = 28;
constexpr int32_t kDefaultWindowPattern = 6;
constexpr int32_t kDefaultQueryScalar = 256;
constexpr double kGemmaLocalBase = 10000;
constexpr int32_t kMaxConfigLayers = 1024;

// Fields that change nothing of what a model computes for given ids: notes of the training and of the
// software that saved the file, numbers for tokenizers and generation, choices among equal implementations.
constexpr absl::string_view kIgnorable[] = {
    "_attn_implementation_autoset",
    "_name_or_path",
    "_sliding_window_pattern",
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "cache_implementation",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
    "max_sequence_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
};

// Fields of all models that must be false or absent.
constexpr const char* kMustBeFalse[] = {
    "add_cross_attention", "is_encoder_decoder",          "rope_interleaved",
    "tie_encoder_decoder", "use_bidirectional_attention", "use_mrope"};

absl::StatusOr<const Family*> FamilyOf(JsonFields& config) {
  ASSIGN_OR_RETURN(const std::string type, config.String("model_type"));
  std::vector<std::string> names;
  for (const Family& family : kFamilies) {
    if (type == family.name) return &family;
    names.push_back(family.name);
  }
  return absl::UnimplementedError(absl::StrCat("architecture '", type, "' (", config.NameOf("model_type"),
                                               ") is not supported; supported are ",
                                               absl::StrJoin(names, ", ")));
}

absl::Status ReadSizes(JsonFields& config, const Family& family, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(spec.vocab_size, config.Int("vocab_size"));
  ASSIGN_OR_RETURN(spec.hidden_size, config.Int("hidden_size"));
  ASSIGN_OR_RETURN(spec.ffn_size, config.Int("intermediate_size"));
  ASSIGN_OR_RETURN(spec.num_heads, config.Int("num_attention_heads"));
  const int32_t kv_heads = family.kv_heads != 0 ? family.kv_heads : spec.num_heads;
  // Present but null means one per head, whatever the default.
  ASSIGN_OR_RETURN(
      spec.num_kv_heads,
      config.IntOr("num_key_value_heads", config.Has("num_key_value_heads") ? spec.num_heads : kv_heads));
  int32_t head_dim = family.head_dim;
  if (head_dim == 0) {
    if (spec.num_heads == 0 || (spec.hidden_size % spec.num_heads != 0 && config.Find("head_dim") == nullptr))
      return absl::InvalidArgumentError(absl::StrCat(config.NameOf("hidden_size"),
                                                     " must be a multiple of num_attention_heads ",
                                                     spec.num_heads, ", is ", spec.hidden_size));
    head_dim = spec.hidden_size / spec.num_heads;
  }
  ASSIGN_OR_RETURN(spec.head_dim, config.IntOr("head_dim", head_dim));
  spec.value_dim = spec.head_dim;
  ASSIGN_OR_RETURN(spec.context_length, config.IntOr("max_position_embeddings", family.context_length));
  return absl::OkStatus();
}

absl::Status ReadActivation(JsonFields& config, const Family& family, DecoderSpec& spec) {
  const char* name = family.gemma ? "hidden_activation" : "hidden_act";
  ASSIGN_OR_RETURN(const std::string activation,
                   config.StringOr(name, family.gemma ? "gelu_pytorch_tanh" : "silu"));
  if (activation == "silu") {
    spec.activation = FfnActivation::kSilu;
  } else if (activation == "gelu_pytorch_tanh") {
    spec.activation = FfnActivation::kGeluTanh;
  } else {
    return absl::UnimplementedError(absl::StrCat(config.NameOf(name), " is '", activation,
                                                 "', which is not supported; supported are silu, "
                                                 "gelu_pytorch_tanh"));
  }
  return absl::OkStatus();
}

absl::Status ReadFormulas(JsonFields& config, const Family& family, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const double epsilon, config.DoubleOr("rms_norm_eps", 1e-6));
  spec.norm_epsilon = static_cast<float>(epsilon);
  ASSIGN_OR_RETURN(spec.tied_output, config.BoolOr("tie_word_embeddings", family.gemma));
  spec.qkv_bias = family.qkv_bias;
  if (family.attention_bias_field) {
    ASSIGN_OR_RETURN(spec.qkv_bias, config.BoolOr("attention_bias", false));
    spec.attention_output_bias = spec.qkv_bias;
  }
  if (family.mlp_bias_field) {
    ASSIGN_OR_RETURN(spec.ffn_bias, config.BoolOr("mlp_bias", false));
  }
  spec.qk_norm = family.qk_norm;
  spec.attention_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(spec.head_dim)));
  if (!family.gemma) return absl::OkStatus();
  spec.norm_offset = 1;
  spec.sandwich_norms = true;
  spec.embedding_scale = std::sqrt(static_cast<float>(spec.hidden_size));
  ASSIGN_OR_RETURN(const double scalar, config.DoubleOr("query_pre_attn_scalar", kDefaultQueryScalar));
  spec.attention_scale = static_cast<float>(1 / std::sqrt(scalar));
  ASSIGN_OR_RETURN(const double score_cap, config.DoubleOr("attn_logit_softcapping", 0));
  ASSIGN_OR_RETURN(const double logit_cap, config.DoubleOr("final_logit_softcapping", 0));
  spec.attention_softcap = static_cast<float>(score_cap);
  spec.final_softcap = static_cast<float>(logit_cap);
  return absl::OkStatus();
}

// "layer_types", which says of every layer whether it has a window.
absl::Status ReadLayerTypes(JsonFields& config, const Json& types, std::vector<bool>& windowed) {
  const std::string name = config.NameOf("layer_types");
  if (!types.is_array() || types.size() != windowed.size())
    return absl::InvalidArgumentError(
        absl::StrCat(name, " must be an array of ", windowed.size(), " strings"));
  for (size_t i = 0; i < types.size(); ++i) {
    windowed[i] = types[i] == "sliding_attention";
    if (!windowed[i] && types[i] != "full_attention")
      return absl::UnimplementedError(absl::StrCat(
          name, " of layer ", i, " is not supported; supported are full_attention, sliding_attention"));
  }
  return absl::OkStatus();
}

// The width of windows, 0 for none, and the layers that have one.
absl::Status ReadWindows(JsonFields& config, const Family& family, int32_t& window,
                         std::vector<bool>& windowed) {
  window = 0;
  if (family.windows == Windows::kNone) return absl::OkStatus();
  ASSIGN_OR_RETURN(window, config.IntOr("sliding_window", config.Has("sliding_window") ? 0 : kDefaultWindow));
  int32_t from_layer = 0, pattern = 0;
  if (family.windows == Windows::kFromLayer) {
    ASSIGN_OR_RETURN(const bool use, config.BoolOr("use_sliding_window", false));
    ASSIGN_OR_RETURN(from_layer, config.IntOr("max_window_layers", kDefaultWindowFromLayer));
    if (!use) window = 0;
  }
  if (family.windows == Windows::kAllButEveryNth) {
    ASSIGN_OR_RETURN(pattern, config.IntOr("sliding_window_pattern", kDefaultWindowPattern));
    if (pattern < 1)
      return absl::InvalidArgumentError(
          absl::StrCat(config.NameOf("sliding_window_pattern"), " must be positive, is ", pattern));
  }
  for (size_t i = 0; i < windowed.size(); ++i)
    windowed[i] = pattern != 0 ? (i + 1) % pattern != 0 : window != 0 && i >= static_cast<size_t>(from_layer);
  if (family.windows != Windows::kAll)
    if (const Json* types = config.Find("layer_types"); types != nullptr)
      RETURN_IF_ERROR(ReadLayerTypes(config, *types, windowed));
  for (const bool has_window : windowed)
    if (has_window && window == 0)
      return absl::InvalidArgumentError(
          absl::StrCat(config.NameOf("sliding_window"),
                       " must be positive where layers have a window, is 0, null or "
                       "switched off"));
  return absl::OkStatus();
}

absl::Status ReadLayers(JsonFields& config, const Family& family, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const int32_t layers, config.Int("num_hidden_layers"));
  if (layers < 1 || layers > kMaxConfigLayers)
    return absl::InvalidArgumentError(absl::StrCat(config.NameOf("num_hidden_layers"), " must be in [1, ",
                                                   kMaxConfigLayers, "], is ", layers));
  int32_t window = 0;
  std::vector<bool> windowed(static_cast<size_t>(layers), false);
  RETURN_IF_ERROR(ReadWindows(config, family, window, windowed));
  const HfRopeDefaults defaults{
      .head_dim = spec.head_dim,
      .context_length = spec.context_length,
      .base = family.rope_base,
      .local_base = family.gemma ? std::optional<double>(kGemmaLocalBase) : std::nullopt};
  ASSIGN_OR_RETURN(spec.ropes, ReadHfRopes(config, defaults));
  for (const bool has_window : windowed)
    spec.layers.push_back({.window = has_window ? window : 0, .rope = family.gemma && has_window ? 1 : 0});
  return absl::OkStatus();
}

// Fields that every model may have, with the one value that means nothing unusual.
absl::Status CheckUsual(JsonFields& config) {
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
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DecoderSpec> SpecFromHfConfig(absl::string_view text) {
  ASSIGN_OR_RETURN(const Json json, ParseStrictJson(text));
  if (!json.is_object()) return absl::InvalidArgumentError("config.json must hold an object");
  JsonFields config(json, "config.json");
  ASSIGN_OR_RETURN(const Family* family, FamilyOf(config));
  DecoderSpec spec;
  spec.architecture = family->name;
  RETURN_IF_ERROR(ReadSizes(config, *family, spec));
  RETURN_IF_ERROR(ReadActivation(config, *family, spec));
  RETURN_IF_ERROR(ReadFormulas(config, *family, spec));
  RETURN_IF_ERROR(ReadLayers(config, *family, spec));
  RETURN_IF_ERROR(CheckUsual(config));
  RETURN_IF_ERROR(config.Finish(kIgnorable));
  RETURN_IF_ERROR(spec.Validate());
  return spec;
}

}  // namespace ropeway
