#include "engine/model/decoder_spec.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/base/decimals.h"
#include "engine/base/in_range.h"
#include "engine/base/status_macros.h"
#include "engine/position/portable_math.h"
#include "engine/position/rpe3d.h"

namespace ropeway {
namespace {

constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxVocabulary = 1 << 24;
constexpr int64_t kMaxContext = 1 << 26;

absl::Status Positive(absl::string_view field, double value) {
  if (std::isfinite(value) && value > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must be positive and finite, is ", Decimals(value)));
}

absl::Status NotNegative(absl::string_view field, double value) {
  if (std::isfinite(value) && value >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must be finite and not negative, is ", Decimals(value)));
}

// Kernels divide by caps and multiply by them again, in float32: others would make numbers that are none.
absl::Status Cap(absl::string_view field, double value) {
  constexpr double kLeast = 0x1p-20, kMost = 0x1p40;
  if (value == 0 || (kLeast <= value && value <= kMost)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must be 0 or in [2^-20, 2^40], is ", Decimals(value)));
}

absl::Status ValidateRope(const RopeSpec& rope, int32_t head_dim) {
  RETURN_IF_ERROR(InRange("rotary_dim", rope.rotary_dim, 2, head_dim));
  if (rope.rotary_dim % 2 != 0)
    return absl::InvalidArgumentError(absl::StrCat("rotary_dim must be even, is ", rope.rotary_dim));
  RETURN_IF_ERROR(Positive("rope base", rope.base));
  RETURN_IF_ERROR(Positive("rope factor", rope.factor));
  RETURN_IF_ERROR(Positive("rope attention_factor", rope.attention_factor));
  if (rope.scaling == RopeScalingKind::kLlama3) {
    RETURN_IF_ERROR(Positive("rope low_freq_factor", rope.low_freq_factor));
    if (!(rope.high_freq_factor > rope.low_freq_factor))
      return absl::InvalidArgumentError(absl::StrCat("rope high_freq_factor must exceed low_freq_factor ",
                                                     rope.low_freq_factor, ", is ", rope.high_freq_factor));
  }
  if (rope.scaling == RopeScalingKind::kLlama3 || rope.scaling == RopeScalingKind::kYarn)
    RETURN_IF_ERROR(InRange("rope original_context", rope.original_context, 1, kMaxContext));
  if (rope.scaling == RopeScalingKind::kYarn) {
    RETURN_IF_ERROR(Positive("rope beta_fast", rope.beta_fast));
    RETURN_IF_ERROR(Positive("rope beta_slow", rope.beta_slow));
  }
  if (IsNtk(rope.scaling))
    RETURN_IF_ERROR(InRange("rotary_dim of NTK scaling", rope.rotary_dim, 4, head_dim));
  if (DependsOnLengths(rope))
    RETURN_IF_ERROR(InRange("rope original_context", rope.original_context, 1, kMaxContext));
  if (rope.scaling == RopeScalingKind::kLongRope)
    for (const auto* factors : {&rope.short_factors, &rope.long_factors})
      RETURN_IF_ERROR(InRange("rope factors of LongRoPE", static_cast<int64_t>(factors->size()),
                              rope.rotary_dim / 2, rope.rotary_dim / 2));
  if (!rope.frequency_factors.empty() &&
      rope.frequency_factors.size() != static_cast<size_t>(rope.rotary_dim / 2))
    return absl::InvalidArgumentError(absl::StrCat("rope frequency factors must be ", rope.rotary_dim / 2,
                                                   ", are ", rope.frequency_factors.size()));
  return absl::OkStatus();
}

absl::Status ValidateAttention(const AttentionSpec& attention) {
  RETURN_IF_ERROR(Positive("attention_scale", attention.scale));
  RETURN_IF_ERROR(Cap("attention_softcap", attention.softcap));
  RETURN_IF_ERROR(NotNegative("clip_qkv", attention.clip));
  if (attention.head_norm.kind != NormKind::kNone)
    RETURN_IF_ERROR(Positive("epsilon of query and key norms", attention.head_norm.epsilon));
  return absl::OkStatus();
}

absl::Status ValidateExperts(const FfnSpec& ffn) {
  const ExpertsSpec& experts = ffn.experts;
  RETURN_IF_ERROR(InRange("number of experts", experts.count, 0, kMaxExperts));
  if (!ffn.has_experts()) return absl::OkStatus();
  RETURN_IF_ERROR(InRange("experts per token", experts.per_token, 1, kMaxExpertsPerToken));
  RETURN_IF_ERROR(InRange("groups of experts", experts.groups, 1, experts.count));
  if (experts.count % experts.groups != 0)
    return absl::InvalidArgumentError(absl::StrCat("groups of experts must divide the number of experts ",
                                                   experts.count, ", are ", experts.groups));
  RETURN_IF_ERROR(InRange("chosen groups of experts", experts.chosen_groups, 1, experts.groups));
  const int64_t eligible = int64_t{experts.count} / experts.groups * experts.chosen_groups;
  RETURN_IF_ERROR(InRange("experts per token", experts.per_token, 1, eligible));
  if (experts.groups > 1)
    RETURN_IF_ERROR(
        InRange("experts of a group", experts.count / experts.groups, experts.group_best, kMaxExperts));
  RETURN_IF_ERROR(Positive("scale of the experts' weights", experts.scale));
  RETURN_IF_ERROR(NotNegative("least sum of the experts' weights", experts.least_sum));
  if (experts.router_bias && experts.shared_gate)
    return absl::UnimplementedError(
        "a router with biases beside a gate of the shared expert is not supported");
  return InRange("size of the shared expert", experts.shared_size, 0, kMaxWidth);
}

absl::Status ValidateActivation(const FfnSpec& ffn) {
  if (ffn.activation == Activation::kXielu && ffn.has_experts())
    return absl::UnimplementedError("xIELU in a layer of experts is not supported");
  if (ffn.activation != Activation::kClampedSwiglu) return absl::OkStatus();
  RETURN_IF_ERROR(Positive("slope of the clamped SwiGLU", ffn.numbers.s));
  return Positive("limit of the clamped SwiGLU", ffn.numbers.c);
}

absl::Status ValidateLatent(const AttentionSpec& attention, int32_t head_dim) {
  const LatentSpec& latent = attention.latent;
  RETURN_IF_ERROR(InRange("kv_rank", latent.kv_rank, 0, kMaxWidth));
  if (!attention.is_latent()) return absl::OkStatus();
  RETURN_IF_ERROR(InRange("query_rank", latent.query_rank, 0, kMaxWidth));
  RETURN_IF_ERROR(InRange("rotary_dim of latent attention", latent.rotary_dim, 2, head_dim - 1));
  RETURN_IF_ERROR(Positive("epsilon of latent norms", latent.epsilon));
  if (attention.head_norm.kind == NormKind::kNone && attention.clip == 0) return absl::OkStatus();
  return absl::UnimplementedError("norms of heads or clips beside latent attention are not supported");
}

absl::Status ValidateBlock(const BlockSpec& block) {
  RETURN_IF_ERROR(Positive("residual_scale", block.residual_scale));
  if (!block.norms_stream && !block.norms_sum) return absl::OkStatus();
  if (block.kind == BlockKind::kSequential && block.norms_stream != block.norms_sum &&
      block.pre_norm == block.norms_stream && !block.post_norm)
    return absl::OkStatus();
  return absl::UnimplementedError(
      "norms of the stream are supported in sequential blocks without others alone");
}

absl::Status ValidateEnds(const DecoderSpec& spec) {
  RETURN_IF_ERROR(InRange("embedding_size", spec.embedding_size, 0, kMaxWidth));
  RETURN_IF_ERROR(Positive("embedding_scale", spec.embedding_scale));
  RETURN_IF_ERROR(Positive("logit_scale", spec.logit_scale));
  RETURN_IF_ERROR(Cap("logit_softcap", spec.logit_softcap));
  if (spec.output_norm || spec.logit_scale == 1) return absl::OkStatus();
  return absl::UnimplementedError(
      "a scale of logits without a norm before the output layer is not supported");
}

// There is nothing beyond the last row.
absl::Status ValidateLearned(const LearnedSpec& learned, int32_t context_length) {
  RETURN_IF_ERROR(InRange("offset of learned positions", learned.offset, 0, kMaxContext));
  const int64_t needed = int64_t{context_length} + learned.offset;
  if (learned.rows >= needed) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("rows of learned positions must be at least ", needed,
                                                 ", are ", learned.rows, " for a context of ",
                                                 context_length));
}

absl::Status ValidateLayer(const LayerSpec& layer, const DecoderSpec& spec) {
  const int32_t head_dim = spec.head_dim;
  RETURN_IF_ERROR(InRange("ffn_size", layer.ffn.size, 1, kMaxWidth));
  RETURN_IF_ERROR(ValidateExperts(layer.ffn));
  RETURN_IF_ERROR(ValidateActivation(layer.ffn));
  RETURN_IF_ERROR(ValidateAttention(layer.attention));
  RETURN_IF_ERROR(ValidateLatent(layer.attention, head_dim));
  RETURN_IF_ERROR(InRange("window", layer.position.window, 0, kMaxContext));
  RETURN_IF_ERROR(InRange("chunk", layer.position.chunk, 0, kMaxContext));
  if (const RopeSpec* rope = RopeOf(layer.position.scheme); rope != nullptr)
    RETURN_IF_ERROR(ValidateRope(*rope, head_dim));
  if (const auto* learned = std::get_if<LearnedSpec>(&layer.position.scheme); learned != nullptr)
    RETURN_IF_ERROR(ValidateLearned(*learned, spec.context_length));
  return absl::OkStatus();
}

}  // namespace

int32_t DecoderSpec::max_ffn_size() const {
  int32_t most = 0;
  for (const LayerSpec& layer : layers) {
    const FfnSpec& ffn = layer.ffn;
    most = std::max(most, ffn.has_experts() ? ffn.experts.shared_size : ffn.size);
  }
  return most;
}

ExpertsSize DecoderSpec::max_experts() const {
  ExpertsSize most;
  for (const LayerSpec& layer : layers) {
    if (!layer.ffn.has_experts()) continue;
    most.count = std::max(most.count, layer.ffn.experts.count);
    most.per_token = std::max(most.per_token, layer.ffn.experts.per_token);
    most.ffn_size = std::max(most.ffn_size, layer.ffn.size);
  }
  return most;
}

ActivationNumbers XieluNumbers(const ActivationNumbers& stored) {
  // ln(1 + e^x); beyond 20 that is x in float32.
  const auto softplus = [](float x) {
    return x > 20 ? x : static_cast<float>(Logarithm(1 + Exponential(x)));
  };
  return {.p = softplus(stored.p), .n = stored.l + softplus(stored.n), .l = stored.l, .m = stored.m};
}

bool DecoderSpec::has_zones() const {
  return std::any_of(layers.begin(), layers.end(),
                     [](const LayerSpec& layer) { return ChunkedRpe3dOf(layer.position.scheme) != nullptr; });
}

int32_t DecoderSpec::max_mixer_width() const {
  int32_t widest = 0;
  for (const LayerSpec& layer : layers)
    if (const auto* dape = std::get_if<DapeSpec>(&layer.position.scheme))
      widest = std::max(widest, dape->width);
  return widest;
}

std::vector<double> RotationChoicesOf(const DecoderSpec& spec, const AdmittedLengths& lengths) {
  std::vector<double> choices;
  for (const RotarySpec& rotary : spec.Rotaries())
    if (DependsOnLengths(rotary)) choices.push_back(RotaryChoice(rotary, lengths));
  return choices;
}

std::vector<RotarySpec> DecoderSpec::Rotaries() const {
  std::vector<RotarySpec> rotaries;
  for (const LayerSpec& layer : layers) {
    const std::optional<RotarySpec> rotary = RotaryOf(layer.position.scheme);
    if (rotary && RotaryIndexOf(layer, rotaries) < 0) rotaries.push_back(*rotary);
  }
  return rotaries;
}

int RotaryIndexOf(const LayerSpec& layer, const std::vector<RotarySpec>& rotaries) {
  const std::optional<RotarySpec> rotary = RotaryOf(layer.position.scheme);
  if (!rotary) return -1;
  const auto found = std::find(rotaries.begin(), rotaries.end(), *rotary);
  return found == rotaries.end() ? -1 : static_cast<int>(found - rotaries.begin());
}

std::vector<RopeSpec> DecoderSpec::Ropes() const {
  std::vector<RopeSpec> ropes;
  for (const LayerSpec& layer : layers) {
    const RopeSpec* rope = RopeOf(layer.position.scheme);
    if (rope != nullptr && RopeIndexOf(layer, ropes) < 0) ropes.push_back(*rope);
  }
  return ropes;
}

int RopeIndexOf(const LayerSpec& layer, const std::vector<RopeSpec>& ropes) {
  const RopeSpec* rope = RopeOf(layer.position.scheme);
  if (rope == nullptr) return -1;
  const auto found = std::find(ropes.begin(), ropes.end(), *rope);
  return found == ropes.end() ? -1 : static_cast<int>(found - ropes.begin());
}

absl::Status DecoderSpec::Validate() const {
  RETURN_IF_ERROR(InRange("vocab_size", vocab_size, 1, kMaxVocabulary));
  RETURN_IF_ERROR(InRange("hidden_size", hidden_size, 1, kMaxWidth));
  RETURN_IF_ERROR(InRange("num_heads", num_heads, 1, kMaxHeads));
  RETURN_IF_ERROR(InRange("num_kv_heads", num_kv_heads, 1, num_heads));
  if (num_heads % num_kv_heads != 0)
    return absl::InvalidArgumentError(
        absl::StrCat("num_heads must be a multiple of num_kv_heads ", num_kv_heads, ", is ", num_heads));
  RETURN_IF_ERROR(InRange("head_dim", head_dim, 1, kMaxHeadDim));
  RETURN_IF_ERROR(InRange("value_dim", value_dim, 1, kMaxHeadDim));
  RETURN_IF_ERROR(InRange("context_length", context_length, 1, kMaxContext));
  RETURN_IF_ERROR(InRange("num_layers", num_layers(), 1, kMaxLayers));
  RETURN_IF_ERROR(Positive("norm_epsilon", norm.epsilon));
  RETURN_IF_ERROR(ValidateBlock(block));
  RETURN_IF_ERROR(ValidateEnds(*this));
  for (const LayerSpec& layer : layers) RETURN_IF_ERROR(ValidateLayer(layer, *this));
  return absl::OkStatus();
}

}  // namespace ropeway
