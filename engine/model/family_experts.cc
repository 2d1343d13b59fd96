// What families of experts have in their config.json.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/decimals.h"
#include "engine/base/status_macros.h"
#include "engine/model/family_readers.h"

namespace ropeway::family_readers {
namespace {

using Json = nlohmann::json;

// A number that some folders say of each layer. REQUIRES: the field is there.
absl::StatusOr<int32_t> IntOfAllLayers(JsonFields& config, const char* name) {
  const Json& value = *config.Find(name);
  if (!value.is_array()) return config.Int(name);
  const bool all_alike = !value.empty() && std::all_of(value.begin(), value.end(), [&](const Json& one) {
    return one.is_number_unsigned() && one == value[0] && one.get<uint64_t>() <= INT32_MAX;
  });
  if (all_alike) return value[0].get<int32_t>();
  return absl::InvalidArgumentError(absl::StrCat(
      config.NameOf(name), " must be an integer, or a list with the same integer for each layer"));
}

// A required number under any of several names, which must agree.
absl::StatusOr<int32_t> OneOf(JsonFields& config, std::initializer_list<const char*> names) {
  const char* found = nullptr;
  int32_t value = 0;
  for (const char* name : names) {
    if (config.Find(name) == nullptr) continue;
    ASSIGN_OR_RETURN(const int32_t said, IntOfAllLayers(config, name));
    if (found != nullptr && said != value)
      return absl::InvalidArgumentError(
          absl::StrCat(config.NameOf(name), " must be ", value, " as '", found, "' says, is ", said));
    found = name;
    value = said;
  }
  return found == nullptr ? config.Int(*names.begin()) : value;
}

// A list of layers by index, or null.
absl::Status ReadLayerIndices(JsonFields& config, const char* name, std::vector<bool>& chosen,
                              bool& is_said) {
  const Json* indices = config.Find(name);
  is_said = indices != nullptr;
  if (!is_said) return absl::OkStatus();
  const absl::Status wrong = absl::InvalidArgumentError(
      absl::StrCat(config.NameOf(name), " must be an array of indices of layers below ", chosen.size()));
  if (!indices->is_array()) return wrong;
  for (const Json& index : *indices) {
    if (!index.is_number_unsigned() || index.get<uint64_t>() >= chosen.size()) return wrong;
    chosen[index.get<size_t>()] = true;
  }
  return absl::OkStatus();
}

// A number of layers that must not be 0.
absl::StatusOr<int32_t> Interval(JsonFields& config, const char* name, int32_t or_default) {
  ASSIGN_OR_RETURN(const int32_t interval, config.IntOr(name, or_default));
  if (interval > 0) return interval;
  return absl::InvalidArgumentError(absl::StrCat(config.NameOf(name), " must be positive, is ", interval));
}

void MakeDense(int32_t size, FfnSpec& ffn) {
  ffn.size = size;
  ffn.experts = {};
}

// Hunyuan's folders say that what experts give is not scaled, by false or by 1.
absl::Status CheckUnscaled(JsonFields& config) {
  constexpr char kName[] = "routed_scaling_factor";
  const Json* value = config.Find(kName);
  if (value == nullptr || *value == false || *value == 1) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(config.NameOf(kName), " is ", Shown(*value), "; only 1 and false are supported"));
}

// {"quant_method": "mxfp4", "modules_to_not_convert": [...]}: what is packed, tensors tell.
absl::Status CheckPacking(JsonFields& config) {
  constexpr char kName[] = "quantization_config";
  const Json* object = config.Find(kName);
  if (object == nullptr) return absl::OkStatus();
  if (!object->is_object())
    return absl::InvalidArgumentError(absl::StrCat(config.NameOf(kName), " must be an object"));
  JsonFields fields(*object, config.NameOf(kName));
  ASSIGN_OR_RETURN(const std::string method, fields.String("quant_method"));
  if (method == "mxfp4") return fields.Finish({"modules_to_not_convert", "dequantize"});
  return absl::UnimplementedError(
      absl::StrCat(fields.NameOf("quant_method"), " is '", method, "'; supported is mxfp4"));
}

// Layers that are not rotated: of `rotated`, those that are false.
absl::Status ReadLlama4Rotation(JsonFields& config, std::vector<bool>& rotated) {
  ASSIGN_OR_RETURN(const int32_t interval, Interval(config, "no_rope_layer_interval", 4));
  for (size_t i = 0; i < rotated.size(); ++i) rotated[i] = (i + 1) % static_cast<size_t>(interval) != 0;
  const Json* flags = config.Find("no_rope_layers");
  if (flags == nullptr || (flags->is_array() && flags->empty())) return absl::OkStatus();
  if (!flags->is_array() || flags->size() != rotated.size())
    return absl::InvalidArgumentError(
        absl::StrCat(config.NameOf("no_rope_layers"), " must be an array of ", rotated.size(), " numbers"));
  for (size_t i = 0; i < rotated.size(); ++i) rotated[i] = (*flags)[i] != 0;
  return absl::OkStatus();
}

// Layers that see the chunk of their own position alone.
absl::Status ReadLlama4Chunks(JsonFields& config, std::vector<bool>& chunked) {
  const Json* types = config.Find("layer_types");
  if (types == nullptr) return absl::OkStatus();
  if (!types->is_array() || types->size() != chunked.size())
    return absl::InvalidArgumentError(
        absl::StrCat(config.NameOf("layer_types"), " must be an array of ", chunked.size(), " strings"));
  for (size_t i = 0; i < chunked.size(); ++i) {
    chunked[i] = (*types)[i] == "chunked_attention";
    if (!chunked[i] && (*types)[i] != "full_attention")
      return absl::UnimplementedError(absl::StrCat(config.NameOf("layer_types"), " of layer ", i,
                                                   " is not supported; supported are full_attention, "
                                                   "chunked_attention"));
  }
  return absl::OkStatus();
}

absl::Status FinishLlama4Attention(JsonFields& config, DecoderSpec& spec) {
  std::vector<bool> rotated(spec.layers.size());
  RETURN_IF_ERROR(ReadLlama4Rotation(config, rotated));
  std::vector<bool> chunked = rotated;
  RETURN_IF_ERROR(ReadLlama4Chunks(config, chunked));
  ASSIGN_OR_RETURN(const int32_t chunk,
                   config.IntOr("attention_chunk_size", config.Has("attention_chunk_size") ? 0 : 8192));
  ASSIGN_OR_RETURN(const bool tuned, config.BoolOr("attn_temperature_tuning", true));
  ASSIGN_OR_RETURN(const double floor, config.DoubleOr("floor_scale", 8192));
  ASSIGN_OR_RETURN(const double scale, config.DoubleOr("attn_scale", 0.1));
  if (!(floor > 0))
    return absl::InvalidArgumentError(
        absl::StrCat(config.NameOf("floor_scale"), " must be positive, is ", Decimals(floor)));
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    LayerSpec& layer = spec.layers[i];
    if (chunked[i] && chunk == 0)
      return absl::InvalidArgumentError(
          absl::StrCat(config.NameOf("attention_chunk_size"), " must be positive where layers have chunks"));
    if (chunked[i]) layer.position.chunk = chunk;
    if (rotated[i]) continue;
    layer.position.scheme = NopeSpec{};
    layer.attention.head_norm = {};
    if (tuned) layer.attention.query_scale = TemperatureScale{.floor_scale = floor, .attention_scale = scale};
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadExpertCounts(JsonFields& config, std::initializer_list<const char*> count,
                              std::initializer_list<const char*> per_token, ExpertsSpec& experts) {
  ASSIGN_OR_RETURN(experts.count, OneOf(config, count));
  ASSIGN_OR_RETURN(experts.per_token, OneOf(config, per_token));
  if (experts.count > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(config.NameOf(*count.begin()), " must be positive, is ", experts.count));
}

absl::Status ReadMixtral(JsonFields& config, DecoderSpec&, LayerSpec& layer) {
  layer.ffn.experts.normalised = true;
  return ReadExpertCounts(config, {"num_local_experts"}, {"num_experts_per_tok"}, layer.ffn.experts);
}

absl::Status ReadQwen3Moe(JsonFields& config, DecoderSpec&, LayerSpec& layer) {
  ExpertsSpec& experts = layer.ffn.experts;
  RETURN_IF_ERROR(
      ReadExpertCounts(config, {"num_experts", "num_local_experts"}, {"num_experts_per_tok"}, experts));
  ASSIGN_OR_RETURN(experts.normalised, config.BoolOr("norm_topk_prob", false));
  ASSIGN_OR_RETURN(layer.ffn.size, config.Int("moe_intermediate_size"));
  return absl::OkStatus();
}

absl::Status ReadQwen2Moe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  RETURN_IF_ERROR(ReadQwen3Moe(config, spec, layer));
  ExpertsSpec& experts = layer.ffn.experts;
  experts.shared_gate = true;
  ASSIGN_OR_RETURN(experts.shared_size, config.Int("shared_expert_intermediate_size"));
  if (experts.shared_size > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(config.NameOf("shared_expert_intermediate_size"), " must be positive, is 0"));
}

// Layers without experts, which have the size of ordinary ones.
absl::Status FinishQwenMoe(JsonFields& config, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const int32_t size, config.Int("intermediate_size"));
  ASSIGN_OR_RETURN(const int32_t step, Interval(config, "decoder_sparse_step", 1));
  std::vector<bool> dense(spec.layers.size(), false);
  bool is_said = false;
  RETURN_IF_ERROR(ReadLayerIndices(config, "mlp_only_layers", dense, is_said));
  for (size_t i = 0; i < dense.size(); ++i)
    if (dense[i] || (i + 1) % static_cast<size_t>(step) != 0) MakeDense(size, spec.layers[i].ffn);
  return absl::OkStatus();
}

