#include "engine/model/hf_config.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "engine/model/family.h"
#include "engine/model/hf_rope.h"
#include "engine/model/hf_usual_fields.h"
#include "engine/model/strict_json.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

constexpr int32_t kDefaultWindowFromLayer = 28;
constexpr int32_t kDefaultRotaryDim = 64;
constexpr int32_t kMaxConfigLayers = 1024;
constexpr int32_t kMaxHiddenSize = 1 << 20;
constexpr int32_t kMaxConfigContext = 1 << 26;

absl::StatusOr<const Family*> FamilyOf(JsonFields& config) {
  ASSIGN_OR_RETURN(const std::string type, config.String("model_type"));
  std::vector<std::string> names;
  for (const Family& family : AllFamilies()) {
    if (family.hf_type == nullptr) continue;
    if (type == family.hf_type) return &family;
    names.push_back(family.hf_type);
  }
  const char* code =
      config.Find("auto_map") == nullptr ? "" : ", and the code that 'auto_map' names is never run";
  return absl::UnimplementedError(absl::StrCat("architecture '", type, "' (", config.NameOf("model_type"),
                                               ") is not supported", code, "; supported are ",
                                               absl::StrJoin(names, ", ")));
}

// A size that the family may have no field for.
absl::StatusOr<int32_t> SizeOr(JsonFields& config, const char* name, int32_t or_default) {
  if (name == nullptr) return or_default;
  return config.IntOr(name, or_default);
}

absl::Status ReadHeads(JsonFields& config, const Family& family, DecoderSpec& spec) {
  const HfFields& fields = family.fields;
  ASSIGN_OR_RETURN(spec.num_heads, config.Int(fields.heads));
  spec.num_kv_heads = spec.num_heads;
  if (fields.kv_heads != nullptr) {
    const int32_t kv_heads = family.kv_heads != 0 ? family.kv_heads : spec.num_heads;
    // Present but null means one per head, whatever the default.
    ASSIGN_OR_RETURN(spec.num_kv_heads,
                     config.IntOr(fields.kv_heads, config.Has(fields.kv_heads) ? spec.num_heads : kv_heads));
  }
  int32_t head_dim = family.head_dim;
  if (head_dim == 0) {
    const bool is_said = fields.head_dim != nullptr && config.Find(fields.head_dim) != nullptr;
    if (spec.num_heads == 0 || (spec.hidden_size % spec.num_heads != 0 && !is_said))
      return absl::InvalidArgumentError(absl::StrCat(config.NameOf(fields.hidden_size),
                                                     " must be a multiple of ", fields.heads, " ",
                                                     spec.num_heads, ", is ", spec.hidden_size));
    head_dim = spec.hidden_size / spec.num_heads;
  }
  ASSIGN_OR_RETURN(spec.head_dim, SizeOr(config, fields.head_dim, head_dim));
  spec.value_dim = spec.head_dim;
  return absl::OkStatus();
}

// Before anything is computed of it that could overflow.
absl::Status CheckMost(const JsonFields& config, const char* name, int32_t value, int32_t most) {
  if (value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(config.NameOf(name), " may be at most ", most, ", is ", value));
}

// `layer` gets what all layers have alike.
absl::Status ReadSizes(JsonFields& config, const Family& family, DecoderSpec& spec, LayerSpec& layer) {
  const HfFields& fields = family.fields;
  ASSIGN_OR_RETURN(spec.vocab_size, config.Int(fields.vocab_size));
  ASSIGN_OR_RETURN(spec.hidden_size, config.Int(fields.hidden_size));
  RETURN_IF_ERROR(ReadHeads(config, family, spec));
  if (family.ffn_factor == 0) {
    ASSIGN_OR_RETURN(layer.ffn.size, config.Int(fields.ffn_size));
  } else {
    RETURN_IF_ERROR(CheckMost(config, fields.hidden_size, spec.hidden_size, kMaxHiddenSize));
    ASSIGN_OR_RETURN(layer.ffn.size, SizeOr(config, fields.ffn_size, family.ffn_factor * spec.hidden_size));
  }
  ASSIGN_OR_RETURN(spec.context_length, config.IntOr(fields.context, family.context_length));
  return CheckMost(config, fields.context, spec.context_length, kMaxConfigContext);
}

