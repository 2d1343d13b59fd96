#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/family.h"
#include "engine/model/gguf_experts.h"
#include "engine/model/gguf_family.h"
#include "engine/model/gguf_keys.h"
#include "engine/model/gguf_model.h"
#include "engine/model/gguf_rope.h"

namespace ropeway {
namespace {

constexpr int32_t kMaxGgufLayers = 1024;
constexpr char kWindow[] = "attention.sliding_window";

absl::Status ReadVocabulary(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec) {
  const auto embedding = content.tensors.find("token_embd.weight");
  if (embedding == content.tensors.end())
    return absl::InvalidArgumentError("tensor 'token_embd.weight' is missing");
  spec.vocab_size = static_cast<int32_t>(std::min<int64_t>(embedding->second.rows(), INT32_MAX));
  spec.tied_output = !content.tensors.contains("output.weight");
  ASSIGN_OR_RETURN(const int32_t said, keys.IntOr("vocab_size", spec.vocab_size));
  if (said == spec.vocab_size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(keys.Quoted("vocab_size"), " is ", said,
                                                 ", but tensor 'token_embd.weight' has ", spec.vocab_size,
                                                 " rows"));
}

// `layer` gets what all layers have alike.
absl::Status ReadSizes(GgufKeys& keys, DecoderSpec& spec, LayerSpec& layer) {
  ASSIGN_OR_RETURN(spec.hidden_size, keys.Int("embedding_length"));
  ASSIGN_OR_RETURN(spec.num_heads, keys.Int("attention.head_count"));
  ASSIGN_OR_RETURN(spec.num_kv_heads, keys.IntOr("attention.head_count_kv", spec.num_heads));
  ASSIGN_OR_RETURN(layer.ffn.size, keys.Int("feed_forward_length"));
  ASSIGN_OR_RETURN(spec.context_length, keys.Int("context_length"));
  if (!keys.Has("attention.key_length") && (spec.num_heads == 0 || spec.hidden_size % spec.num_heads != 0))
    return absl::InvalidArgumentError(absl::StrCat(keys.Quoted("embedding_length"),
                                                   " must be a multiple of the number of heads ",
                                                   spec.num_heads, ", is ", spec.hidden_size));
  ASSIGN_OR_RETURN(spec.head_dim, keys.IntOr("attention.key_length",
                                             spec.num_heads == 0 ? 0 : spec.hidden_size / spec.num_heads));
  ASSIGN_OR_RETURN(spec.value_dim, keys.IntOr("attention.value_length", spec.head_dim));
  return absl::OkStatus();
}

// No key tells of biases that a family may or may not have.
void ReadBiases(const GgufContent& content, DecoderSpec& spec, LayerSpec& layer) {
  const auto has = [&](const char* name) { return content.tensors.contains(name); };
  if (spec.norm.kind == NormKind::kLayer && spec.norm.has_weight)
    spec.norm.has_bias = has("output_norm.bias");
  spec.output_bias = has("output.bias");
  layer.attention.qkv_bias |= has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias");
  layer.attention.output_bias |= has("blk.0.attn_output.bias");
  layer.ffn.bias |= has("blk.0.ffn_down.bias");
}

// What the family says of the formulas, and what the file adds to it.
absl::Status ReadFormulas(GgufKeys& keys, const GgufContent& content, const Family& formulas,
                          DecoderSpec& spec, LayerSpec& layer) {
  const bool is_rms = formulas.norm.kind == NormKind::kRms;
  constexpr char kRmsEpsilon[] = "attention.layer_norm_rms_epsilon",
                 kLayerEpsilon[] = "attention.layer_norm_epsilon";
  ASSIGN_OR_RETURN(const double epsilon, keys.DoubleOr(is_rms ? kRmsEpsilon : kLayerEpsilon, 1e-5));
  // Files of some families (Nemotron) tell it for both kinds of norm.
  if (keys.Has(is_rms ? kRmsEpsilon : kLayerEpsilon)) keys.Ignore(is_rms ? kLayerEpsilon : kRmsEpsilon);
  spec.norm = formulas.norm;
  spec.norm.epsilon = static_cast<float>(epsilon);
  spec.norm.offset = 0;  // files hold 1 + w
  spec.block = formulas.block;
  spec.embedding_norm = formulas.embedding_norm;
  spec.wide_range = formulas.wide_range;
  if (formulas.scaled_embedding) spec.embedding_scale = std::sqrt(static_cast<float>(spec.hidden_size));
  ASSIGN_OR_RETURN(
      const double scale,
      keys.DoubleOr("attention.scale", 1 / std::sqrt(static_cast<double>(std::max(spec.head_dim, 1)))));
  const int32_t ffn_size = layer.ffn.size;
  layer.attention = formulas.attention;
  layer.attention.scale = static_cast<float>(scale);
  layer.attention.head_norm.offset = 0;
  if (layer.attention.head_norm.kind != NormKind::kNone)
    layer.attention.head_norm.epsilon = spec.norm.epsilon;
  layer.ffn = formulas.ffn;
  layer.ffn.size = ffn_size;
  ReadBiases(content, spec, layer);
  return absl::OkStatus();
}

absl::StatusOr<PositionScheme> ReadLearned(const GgufContent& content, const DecoderSpec& spec) {
  const auto table = content.tensors.find("position_embd.weight");
  if (table == content.tensors.end())
    return absl::InvalidArgumentError("tensor 'position_embd.weight' is missing");
  const int64_t rows = table->second.rows();
  if (rows < spec.context_length || rows > INT32_MAX)
    return absl::InvalidArgumentError(
        absl::StrCat("tensor 'position_embd.weight' must have a row for each of ", spec.context_length,
                     " positions, has ", rows));
  return LearnedSpec{.rows = static_cast<int32_t>(rows)};
}

// The scheme of layers that see all positions, or of all, where the architecture has not chosen one itself.
absl::StatusOr<PositionScheme> ReadScheme(GgufKeys& keys, const GgufContent& content,
                                          const GgufFamily& family, const Family& formulas,
                                          const DecoderSpec& spec) {
  switch (formulas.positions) {
    case FamilyPositions::kLearned:
      return ReadLearned(content, spec);
    case FamilyPositions::kAlibi:
      return AlibiSpec{};
    case FamilyPositions::kSinusoidal:
      return absl::UnimplementedError("sinusoidal positions are not supported in GGUF files");
    case FamilyPositions::kRope:
      break;
  }
  return ReadGgufRope(keys, content, spec.context_length,
                      {.base = formulas.rope_base, .rotary_dim = spec.head_dim, .pairing = family.pairing});
}

// Which layers see all positions where the others have a window: every n-th, or as an array of bools says.
absl::StatusOr<std::vector<bool>> ReadGlobalLayers(GgufKeys& keys, int32_t or_every, int32_t layers) {
  constexpr char kKey[] = "attention.sliding_window_pattern";
  std::vector<bool> global(static_cast<size_t>(layers));
  if (const std::vector<bool>* windowed = keys.Bools(kKey); windowed != nullptr) {
    if (windowed->size() != global.size())
      return absl::InvalidArgumentError(
          absl::StrCat(keys.Quoted(kKey), " must have ", layers, " elements, has ", windowed->size()));
    for (size_t i = 0; i < global.size(); ++i) global[i] = !(*windowed)[i];
    return global;
  }
  if (or_every == 0 && !keys.Has(kKey)) return global;  // all have a window
  ASSIGN_OR_RETURN(const int32_t every, keys.IntOr(kKey, or_every));
  if (every < 1)
    return absl::InvalidArgumentError(absl::StrCat(keys.Quoted(kKey), " must be positive, is 0"));
  for (size_t i = 0; i < global.size(); ++i) global[i] = (i + 1) % static_cast<size_t>(every) == 0;
  return global;
}

// The rope of layers that have a window, where it is another.
absl::StatusOr<PositionScheme> ReadLocalScheme(GgufKeys& keys, const GgufFamily& family,
                                               const Family& formulas, const DecoderSpec& spec,
                                               const PositionScheme& full) {
  if (!formulas.local_rope_base) return full;
  const RopeSpec* rope = RopeOf(full);
  const double same = rope == nullptr ? *formulas.local_rope_base : rope->base;
  RopeSpec local{.rotary_dim = spec.head_dim, .pairing = family.pairing};
  ASSIGN_OR_RETURN(local.base, keys.DoubleOr("rope.freq_base_swa",
                                             formulas.local_base_is_base ? same : *formulas.local_rope_base));
  return local;
}

absl::StatusOr<int32_t> ReadLayerCount(GgufKeys& keys, const GgufFamily& family) {
  ASSIGN_OR_RETURN(const int32_t blocks, keys.Int("block_count"));
  if (blocks < 1 || blocks > kMaxGgufLayers)
    return absl::InvalidArgumentError(
        absl::StrCat(keys.Quoted("block_count"), " must be in [1, ", kMaxGgufLayers, "], is ", blocks));
  if (!family.has_extra_layers) return blocks;
  ASSIGN_OR_RETURN(const int32_t extra, keys.IntOr(kExtraLayersKey, 0));
  if (extra < blocks) return blocks - extra;
  return absl::InvalidArgumentError(
      absl::StrCat(keys.Quoted(kExtraLayersKey), " must be below 'block_count' ", blocks, ", is ", extra));
}

// Layers like `layer`.
absl::Status ReadLayers(GgufKeys& keys, const GgufContent& content, const GgufFamily& family,
                        const Family& formulas, LayerSpec layer, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const int32_t layers, ReadLayerCount(keys, family));
  if (std::holds_alternative<NopeSpec>(layer.position.scheme)) {
    ASSIGN_OR_RETURN(layer.position.scheme, ReadScheme(keys, content, family, formulas, spec));
  }
  if (!family.windows) RETURN_IF_ERROR(keys.MustBe(kWindow, 0));
  ASSIGN_OR_RETURN(const int32_t window, keys.IntOr(kWindow, family.default_window));
  if (window == 0 && family.needs_windows)
    return absl::InvalidArgumentError(absl::StrCat(keys.Quoted(kWindow), " must be positive"));
  spec.layers.assign(layers, layer);
  if (window == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<bool> global, ReadGlobalLayers(keys, formulas.window_pattern, layers));
  ASSIGN_OR_RETURN(const PositionScheme local,
                   ReadLocalScheme(keys, family, formulas, spec, layer.position.scheme));
  for (size_t i = 0; i < global.size(); ++i) {
    if (!global[i]) spec.layers[i].position = {.scheme = local, .window = window};
    if (global[i] && formulas.rope_in_windows_only) spec.layers[i].position.scheme = NopeSpec{};
  }
  return absl::OkStatus();
}

// The largest models of some families scale queries by the width of the stream instead of that of a head,
// and their files do not say it.
void ScaleByStream(const GgufKeys& keys, const GgufFamily& family, DecoderSpec& spec) {
  if (spec.num_layers() != family.layers_scaled_by_stream || keys.Has("attention.scale")) return;
  for (LayerSpec& layer : spec.layers)
    layer.attention.scale =
        std::sqrt(static_cast<float>(spec.num_heads) / static_cast<float>(spec.hidden_size));
}

// Keys that a supported model has with one value alone, or that say nothing about what it computes.
absl::Status CheckUsual(GgufKeys& keys) {
  RETURN_IF_ERROR(keys.MustBeBool("attention.causal", true));
  keys.Ignore("tensor_data_layout");
  keys.Ignore("rope.scaling.finetuned");
  return absl::OkStatus();
}

// A file that holds something else than a whole model.
absl::Status CheckGeneral(const Metadata& metadata) {
  ASSIGN_OR_RETURN(const std::string type, ValueOr<std::string>(metadata.GetString("general.type"), "model"));
  if (type == "model") return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat("metadata key 'general.type' is '", type, "'; only 'model' is supported"));
}

