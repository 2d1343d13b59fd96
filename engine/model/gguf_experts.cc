#include "engine/model/gguf_experts.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/position/rope.h"

namespace ropeway {
namespace {

std::string OfBlock(int32_t block, const char* name) { return absl::StrCat("blk.", block, ".", name); }

bool HasRouter(const GgufContent& content, int32_t block) {
  return content.tensors.contains(OfBlock(block, "ffn_gate_inp.weight"));
}

// The first layer that has experts.
absl::StatusOr<int32_t> FirstWithExperts(GgufKeys& keys, const GgufContent& content) {
  ASSIGN_OR_RETURN(const int32_t blocks, keys.Int("block_count"));
  for (int32_t i = 0; i < blocks && i < 1024; ++i)
    if (HasRouter(content, i)) return i;
  return absl::InvalidArgumentError("tensor 'blk.0.ffn_gate_inp.weight' is missing");
}

absl::Status ReadScores(GgufKeys& keys, ExpertsSpec& experts) {
  // As files count them; 0: the architecture's own.
  enum : int32_t { kOwn, kSoftmax, kSigmoid, kSoftmaxChosen };
  ASSIGN_OR_RETURN(const int32_t function, keys.IntOr("expert_gating_func", kOwn));
  switch (function) {
    case kOwn:
      break;
    case kSoftmax:
      experts.score = RouterScore::kSoftmax;
      break;
    case kSigmoid:
      experts.score = RouterScore::kSigmoid;
      break;
    case kSoftmaxChosen:
      experts.score = RouterScore::kSoftmaxChosen;
      break;
    default:
      return absl::UnimplementedError(
          absl::StrCat(keys.Quoted("expert_gating_func"), " is ", function,
                       "; supported are 1 (softmax), 2 (sigmoid), 3 (softmax of the "
                       "chosen)"));
  }
  ASSIGN_OR_RETURN(experts.normalised, keys.BoolOr("expert_weights_norm", experts.normalised));
  ASSIGN_OR_RETURN(const double scale, keys.DoubleOr("expert_weights_scale", 1));
  experts.scale = scale == 0 ? 1 : static_cast<float>(scale);  // 0 says that there is none
  ASSIGN_OR_RETURN(experts.groups, keys.IntOr("expert_group_count", 1));
  experts.groups = std::max(experts.groups, 1);
  ASSIGN_OR_RETURN(experts.chosen_groups, keys.IntOr("expert_group_used_count", experts.groups));
  return absl::OkStatus();
}

// The size of the expert that all tokens go to, by key, by how many ordinary ones it is, or by its tensor.
absl::Status ReadShared(GgufKeys& keys, const GgufContent& content, int32_t block, FfnSpec& ffn) {
  const auto tensor = content.tensors.find(OfBlock(block, "ffn_up_shexp.weight"));
  const int64_t rows =
      tensor == content.tensors.end() ? 0 : std::min<int64_t>(tensor->second.rows(), INT32_MAX);
  ASSIGN_OR_RETURN(const int32_t count, keys.IntOr("expert_shared_count", 0));
  const int64_t implied = count > 0 && rows > 0 ? int64_t{count} * ffn.size : rows;
  ASSIGN_OR_RETURN(const int32_t said,
                   keys.IntOr("expert_shared_feed_forward_length",
                              static_cast<int32_t>(std::min<int64_t>(implied, INT32_MAX))));
  ffn.experts.shared_size = said;
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadGgufExperts(GgufKeys& keys, const GgufContent& content, const GgufFamily& family,
                             LayerSpec& layer) {
  if (!family.experts) {
    RETURN_IF_ERROR(keys.MustBe("expert_count", 0));
    return keys.MustBe("expert_used_count", 0);
  }
  ASSIGN_OR_RETURN(const int32_t count, keys.IntOr("expert_count", 0));
  if (count == 0) return keys.MustBe("expert_used_count", 0);
  FfnSpec& ffn = layer.ffn;
  ffn.experts = *family.experts;
  ffn.experts.count = count;
  ASSIGN_OR_RETURN(ffn.experts.per_token, keys.Int("expert_used_count"));
  ASSIGN_OR_RETURN(const int32_t size, keys.IntOr("expert_feed_forward_length", 0));
  if (size > 0) ffn.size = size;
  RETURN_IF_ERROR(ReadScores(keys, ffn.experts));
  ASSIGN_OR_RETURN(const int32_t block, FirstWithExperts(keys, content));
  const auto has = [&](const char* name) { return content.tensors.contains(OfBlock(block, name)); };
  ffn.experts.correction = has("exp_probs_b.bias");
  ffn.experts.router_bias = has("ffn_gate_inp.bias");
  ffn.experts.shared_gate = has("ffn_gate_inp_shexp.weight");
  ffn.bias = has("ffn_down_exps.bias");
  return ReadShared(keys, content, block, ffn);
}

absl::Status FinishGgufExperts(GgufKeys& keys, const GgufContent& content, int32_t dense_size,
                               DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const int32_t dense, keys.IntOr("leading_dense_block_count", 0));
  ASSIGN_OR_RETURN(const int32_t step, keys.IntOr("interleave_moe_layer_step", 0));
  for (int32_t i = 0; i < spec.num_layers(); ++i) {
    FfnSpec& ffn = spec.layers[i].ffn;
    if (!ffn.has_experts()) continue;
    const bool has_router = HasRouter(content, i);
    const bool told = (i < dense) || (step > 0 && (i + 1) % step != 0);
    if (has_router == told && (dense > 0 || step > 0))
      return absl::InvalidArgumentError(absl::StrCat(
          keys.Quoted(step > 0 ? "interleave_moe_layer_step" : "leading_dense_block_count"),
          " says that layer ", i, has_router ? " has no experts" : " has experts", ", but tensor '",
          OfBlock(i, "ffn_gate_inp.weight"), has_router ? "' is there" : "' is missing"));
    if (has_router) continue;
    ffn.size = dense_size;
    ffn.experts = {};
    ffn.bias = content.tensors.contains(OfBlock(i, "ffn_down.bias"));
  }
  return absl::OkStatus();
}

namespace gguf_readers {
namespace {

// The widths of heads and of what they are made from. Newer files, whose readers absorb keys and values into queries, have
// a tensor of each, and other lengths beside those of heads ("_mla").
absl::Status ReadLatent(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec, LayerSpec& layer) {
  LatentSpec& latent = layer.attention.latent;
  ASSIGN_OR_RETURN(latent.kv_rank, keys.Int("attention.kv_lora_rank"));
  ASSIGN_OR_RETURN(latent.query_rank, keys.IntOr("attention.q_lora_rank", 0));
  ASSIGN_OR_RETURN(latent.rotary_dim, keys.Int("rope.dimension_count"));
  latent.apart = !content.tensors.contains("blk.0.attn_kv_b.weight") &&
                 content.tensors.contains("blk.0.attn_k_b.weight");
  ASSIGN_OR_RETURN(spec.head_dim, keys.IntOr("attention.key_length_mla", spec.head_dim));
  ASSIGN_OR_RETURN(spec.value_dim, keys.IntOr("attention.value_length_mla", spec.value_dim));
  if (latent.kv_rank < 1)
    return absl::InvalidArgumentError(
        absl::StrCat(keys.Quoted("attention.kv_lora_rank"), " must be positive, is ", latent.kv_rank));
  if (spec.num_kv_heads != spec.num_heads && spec.num_kv_heads != 1)
    return absl::InvalidArgumentError(absl::StrCat(keys.Quoted("attention.head_count_kv"), " must be 1 or ",
                                                   spec.num_heads, ", is ", spec.num_kv_heads));
  spec.num_kv_heads = spec.num_heads;
  // A tenth of the "mscale_all_dim" by which scores grow.
  ASSIGN_OR_RETURN(const double multiplier, keys.DoubleOr(kYarnMultiplierKey, 0));
  ASSIGN_OR_RETURN(const double factor, keys.DoubleOr("rope.scaling.factor", 1));
  const double magnitude = multiplier == 0 ? 1 : YarnMagnitude(factor, multiplier * 10);
  layer.attention.scale =
      static_cast<float>(magnitude * magnitude / std::sqrt(static_cast<double>(std::max(spec.head_dim, 1))));
  return absl::OkStatus();
}

// Of every layer, or one number for all.
absl::StatusOr<std::vector<double>> NumbersOfLayers(const Metadata& metadata, const std::string& key,
                                                    size_t layers) {
  if (const auto one = metadata.GetDouble(key); one.ok()) return std::vector<double>(layers, *one);
  ASSIGN_OR_RETURN(const std::vector<double>* all, metadata.GetDoubles(key));
  if (all->size() == layers) return *all;
  return absl::InvalidArgumentError(
      absl::StrCat("metadata key '", key, "' must have ", layers, " numbers, has ", all->size()));
}

}  // namespace

// No key tells the numbers of its activation.
absl::Status ReadGptOss(GgufKeys&, const GgufContent&, DecoderSpec&, LayerSpec& layer) {
  layer.ffn.numbers = {.s = 1.702f, .c = 7};
  return absl::OkStatus();
}

// YaRN whose ramp is not rounded.
absl::Status FinishGptOss(GgufKeys&, const GgufContent&, DecoderSpec& spec) {
  for (LayerSpec& layer : spec.layers)
    if (auto* rope = std::get_if<RopeSpec>(&layer.position.scheme)) rope->truncate = false;
  return absl::OkStatus();
}

absl::Status ReadLlama4(GgufKeys& keys, const GgufContent&, DecoderSpec&, LayerSpec& layer) {
  ASSIGN_OR_RETURN(layer.position.chunk, keys.IntOr("attention.chunk_size", 8192));
  ASSIGN_OR_RETURN(const int32_t length, keys.IntOr("attention.temperature_length", 8192));
  ASSIGN_OR_RETURN(const double scale, keys.DoubleOr("attention.temperature_scale", 0.1));
  if (layer.position.chunk < 1 || length < 1)
    return absl::InvalidArgumentError(absl::StrCat(keys.Quoted("attention.chunk_size"),
                                                   " and 'attention.temperature_length' must be positive"));
  layer.attention.query_scale =
      TemperatureScale{.floor_scale = static_cast<double>(length), .attention_scale = scale};
  return absl::OkStatus();
}

// Every fourth layer stands still and sees all positions; queries grow with their position there alone.
absl::Status FinishLlama4(GgufKeys&, const GgufContent&, DecoderSpec& spec) {
  constexpr int32_t kInterval = 4;
  for (int32_t i = 0; i < spec.num_layers(); ++i) {
    LayerSpec& layer = spec.layers[i];
    if ((i + 1) % kInterval != 0) {
      layer.attention.query_scale = {};
      continue;
    }
    layer.position = {.scheme = NopeSpec{}};
    layer.attention.head_norm = {};
  }
  return absl::OkStatus();
}

absl::Status ReadDeepSeek2(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec, LayerSpec& layer) {
  layer.ffn.experts.least_sum = 1e-20f;
  // Groups of version 2, which scores by softmax, are as good as their best expert.
  layer.ffn.experts.group_best = layer.ffn.experts.score == RouterScore::kSigmoid ? 2 : 1;
  return ReadLatent(keys, content, spec, layer);
}

// Where scores get YaRN's magnitude, and no key says how large rotated columns become, they stay as large as they are.
absl::Status FinishDeepSeek2(GgufKeys& keys, const GgufContent&, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const double multiplier, keys.DoubleOr(kYarnMultiplierKey, 0));
  if (multiplier == 0 || keys.Has("rope.scaling.attn_factor")) return absl::OkStatus();
  for (LayerSpec& layer : spec.layers)
    if (auto* rope = std::get_if<RopeSpec>(&layer.position.scheme)) rope->attention_factor = 1;
  return absl::OkStatus();
}

absl::Status ReadMiniCpm3(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec, LayerSpec& layer) {
  constexpr double kEmbedding = 12, kDepth = 1.4, kBase = 256;
  RETURN_IF_ERROR(ReadLatent(keys, content, spec, layer));
  ASSIGN_OR_RETURN(const int32_t layers, keys.Int("block_count"));
  ASSIGN_OR_RETURN(const double embedding, keys.DoubleOr("embedding_scale", kEmbedding));
  ASSIGN_OR_RETURN(
      const double residual,
      keys.DoubleOr("residual_scale", kDepth / std::sqrt(static_cast<double>(std::max(layers, 1)))));
  ASSIGN_OR_RETURN(const double divisor, keys.DoubleOr("logit_scale", spec.hidden_size / kBase));
  spec.embedding_scale = static_cast<float>(embedding);
  spec.block.residual_scale = static_cast<float>(residual);
  spec.logit_scale = static_cast<float>(1 / divisor);
  return absl::OkStatus();
}

absl::Status ReadMistral3(GgufKeys& keys, const GgufContent&, DecoderSpec&, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const double scale, keys.DoubleOr("attention.temperature_scale", 0));
  if (scale == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const int32_t original, keys.IntOr("rope.scaling.original_context_length", 0));
  ASSIGN_OR_RETURN(const int32_t length, keys.IntOr("attention.temperature_length", original));
  if (length < 1)
    return absl::InvalidArgumentError(
        absl::StrCat(keys.Quoted("attention.temperature_length"), " must be positive, is ", length));
  layer.attention.query_scale =
      TemperatureScale{.floor_scale = static_cast<double>(length), .attention_scale = scale, .first = 0};
  return absl::OkStatus();
}

// Rotated columns get the quotient of two magnitudes.
absl::Status FinishMistral3(GgufKeys& keys, const GgufContent&, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const double multiplier, keys.DoubleOr(kYarnMultiplierKey, 0));
  for (LayerSpec& layer : spec.layers) {
    auto* rope = std::get_if<RopeSpec>(&layer.position.scheme);
    if (rope != nullptr && rope->scaling == RopeScalingKind::kYarn)
      rope->attention_factor /= YarnMagnitude(rope->factor, multiplier);
  }
  return absl::OkStatus();
}

absl::Status FinishApertus(GgufKeys&, const GgufContent& content, DecoderSpec& spec) {
  const auto numbers = [&](const char* key) {
    return NumbersOfLayers(content.metadata, absl::StrCat("xielu.", key), spec.layers.size());
  };
  ASSIGN_OR_RETURN(const std::vector<double> p, numbers("alpha_p"));
  ASSIGN_OR_RETURN(const std::vector<double> n, numbers("alpha_n"));
  ASSIGN_OR_RETURN(const std::vector<double> l, numbers("beta"));
  ASSIGN_OR_RETURN(const std::vector<double> m, numbers("eps"));
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    if (!(l[i] > 0))
      return absl::InvalidArgumentError(
          absl::StrCat("metadata key 'xielu.beta' must be positive, is ", l[i]));
    spec.layers[i].ffn.numbers = XieluNumbers({.p = static_cast<float>(p[i]),
                                               .n = static_cast<float>(n[i]),
                                               .l = static_cast<float>(l[i]),
                                               .m = static_cast<float>(m[i])});
  }
  return absl::OkStatus();
}

}  // namespace gguf_readers

}  // namespace ropeway