// By the names of transformers, several of which are one function.
absl::Status ReadActivation(JsonFields& config, const char* name, FfnSpec& ffn) {
  constexpr struct {
    const char* name;
    Activation activation;
  } kActivations[] = {{"silu", Activation::kSilu},          {"swish", Activation::kSilu},
                      {"gelu", Activation::kGeluErf},       {"gelu_new", Activation::kGeluTanh},
                      {"gelu_fast", Activation::kGeluTanh}, {"gelu_pytorch_tanh", Activation::kGeluTanh},
                      {"relu", Activation::kRelu},          {"relu2", Activation::kRelu2},
                      {"xielu", Activation::kXielu}};
  if (name == nullptr || config.Find(name) == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string said, config.String(name));
  std::vector<std::string> names;
  for (const auto& known : kActivations) {
    if (said == known.name) {
      ffn.activation = known.activation;
      return absl::OkStatus();
    }
    names.push_back(known.name);
  }
  return absl::UnimplementedError(absl::StrCat(config.NameOf(name), " is '", said,
                                               "', which is not supported; supported are ",
                                               absl::StrJoin(names, ", ")));
}

absl::Status ReadBiases(JsonFields& config, const HfFields& fields, LayerSpec& layer) {
  AttentionSpec& attention = layer.attention;
  if (fields.attention_bias != nullptr) {
    ASSIGN_OR_RETURN(attention.qkv_bias, config.BoolOr(fields.attention_bias, attention.qkv_bias));
    if (fields.attention_bias_is_output_too) attention.output_bias = attention.qkv_bias;
  }
  if (fields.output_bias != nullptr) {
    ASSIGN_OR_RETURN(attention.output_bias, config.BoolOr(fields.output_bias, attention.output_bias));
  }
  if (fields.ffn_bias != nullptr) {
    ASSIGN_OR_RETURN(layer.ffn.bias, config.BoolOr(fields.ffn_bias, layer.ffn.bias));
  }
  return absl::OkStatus();
}

absl::Status ReadFormulas(JsonFields& config, const Family& family, DecoderSpec& spec, LayerSpec& layer) {
  spec.norm = family.norm;
  spec.block = family.block;
  spec.output_bias = family.output_bias;
  spec.embedding_norm = family.embedding_norm;
  spec.wide_range = family.wide_range;
  if (family.fields.epsilon != nullptr) {
    ASSIGN_OR_RETURN(const double epsilon, config.DoubleOr(family.fields.epsilon, family.norm.epsilon));
    spec.norm.epsilon = static_cast<float>(epsilon);
  }
  ASSIGN_OR_RETURN(spec.tied_output, config.BoolOr("tie_word_embeddings", family.tied_output));
  if (family.scaled_embedding) spec.embedding_scale = std::sqrt(static_cast<float>(spec.hidden_size));
  if (layer.attention.head_norm.kind != NormKind::kNone)
    layer.attention.head_norm.epsilon = spec.norm.epsilon;
  layer.attention.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(spec.head_dim)));
  RETURN_IF_ERROR(ReadActivation(config, family.fields.activation, layer.ffn));
  return ReadBiases(config, family.fields, layer);
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
      return absl::UnimplementedError(absl::StrCat(name, " of layer ", i,
                                                   " is not supported; supported are full_attention, "
                                                   "sliding_attention"));
  }
  return absl::OkStatus();
}

// From which layer on, or at which distance from each other, layers differ.
absl::Status ReadWindowedLayers(JsonFields& config, const Family& family, int32_t& window,
                                std::vector<bool>& windowed) {
  int32_t from_layer = 0, pattern = 0;
  if (family.windows == Windows::kFromLayer || family.windows == Windows::kAllWhereUsed ||
      family.windows == Windows::kEvenBelowLayer) {
    ASSIGN_OR_RETURN(const bool use, config.BoolOr("use_sliding_window", false));
    ASSIGN_OR_RETURN(from_layer, config.IntOr("max_window_layers", kDefaultWindowFromLayer));
    if (!use) window = 0;
  }
  if (family.windows == Windows::kEvenBelowLayer) {
    for (size_t i = 0; i < windowed.size(); ++i)
      windowed[i] = window != 0 && i % 2 == 0 && i < static_cast<size_t>(from_layer);
    return absl::OkStatus();
  }
  if (family.windows == Windows::kAllWhereUsed) from_layer = 0;
  if (family.windows == Windows::kAllButEveryNth) {
    pattern = family.window_pattern;
    const char* name = family.window_pattern_field;
    // Beside "layer_types" it says nothing more, and may be a text ("LLLG").
    const bool is_told = family.has_layer_types && config.Find("layer_types") != nullptr;
    if (name != nullptr && is_told) config.Find(name);
    if (name != nullptr && !is_told) {
      ASSIGN_OR_RETURN(pattern, config.IntOr(name, pattern));
      if (pattern < 1 && window != 0)
        return absl::InvalidArgumentError(
            absl::StrCat(config.NameOf(name), " must be positive, is ", pattern));
    }
  }
  for (size_t i = 0; i < windowed.size(); ++i)
    windowed[i] = pattern != 0 ? (i + 1) % pattern != 0 : window != 0 && i >= static_cast<size_t>(from_layer);
  return absl::OkStatus();
}