absl::Status ReadOlmoe(JsonFields& config, DecoderSpec&, LayerSpec& layer) {
  ExpertsSpec& experts = layer.ffn.experts;
  RETURN_IF_ERROR(
      ReadExpertCounts(config, {"num_experts", "num_local_experts"}, {"num_experts_per_tok"}, experts));
  ASSIGN_OR_RETURN(experts.normalised, config.BoolOr("norm_topk_prob", false));
  ASSIGN_OR_RETURN(const double clip, config.DoubleOr("clip_qkv", 0));
  layer.attention.clip = static_cast<float>(clip);
  return absl::OkStatus();
}

absl::Status ReadGraniteMoe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  layer.ffn.experts.score = RouterScore::kSoftmaxChosen;
  RETURN_IF_ERROR(
      ReadExpertCounts(config, {"num_local_experts"}, {"num_experts_per_tok"}, layer.ffn.experts));
  return ReadGranite(config, spec, layer);
}

absl::Status ReadGraniteMoeShared(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  ASSIGN_OR_RETURN(layer.ffn.experts.shared_size, config.IntOr("shared_intermediate_size", 0));
  return ReadGraniteMoe(config, spec, layer);
}

absl::Status ReadErnieMoe(JsonFields& config, DecoderSpec&, LayerSpec& layer) {
  ExpertsSpec& experts = layer.ffn.experts;
  RETURN_IF_ERROR(ReadExpertCounts(config, {"moe_num_experts", "num_experts"},
                                   {"moe_k", "num_experts_per_tok"}, experts));
  ASSIGN_OR_RETURN(layer.ffn.size, config.Int("moe_intermediate_size"));
  ASSIGN_OR_RETURN(const int32_t shared, config.IntOr("moe_num_shared_experts", 2));
  ASSIGN_OR_RETURN(const double least, config.DoubleOr("moe_norm_min", 1e-12));
  experts.correction = true;
  experts.normalised = true;
  experts.least_sum = static_cast<float>(least);
  experts.shared_size = static_cast<int32_t>(std::min<int64_t>(int64_t{shared} * layer.ffn.size, INT32_MAX));
  ASSIGN_OR_RETURN(const bool bias, config.BoolOr("use_bias", false));
  if (!bias) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(config.NameOf("use_bias"), " is true; only false is supported beside experts"));
}

