// What families of latent attention have in their config.json: DeepSeek-V2 and -V3, MiniCPM3.
#include <cmath>
#include <string>
#include <variant>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/family_readers.h"
#include "engine/position/rope.h"

namespace ropeway::family_readers {
namespace {

constexpr int32_t kMaxHeadColumns = 1024;

// A number that, where a config says it, must be what others imply.
absl::Status MustBe(JsonFields& config, const char* name, int32_t implied) {
  ASSIGN_OR_RETURN(const int32_t said, config.IntOr(name, implied));
  if (said == implied) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(config.NameOf(name), " must be ", implied, " in this config, is ", said));
}

absl::Status OnlyChoice(JsonFields& config, const char* name, const char* only) {
  ASSIGN_OR_RETURN(const std::string said, config.StringOr(name, only));
  if (said == only) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(config.NameOf(name), " is '", said, "'; only ", only, " is supported"));
}

// Scores are multiplied by the square of YaRN's magnitude for "mscale_all_dim" beside their usual scale.
absl::StatusOr<double> ScoreFactor(JsonFields& config) {
  for (const char* name : {"rope_parameters", "rope_scaling"}) {
    const nlohmann::json* object = config.Find(name);
    if (object == nullptr || !object->is_object()) continue;
    JsonFields rope(*object, config.NameOf(name));
    ASSIGN_OR_RETURN(const double all_dim, rope.DoubleOr("mscale_all_dim", 0));
    if (all_dim == 0) continue;
    ASSIGN_OR_RETURN(const double factor, rope.Double("factor"));
    const double magnitude = YarnMagnitude(factor, all_dim);
    return magnitude * magnitude;
  }
  return 1;
}

// The widths of heads and of what they are made from.
absl::Status ReadLatent(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  LatentSpec& latent = layer.attention.latent;
  ASSIGN_OR_RETURN(latent.kv_rank, config.Int("kv_lora_rank"));
  ASSIGN_OR_RETURN(latent.query_rank, config.IntOr("q_lora_rank", 0));
  ASSIGN_OR_RETURN(latent.rotary_dim, config.Int("qk_rope_head_dim"));
  ASSIGN_OR_RETURN(const int32_t still, config.Int("qk_nope_head_dim"));
  ASSIGN_OR_RETURN(spec.value_dim,
                   config.IntOr("v_head_dim", spec.num_heads == 0 ? 0 : spec.hidden_size / spec.num_heads));
  if (latent.kv_rank < 1 || still < 1 || still > kMaxHeadColumns || latent.rotary_dim > kMaxHeadColumns)
    return absl::InvalidArgumentError(absl::StrCat(
        config.NameOf("kv_lora_rank"), " and 'qk_nope_head_dim' must be positive, and a head has at most ",
        kMaxHeadColumns, " columns of each kind; they are ", latent.kv_rank, " and ", still,
        ", 'qk_rope_head_dim' is ", latent.rotary_dim));
  spec.head_dim = still + latent.rotary_dim;
  RETURN_IF_ERROR(MustBe(config, "qk_head_dim", spec.head_dim));
  RETURN_IF_ERROR(MustBe(config, "head_dim", latent.rotary_dim));
  RETURN_IF_ERROR(MustBe(config, "num_key_value_heads", spec.num_heads));
  ASSIGN_OR_RETURN(const double factor, ScoreFactor(config));
  layer.attention.scale = static_cast<float>(factor / std::sqrt(static_cast<double>(spec.head_dim)));
  return absl::OkStatus();
}

absl::Status ReadDeepSeekExperts(JsonFields& config, LayerSpec& layer) {
  ExpertsSpec& experts = layer.ffn.experts;
  RETURN_IF_ERROR(
      ReadExpertCounts(config, {"n_routed_experts", "num_local_experts"}, {"num_experts_per_tok"}, experts));
  ASSIGN_OR_RETURN(layer.ffn.size, config.Int("moe_intermediate_size"));
  ASSIGN_OR_RETURN(const int32_t shared, config.Int("n_shared_experts"));
  const int64_t shared_size = int64_t{shared} * layer.ffn.size;
  if (shared < 1 || shared_size > INT32_MAX)
    return absl::InvalidArgumentError(absl::StrCat(config.NameOf("n_shared_experts"),
                                                   " must be positive and of a possible size, is ", shared));
  experts.shared_size = static_cast<int32_t>(shared_size);
  ASSIGN_OR_RETURN(const double scale, config.Double("routed_scaling_factor"));
  experts.scale = static_cast<float>(scale);
  RETURN_IF_ERROR(config.IntOr("ep_size", 1).status());  // how it was trained
  RETURN_IF_ERROR(config.DoubleOr("aux_loss_alpha", 0).status());
  RETURN_IF_ERROR(config.BoolOr("seq_aux", true).status());
  return MustBe(config, "moe_layer_freq", 1);
}