// The width of windows, 0 for none, and the layers that have one.
absl::Status ReadWindows(JsonFields& config, const Family& family, int32_t& window,
                         std::vector<bool>& windowed) {
  const char* name = family.fields.window;
  window = 0;
  if (family.windows != Windows::kNone) {
    ASSIGN_OR_RETURN(window, config.IntOr(name, config.Has(name) ? 0 : family.default_window));
    RETURN_IF_ERROR(ReadWindowedLayers(config, family, window, windowed));
  }
  if (family.has_layer_types)
    if (const Json* types = config.Find("layer_types"); types != nullptr)
      RETURN_IF_ERROR(ReadLayerTypes(config, *types, windowed));
  for (const bool has_window : windowed)
    if (has_window && window == 0)
      return absl::InvalidArgumentError(
          absl::StrCat(config.NameOf(name),
                       " must be positive where layers have a window, is 0, null or "
                       "switched off"));
  return absl::OkStatus();
}

// The rotary embedding of layers that see all positions and of those that have a window, in heads or parts of
// heads of `rotated_dim` columns.
absl::StatusOr<std::vector<RopeSpec>> ReadRopes(JsonFields& config, const Family& family,
                                                const DecoderSpec& spec, int32_t rotated_dim) {
  if (family.rotary_dim_field != nullptr) {  // nothing else is told
    RopeSpec rope{.base = family.rope_base, .pairing = family.hf_pairing};
    ASSIGN_OR_RETURN(rope.rotary_dim, config.IntOr(family.rotary_dim_field, kDefaultRotaryDim));
    return std::vector<RopeSpec>{rope};
  }
  ASSIGN_OR_RETURN(std::vector<RopeSpec> ropes,
                   ReadHfRopes(config, {.head_dim = rotated_dim,
                                        .context_length = spec.context_length,
                                        .base = family.rope_base,
                                        .rotated = family.rotated,
                                        .rotated_may_differ = family.rotated_may_differ,
                                        .rotated_field = family.fields.partial,
                                        .older_base_field = family.fields.older_base,
                                        .alpha = family.rope_alpha,
                                        .original_context = family.original_context,
                                        .older_longrope = family.older_longrope,
                                        .not_of_ropes = family.not_of_ropes,
                                        .local_base = family.local_rope_base,
                                        .local_base_is_base = family.local_base_is_base}));
  for (RopeSpec& rope : ropes) rope.pairing = family.hf_pairing;
  return ropes;
}

absl::StatusOr<PositionScheme> ReadScheme(JsonFields& config, const Family& family, const DecoderSpec& spec,
                                          const LayerSpec& layer, bool has_window) {
  switch (family.positions) {
    case FamilyPositions::kLearned:
      return LearnedSpec{.rows = spec.context_length + family.position_offset,
                         .offset = family.position_offset};
    case FamilyPositions::kSinusoidal:
      return SinusoidalSpec{.layout = SinusoidalLayout::kTensor2Tensor, .offset = family.position_offset};
    case FamilyPositions::kAlibi:
      return AlibiSpec{};
    case FamilyPositions::kRope:
      break;
  }
  const LatentSpec& latent = layer.attention.latent;
  ASSIGN_OR_RETURN(const std::vector<RopeSpec> ropes,
                   ReadRopes(config, family, spec, latent.kv_rank > 0 ? latent.rotary_dim : spec.head_dim));
  return has_window ? ropes.back() : ropes.front();
}