absl::StatusOr<DecoderSpec> ReadSpec(const GgufContent& content) {
  DecoderSpec spec;
  RETURN_IF_ERROR(CheckGeneral(content.metadata));
  ASSIGN_OR_RETURN(spec.architecture, content.metadata.GetString("general.architecture"));
  ASSIGN_OR_RETURN(const GgufFamily* family, GgufFamilyOf(spec.architecture));
  GgufKeys keys(content.metadata, spec.architecture);
  ASSIGN_OR_RETURN(const int32_t window, keys.IntOr(kWindow, family->default_window));
  const Family& formulas = FormulasOf(*family, window > 0);
  RETURN_IF_ERROR(CheckUsual(keys));
  if (!family->is_latent && !family->has_yarn_multiplier) RETURN_IF_ERROR(keys.MustBe(kYarnMultiplierKey, 0));
  if (!family->tells_parallel) RETURN_IF_ERROR(keys.MustBeBool("use_parallel_residual", false));
  LayerSpec layer;
  RETURN_IF_ERROR(ReadSizes(keys, spec, layer));
  RETURN_IF_ERROR(ReadVocabulary(keys, content, spec));
  RETURN_IF_ERROR(ReadFormulas(keys, content, formulas, spec, layer));
  const int32_t dense_size = layer.ffn.size;
  RETURN_IF_ERROR(ReadGgufExperts(keys, content, *family, layer));
  if (family->read_more != nullptr) RETURN_IF_ERROR(family->read_more(keys, content, spec, layer));
  RETURN_IF_ERROR(ReadLayers(keys, content, *family, formulas, std::move(layer), spec));
  RETURN_IF_ERROR(FinishGgufExperts(keys, content, dense_size, spec));
  if (family->finish_layers != nullptr) RETURN_IF_ERROR(family->finish_layers(keys, content, spec));
  ScaleByStream(keys, *family, spec);
  RETURN_IF_ERROR(keys.Finish());
  RETURN_IF_ERROR(spec.Validate());
  return spec;
}

}  // namespace

absl::StatusOr<DecoderSpec> SpecFromGguf(const GgufContent& content) {
  absl::StatusOr<DecoderSpec> spec = ReadSpec(content);
  // A key that is missing makes the file wrong; NOT_FOUND is for files.
  if (absl::IsNotFound(spec.status())) return absl::InvalidArgumentError(spec.status().message());
  return spec;
}

}  // namespace ropeway