absl::Status ReadGroups(JsonFields& config, ExpertsSpec& experts) {
  ASSIGN_OR_RETURN(experts.groups, config.IntOr("n_group", 1));
  ASSIGN_OR_RETURN(experts.chosen_groups, config.IntOr("topk_group", 1));
  return absl::OkStatus();
}

// Those of version 3.
absl::Status ReadSigmoidExperts(JsonFields& config, LayerSpec& layer) {
  RETURN_IF_ERROR(ReadDeepSeekExperts(config, layer));
  ExpertsSpec& experts = layer.ffn.experts;
  experts.score = RouterScore::kSigmoid;
  experts.correction = true;
  experts.least_sum = 1e-20f;
  RETURN_IF_ERROR(ReadGroups(config, experts));
  ASSIGN_OR_RETURN(experts.normalised, config.BoolOr("norm_topk_prob", true));
  RETURN_IF_ERROR(OnlyChoice(config, "scoring_func", "sigmoid"));
  return OnlyChoice(config, "topk_method", "noaux_tc");
}

}  // namespace

absl::Status ReadDeepSeekV3(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  RETURN_IF_ERROR(ReadLatent(config, spec, layer));
  return ReadSigmoidExperts(config, layer);
}

// The experts of DeepSeek-V3 with other attention.
absl::Status ReadGlm4Moe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  RETURN_IF_ERROR(ReadSigmoidExperts(config, layer));
  ASSIGN_OR_RETURN(const bool norms, config.BoolOr("use_qk_norm", false));
  if (norms) layer.attention.head_norm = {.kind = NormKind::kRms, .epsilon = spec.norm.epsilon};
  return absl::OkStatus();
}

// Its groups are as good as their best expert, and its weights never normalised.
absl::Status ReadDeepSeekV2(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  RETURN_IF_ERROR(ReadLatent(config, spec, layer));
  RETURN_IF_ERROR(ReadDeepSeekExperts(config, layer));
  ExpertsSpec& experts = layer.ffn.experts;
  experts.group_best = 1;
  RETURN_IF_ERROR(OnlyChoice(config, "scoring_func", "softmax"));
  ASSIGN_OR_RETURN(const bool normalised, config.BoolOr("norm_topk_prob", false));
  if (normalised)
    return absl::UnimplementedError(
        absl::StrCat(config.NameOf("norm_topk_prob"), " is true; only false is supported"));
  RETURN_IF_ERROR(ReadGroups(config, experts));
  ASSIGN_OR_RETURN(const std::string method, config.StringOr("topk_method", "greedy"));
  if (method == "greedy") experts.groups = experts.chosen_groups = 1;
  if (method == "greedy" || method == "group_limited_greedy") return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(config.NameOf("topk_method"), " is '", method,
                                               "'; supported are greedy, group_limited_greedy"));
}

// The first layers have no experts.
absl::Status FinishDeepSeek(JsonFields& config, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const int32_t dense, config.Int("first_k_dense_replace"));
  ASSIGN_OR_RETURN(const int32_t size, config.Int("intermediate_size"));
  for (int32_t i = 0; i < dense && i < spec.num_layers(); ++i) {
    spec.layers[i].ffn.size = size;
    spec.layers[i].ffn.experts = {};
  }
  return absl::OkStatus();
}

absl::Status FinishDeepSeekV3(JsonFields& config, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const bool interleaved, config.BoolOr("rope_interleave", true));
  for (LayerSpec& layer : spec.layers)
    if (auto* rope = std::get_if<RopeSpec>(&layer.position.scheme); rope != nullptr && !interleaved)
      rope->pairing = RopePairing::kHalves;
  return FinishDeepSeek(config, spec);
}

// What is null changes nothing.
absl::Status ReadMiniCpm3(JsonFields& config, DecoderSpec& spec, LayerSpec& layer) {
  RETURN_IF_ERROR(ReadLatent(config, spec, layer));
  ASSIGN_OR_RETURN(const int32_t layers, config.Int("num_hidden_layers"));
  const double root = std::sqrt(static_cast<double>(layers));
  ASSIGN_OR_RETURN(const double embedding, config.DoubleOr("scale_emb", 12));
  ASSIGN_OR_RETURN(const double depth,
                   config.DoubleOr("scale_depth", config.Has("scale_depth") ? root : 1.4));
  ASSIGN_OR_RETURN(const int32_t base,
                   config.IntOr("dim_model_base", config.Has("dim_model_base") ? spec.hidden_size : 256));
  if (layers < 1 || spec.hidden_size < 1)
    return absl::InvalidArgumentError(absl::StrCat(config.NameOf("num_hidden_layers"),
                                                   " and 'hidden_size' must be positive, are ", layers,
                                                   " and ", spec.hidden_size));
  spec.embedding_scale = static_cast<float>(embedding);
  spec.block.residual_scale = static_cast<float>(depth / root);
  spec.logit_scale = static_cast<float>(static_cast<double>(base) / spec.hidden_size);
  return absl::OkStatus();
}

}  // namespace ropeway::family_readers