// Layers from the first to the last one that has experts, and which of them.
absl::Status FinishErnieMoe(JsonFields& config, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const int32_t size, config.Int("intermediate_size"));
  ASSIGN_OR_RETURN(const int32_t step, Interval(config, "moe_layer_interval", 1));
  ASSIGN_OR_RETURN(const int32_t first, config.IntOr("moe_layer_start_index", 1));
  const Json* end = config.Find("moe_layer_end_index");
  int32_t last = spec.num_layers() - 1;  // as -1 says
  if (end != nullptr && *end != -1) {
    ASSIGN_OR_RETURN(last, config.Int("moe_layer_end_index"));
  }
  for (int32_t i = 0; i < spec.num_layers(); ++i)
    if (i < first || i > last || (i + 1) % step != 0) MakeDense(size, spec.layers[i].ffn);
  return absl::OkStatus();
}

absl::Status ReadHunyuanMoe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  ExpertsSpec& experts = layer.ffn.experts;
  experts.normalised = true;
  experts.shared_size = layer.ffn.size;
  layer.attention.head_norm.epsilon = spec.norm.epsilon;
  RETURN_IF_ERROR(CheckUnscaled(config));
  return ReadExpertCounts(config, {"num_experts", "num_local_experts"}, {"moe_topk", "num_experts_per_tok"},
                          experts);
}

