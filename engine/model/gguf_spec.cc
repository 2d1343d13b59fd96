#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "engine/model/family.h"
#include "engine/model/gguf_model.h"
#include "engine/tensor/dequantize.h"

namespace ropeway {
namespace {

constexpr int32_t kMaxGgufLayers = 1024;

absl::StatusOr<const Family*> FamilyOf(const std::string& architecture) {
  std::vector<std::string> names;
  for (const Family& family : AllFamilies()) {
    if (family.gguf_architecture == nullptr) continue;
    if (architecture == family.gguf_architecture) return &family;
    names.push_back(family.gguf_architecture);
  }
  return absl::UnimplementedError(absl::StrCat(
      "architecture '", architecture, "' is not supported; supported are ", absl::StrJoin(names, ", ")));
}

// Reads the keys of one architecture, and remembers which: "head_count" stands for "llama.head_count" and
// so on.
class Keys {
 public:
  Keys(const Metadata& metadata, const std::string& architecture)
      : metadata_(metadata), prefix_(architecture + ".") {}

  std::string Name(absl::string_view key) const { return absl::StrCat(prefix_, key); }
  // "metadata key 'llama.head_count'"
  std::string Quoted(absl::string_view key) const { return absl::StrCat("metadata key '", Name(key), "'"); }

  bool Has(absl::string_view key) const { return metadata_.Has(Name(key)); }

  absl::StatusOr<int32_t> Int(absl::string_view key) {
    ASSIGN_OR_RETURN(const int64_t value, Uniform(Asked(key)));
    if (value < 0 || value > INT32_MAX)
      return absl::InvalidArgumentError(absl::StrCat(Quoted(key), " must be in [0, 2^31), is ", value));
    return static_cast<int32_t>(value);
  }
  absl::StatusOr<int32_t> IntOr(absl::string_view key, int32_t or_default) {
    return ValueOr<int32_t>(Int(key), or_default);
  }
  absl::StatusOr<double> DoubleOr(absl::string_view key, double or_default) {
    return ValueOr<double>(metadata_.GetDouble(Asked(key)), or_default);
  }
  absl::StatusOr<std::string> StringOr(absl::string_view key, std::string or_default) {
    return ValueOr<std::string>(metadata_.GetString(Asked(key)), std::move(or_default));
  }
  // Null where the key is absent or no array of bools.
  const std::vector<bool>* Bools(absl::string_view key) {
    const absl::StatusOr<const std::vector<bool>*> values = metadata_.GetBools(Asked(key));
    return values.ok() ? *values : nullptr;
  }

  // UNIMPLEMENTED when the key is there with another value, which would change what the model computes.
  absl::Status MustBe(absl::string_view key, double only) {
    ASSIGN_OR_RETURN(const double value, DoubleOr(key, only));
    if (value == only) return absl::OkStatus();
    return absl::UnimplementedError(
        absl::StrCat(Quoted(key), " is ", value, "; only ", only, " is supported"));
  }
  absl::Status MustBeBool(absl::string_view key, bool only) {
    ASSIGN_OR_RETURN(const bool value, ValueOr<bool>(metadata_.GetBool(Asked(key)), only));
    if (value == only) return absl::OkStatus();
    return absl::UnimplementedError(
        absl::StrCat(Quoted(key), " is not supported unless it is ", only ? "true" : "false"));
  }

  void Ignore(absl::string_view key) { Asked(key); }

  // UNIMPLEMENTED when the architecture has a key that nobody asked for, listing those that were.
  absl::Status Finish() const {
    for (const std::string& name : metadata_.keys())
      if (absl::StartsWith(name, prefix_) && !asked_.contains(name))
        return absl::UnimplementedError(absl::StrCat("metadata key '", name,
                                                     "' is not supported and may change what the model "
                                                     "computes; supported are ",
                                                     absl::StrJoin(asked_, ", ")));
    return absl::OkStatus();
  }

 private:
  std::string Asked(absl::string_view key) { return *asked_.insert(Name(key)).first; }