absl::Status ReadLayers(JsonFields& config, const Family& family, LayerSpec layer, DecoderSpec& spec) {
  const char* name = family.fields.layers;
  ASSIGN_OR_RETURN(const int32_t layers, config.Int(name));
  if (layers < 1 || layers > kMaxConfigLayers)
    return absl::InvalidArgumentError(
        absl::StrCat(config.NameOf(name), " must be in [1, ", kMaxConfigLayers, "], is ", layers));
  int32_t window = 0;
  std::vector<bool> windowed(static_cast<size_t>(layers), false);
  RETURN_IF_ERROR(ReadWindows(config, family, window, windowed));
  ASSIGN_OR_RETURN(PositionScheme full, ReadScheme(config, family, spec, layer, /*has_window=*/false));
  ASSIGN_OR_RETURN(const PositionScheme local, ReadScheme(config, family, spec, layer, /*has_window=*/true));
  if (family.rope_in_windows_only && (window > 0 || !family.rope_without_windows)) full = NopeSpec{};
  // What the family's own reading has chosen stays.
  const bool chosen = !std::holds_alternative<NopeSpec>(layer.position.scheme);
  for (const bool has_window : windowed) {
    if (!chosen) layer.position.scheme = has_window ? local : full;
    layer.position.window = has_window ? window : 0;
    spec.layers.push_back(layer);
  }
  return family.finish_layers == nullptr ? absl::OkStatus() : family.finish_layers(config, spec);
}

// Under dynamic NTK a config tells the context before it is stretched.
void StretchContext(DecoderSpec& spec) {
  for (const RopeSpec& rope : spec.Ropes())
    if (rope.scaling == RopeScalingKind::kDynamicNtk && rope.factor > 1)
      spec.context_length = static_cast<int32_t>(
          std::min<double>(static_cast<double>(rope.original_context) * rope.factor, kMaxConfigContext));
}

// Sizes under the names that all families share, where a family has its own, as transformers takes them, too.
absl::Status TakeSharedNames(const Family& family, Json& json) {
  const HfFields shared, &own = family.fields;
  const bool has_positions = absl::string_view(own.context) == "n_positions";
  const std::pair<std::string, std::string> names[] = {
      {shared.hidden_size, own.hidden_size},
      {shared.heads, own.heads},
      {shared.layers, own.layers},
      {shared.context, has_positions ? own.context : shared.context},
      {family.older_hidden_size, own.hidden_size}};
  for (const auto& [name, own_name] : names) {
    const auto found = name.empty() || name == own_name ? json.end() : json.find(name);
    if (found == json.end()) continue;
    Json& said = json[own_name];
    if (said.is_null()) said = *found;
    if (!found->is_null() && said != *found)
      return absl::InvalidArgumentError(absl::StrCat("config.json field '", name, "' must be '", own_name,
                                                     "' ", Shown(said), ", is ", Shown(*found)));
    json.erase(name);
  }
  return absl::OkStatus();
}

absl::StatusOr<DecoderSpec> ReadSpec(JsonFields& config, const Family& family) {
  DecoderSpec spec;
  spec.architecture = family.hf_type;
  LayerSpec layer{.attention = family.attention, .ffn = family.ffn};
  RETURN_IF_ERROR(ReadSizes(config, family, spec, layer));
  RETURN_IF_ERROR(ReadFormulas(config, family, spec, layer));
  if (family.read_more != nullptr) RETURN_IF_ERROR(family.read_more(config, spec, layer));
  RETURN_IF_ERROR(ReadLayers(config, family, std::move(layer), spec));
  StretchContext(spec);
  RETURN_IF_ERROR(CheckUsualFields(config, family.hf_type));
  RETURN_IF_ERROR(config.Finish(FieldsWithoutEffect()));
  RETURN_IF_ERROR(spec.Validate());
  return spec;
}

}  // namespace

absl::StatusOr<HfConfig> ReadHfConfig(absl::string_view text) {
  ASSIGN_OR_RETURN(Json json, ParseStrictJson(text));
  if (!json.is_object()) return absl::InvalidArgumentError("config.json must hold an object");
  JsonFields config(json, "config.json");
  ASSIGN_OR_RETURN(const Family* family, FamilyOf(config));
  RETURN_IF_ERROR(TakeSharedNames(*family, json));
  int32_t extra_layers = 0;
  if (family->extra_layers_field != nullptr) {
    ASSIGN_OR_RETURN(extra_layers, config.IntOr(family->extra_layers_field, 0));
  }
  ASSIGN_OR_RETURN(DecoderSpec spec, ReadSpec(config, *family));
  absl::Span<const HfName> names = family->names;
  if (spec.block.kind == BlockKind::kParallelTwoNorms && !family->names_of_two_norms.empty())
    names = family->names_of_two_norms;
  if (config.Find("quantization_config") != nullptr) names = family->names_where_packed;
  return HfConfig{std::move(spec), names, extra_layers};
}

absl::StatusOr<DecoderSpec> SpecFromHfConfig(absl::string_view text) {
  ASSIGN_OR_RETURN(HfConfig config, ReadHfConfig(text));
  return std::move(config.spec);
}

}  // namespace ropeway