absl::Status ReadGptOss(JsonFields& config, DecoderSpec&, LayerSpec& layer) {
  RETURN_IF_ERROR(CheckPacking(config));
  ExpertsSpec& experts = layer.ffn.experts;
  experts.score = RouterScore::kSoftmaxChosen;
  experts.router_bias = true;
  RETURN_IF_ERROR(
      ReadExpertCounts(config, {"num_local_experts"}, {"num_experts_per_tok", "experts_per_token"}, experts));
  RETURN_IF_ERROR(RequireRope(config).status());
  ASSIGN_OR_RETURN(const std::string activation, config.StringOr("hidden_act", "silu"));
  if (activation != "silu")
    return absl::UnimplementedError(
        absl::StrCat(config.NameOf("hidden_act"), " is '", activation, "'; only silu is supported"));
  ASSIGN_OR_RETURN(const double slope, config.DoubleOr("swiglu_alpha", 1.702));
  ASSIGN_OR_RETURN(const double limit, config.DoubleOr("swiglu_limit", 7));
  layer.ffn.numbers = {.s = static_cast<float>(slope), .c = static_cast<float>(limit)};
  return config.IntOr("initial_context_length", 0).status();  // of the rope, said once more
}

absl::Status ReadLlama4(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  ExpertsSpec& experts = layer.ffn.experts;
  experts.score = RouterScore::kSigmoid;
  experts.scales_input = true;
  experts.shared_size = layer.ffn.size;
  RETURN_IF_ERROR(ReadExpertCounts(config, {"num_local_experts"}, {"num_experts_per_tok"}, experts));
  ASSIGN_OR_RETURN(const bool norms, config.BoolOr("use_qk_norm", true));
  layer.attention.head_norm.epsilon = spec.norm.epsilon;
  if (!norms) layer.attention.head_norm = {};
  return absl::OkStatus();
}

absl::Status FinishLlama4(JsonFields& config, DecoderSpec& spec) {
  RETURN_IF_ERROR(FinishLlama4Attention(config, spec));
  ASSIGN_OR_RETURN(const int32_t size, config.Int("intermediate_size_mlp"));
  ASSIGN_OR_RETURN(const int32_t step, Interval(config, "interleave_moe_layer_step", 1));
  std::vector<bool> sparse(spec.layers.size(), false);
  bool is_said = false;
  RETURN_IF_ERROR(ReadLayerIndices(config, "moe_layers", sparse, is_said));
  for (size_t i = 0; i < sparse.size(); ++i)
    if (is_said ? !sparse[i] : (i + 1) % static_cast<size_t>(step) != 0) MakeDense(size, spec.layers[i].ffn);
  return absl::OkStatus();
}

}  // namespace ropeway::family_readers