  // Some files say the same number for every layer.
  absl::StatusOr<int64_t> Uniform(const std::string& name) const {
    const auto values = metadata_.GetInts(name);
    if (!values.ok()) return metadata_.GetInt(name);
    const std::vector<int64_t>& all = **values;
    if (all.empty() || std::any_of(all.begin(), all.end(), [&](int64_t v) { return v != all[0]; }))
      return absl::UnimplementedError(
          absl::StrCat("metadata key '", name, "' differs between layers, which is not supported"));
    return all[0];
  }

  const Metadata& metadata_;
  const std::string prefix_;
  std::set<std::string> asked_;
};

absl::Status ReadYarn(Keys& keys, RopeSpec& rope) {
  rope.scaling = RopeScalingKind::kYarn;
  ASSIGN_OR_RETURN(rope.original_context, keys.Int("rope.scaling.original_context_length"));
  ASSIGN_OR_RETURN(const double extra, keys.DoubleOr("rope.scaling.attn_factor", 1));
  ASSIGN_OR_RETURN(rope.beta_fast, keys.DoubleOr("rope.scaling.yarn_beta_fast", 32));
  ASSIGN_OR_RETURN(rope.beta_slow, keys.DoubleOr("rope.scaling.yarn_beta_slow", 1));
  RETURN_IF_ERROR(keys.MustBe("rope.scaling.yarn_ext_factor", 1));
  RETURN_IF_ERROR(keys.MustBe("rope.scaling.yarn_attn_factor", 1));
  RETURN_IF_ERROR(keys.MustBe("rope.scaling.yarn_log_multiplier", 0));
  rope.attention_factor = extra * (rope.factor <= 1 ? 1.0 : 0.1 * std::log(rope.factor) + 1);
  return absl::OkStatus();
}

absl::Status ReadScaling(Keys& keys, RopeSpec& rope) {
  // A factor without a type is linear.
  ASSIGN_OR_RETURN(const std::string type, keys.StringOr("rope.scaling.type", "linear"));
  ASSIGN_OR_RETURN(const double factor, keys.DoubleOr("rope.scaling.factor", 1));
  if (type == "none" || (type == "linear" && factor == 1)) return absl::OkStatus();
  rope.factor = factor;
  if (type == "yarn") return ReadYarn(keys, rope);
  if (type != "linear")
    return absl::UnimplementedError(
        absl::StrCat(keys.Quoted("rope.scaling.type"), " is '", type,
                     "', which is not supported; supported are none, linear, yarn"));
  rope.scaling = RopeScalingKind::kLinear;
  return absl::OkStatus();
}

// Divisors of the frequencies that some files store (Llama 3.1 and later).
absl::Status ReadFrequencyFactors(const GgufContent& content, RopeSpec& rope) {
  const auto found = content.tensors.find("rope_freqs.weight");
  if (found == content.tensors.end()) return absl::OkStatus();
  const TensorView& view = found->second;
  if (view.rows() != 1 || view.columns() != rope.rotary_dim / 2)
    return absl::InvalidArgumentError(absl::StrCat("tensor 'rope_freqs.weight' must have ",
                                                   rope.rotary_dim / 2, " values, has ",
                                                   view.rows() * view.columns()));
  rope.frequency_factors.resize(view.columns());
  DequantizeRow(view.type, view.data, view.columns(), rope.frequency_factors.data());
  for (float factor : rope.frequency_factors)
    if (!(factor > 0) || !std::isfinite(factor))
      return absl::InvalidArgumentError(
          absl::StrCat("tensor 'rope_freqs.weight' must hold positive numbers, holds ", factor));
  return absl::OkStatus();
}

absl::Status ReadVocabulary(Keys& keys, const GgufContent& content, DecoderSpec& spec) {
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
absl::Status ReadSizes(Keys& keys, NormKind norm, DecoderSpec& spec, LayerSpec& layer) {
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
  ASSIGN_OR_RETURN(const double epsilon,
                   keys.DoubleOr(norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon"
                                                        : "attention.layer_norm_epsilon",
                                 1e-5));
  spec.norm.epsilon = static_cast<float>(epsilon);
  ASSIGN_OR_RETURN(
      const double scale,
      keys.DoubleOr("attention.scale", 1 / std::sqrt(static_cast<double>(std::max(spec.head_dim, 1)))));
  layer.attention.scale = static_cast<float>(scale);
  return absl::OkStatus();
}

// Which layers see all positions where the others have a window: every n-th, or as an array of bools says.
absl::StatusOr<std::vector<bool>> ReadGlobalLayers(Keys& keys, int32_t or_every, int32_t layers) {
  constexpr char kKey[] = "attention.sliding_window_pattern";
  std::vector<bool> global(static_cast<size_t>(layers));
  if (const std::vector<bool>* windowed = keys.Bools(kKey); windowed != nullptr) {
    if (windowed->size() != global.size())
      return absl::InvalidArgumentError(
          absl::StrCat(keys.Quoted(kKey), " must have ", layers, " elements, has ", windowed->size()));
    for (size_t i = 0; i < global.size(); ++i) global[i] = !(*windowed)[i];
    return global;
  }
  ASSIGN_OR_RETURN(const int32_t every, keys.IntOr(kKey, or_every));
  if (every < 1)
    return absl::InvalidArgumentError(absl::StrCat(keys.Quoted(kKey), " must be positive, is 0"));
  for (size_t i = 0; i < global.size(); ++i) global[i] = (i + 1) % static_cast<size_t>(every) == 0;
  return global;
}

// Layers like `layer`, which is rotated where it sees all positions.
absl::Status ReadLayers(Keys& keys, const Family& family, LayerSpec layer, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(const int32_t layers, keys.Int("block_count"));
  if (layers < 1 || layers > kMaxGgufLayers)
    return absl::InvalidArgumentError(
        absl::StrCat(keys.Quoted("block_count"), " must be in [1, ", kMaxGgufLayers, "], is ", layers));
  if (!family.gguf_may_have_windows) {
    spec.layers.assign(layers, layer);
    return keys.MustBe("attention.sliding_window", 0);
  }
  ASSIGN_OR_RETURN(const int32_t window, keys.IntOr("attention.sliding_window", 0));
  if (!family.local_rope_base) {
    layer.position.window = window;
    spec.layers.assign(layers, layer);
    return absl::OkStatus();
  }
  if (window == 0)
    return absl::InvalidArgumentError(
        absl::StrCat(keys.Quoted("attention.sliding_window"), " must be positive"));
  RopeSpec local{.rotary_dim = spec.head_dim, .pairing = family.gguf_pairing};
  ASSIGN_OR_RETURN(local.base, keys.DoubleOr("rope.freq_base_swa", *family.local_rope_base));
  ASSIGN_OR_RETURN(const std::vector<bool> global, ReadGlobalLayers(keys, family.window_pattern, layers));
  spec.layers.assign(layers, layer);
  for (size_t i = 0; i < global.size(); ++i)
    if (!global[i]) spec.layers[i].position = {.scheme = local, .window = window};
  return absl::OkStatus();
}

absl::Status ReadRope(Keys& keys, const GgufContent& content, const Family& family, int32_t head_dim,
                      RopeSpec& rope) {
  rope.pairing = family.gguf_pairing;
  ASSIGN_OR_RETURN(rope.base, keys.DoubleOr("rope.freq_base", family.rope_base));
  ASSIGN_OR_RETURN(rope.rotary_dim, keys.IntOr("rope.dimension_count", head_dim));
  RETURN_IF_ERROR(ReadScaling(keys, rope));
  return ReadFrequencyFactors(content, rope);
}

// What the family says of the formulas, and what the file adds to it.
absl::Status ReadFormulas(Keys& keys, const GgufContent& content, const Family& family, DecoderSpec& spec,
                          LayerSpec& layer) {
  const float epsilon = spec.norm.epsilon;
  spec.norm = family.norm;
  spec.norm.epsilon = epsilon;
  spec.norm.offset = 0;  // files hold 1 + w
  spec.block = family.block;
  if (family.scaled_embedding) spec.embedding_scale = std::sqrt(static_cast<float>(spec.hidden_size));
  const float scale = layer.attention.scale;
  const int32_t ffn_size = layer.ffn.size;
  layer.attention = family.attention;
  layer.attention.scale = scale;
  layer.attention.head_norm.offset = 0;
  if (layer.attention.head_norm.kind != NormKind::kNone) layer.attention.head_norm.epsilon = epsilon;
  layer.ffn = family.ffn;
  layer.ffn.size = ffn_size;
  // No key tells of biases that a family may or may not have.
  layer.attention.qkv_bias |= content.tensors.contains("blk.0.attn_q.bias");
  layer.attention.output_bias |= content.tensors.contains("blk.0.attn_output.bias");
  layer.ffn.bias |= content.tensors.contains("blk.0.ffn_down.bias");
  if (!family.gguf_has_softcap) return absl::OkStatus();
  ASSIGN_OR_RETURN(const double cap, keys.DoubleOr("final_logit_softcapping", 0));
  spec.logit_softcap = static_cast<float>(cap);
  return absl::OkStatus();
}

// The largest models of some families scale queries by the width of the stream instead of that of a head,
// and their files do not say it.
void ScaleByStream(const Keys& keys, const Family& family, DecoderSpec& spec) {
  if (spec.num_layers() != family.gguf_layers_scaled_by_stream || keys.Has("attention.scale")) return;
  for (LayerSpec& layer : spec.layers)
    layer.attention.scale =
        std::sqrt(static_cast<float>(spec.num_heads) / static_cast<float>(spec.hidden_size));
}

// Keys that a supported model has with one value alone, or that say nothing about what it computes.
absl::Status CheckUsual(Keys& keys) {
  RETURN_IF_ERROR(keys.MustBe("expert_count", 0));
  RETURN_IF_ERROR(keys.MustBe("expert_used_count", 0));
  RETURN_IF_ERROR(keys.MustBeBool("attention.causal", true));
  RETURN_IF_ERROR(keys.MustBeBool("use_parallel_residual", false));
  keys.Ignore("tensor_data_layout");
  keys.Ignore("rope.scaling.finetuned");
  return absl::OkStatus();
}

// A file that holds something else than a whole model.
absl::Status CheckGeneral(const Metadata& metadata) {
  ASSIGN_OR_RETURN(const std::string type, ValueOr<std::string>(metadata.GetString("general.type"), "model"));
  if (type != "model")
    return absl::UnimplementedError(
        absl::StrCat("metadata key 'general.type' is '", type, "'; only 'model' is supported"));
  ASSIGN_OR_RETURN(const int64_t parts, ValueOr<int64_t>(metadata.GetInt("split.count"), 1));
  if (parts > 1)
    return absl::UnimplementedError(absl::StrCat("metadata key 'split.count' is ", parts,
                                                 "; models split into several files are not supported"));
  return absl::OkStatus();
}

absl::StatusOr<DecoderSpec> ReadSpec(const GgufContent& content) {
  DecoderSpec spec;
  RETURN_IF_ERROR(CheckGeneral(content.metadata));
  ASSIGN_OR_RETURN(spec.architecture, content.metadata.GetString("general.architecture"));
  ASSIGN_OR_RETURN(const Family* family, FamilyOf(spec.architecture));
  Keys keys(content.metadata, spec.architecture);
  RETURN_IF_ERROR(CheckUsual(keys));
  LayerSpec layer;
  RopeSpec rope;
  RETURN_IF_ERROR(ReadSizes(keys, family->norm.kind, spec, layer));
  RETURN_IF_ERROR(ReadVocabulary(keys, content, spec));
  RETURN_IF_ERROR(ReadFormulas(keys, content, *family, spec, layer));
  RETURN_IF_ERROR(ReadRope(keys, content, *family, spec.head_dim, rope));
  layer.position.scheme = rope;
  RETURN_IF_ERROR(ReadLayers(keys, *family, std::move(layer), spec));
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
