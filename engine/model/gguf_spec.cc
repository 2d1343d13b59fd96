#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "engine/model/gguf_model.h"
#include "engine/tensor/dequantize.h"

namespace ropeway {
namespace {

// What an architecture implies beyond what its files say.
struct Family {
  const char* name;
  RopePairing pairing;
  bool qkv_bias = false;
  bool qk_norm = false;
  bool gemma = false;  // GeGLU, sandwich norms, scaled embeddings, local layers with a rope of their own
};

// llama files hold query and key rows permuted for interleaved pairs. Mistral's files call themselves llama.
constexpr Family kFamilies[] = {
    {.name = "llama", .pairing = RopePairing::kInterleaved},
    {.name = "mistral", .pairing = RopePairing::kInterleaved},
    {.name = "qwen2", .pairing = RopePairing::kHalves, .qkv_bias = true},
    {.name = "qwen3", .pairing = RopePairing::kHalves, .qk_norm = true},
    {.name = "gemma3", .pairing = RopePairing::kHalves, .qk_norm = true, .gemma = true},
};

// In Gemma 3 every sixth layer sees all positions, the others a window, rotated on this base.
constexpr int kGemmaGlobalEvery = 6;
constexpr double kGemmaLocalBase = 10000;

absl::StatusOr<const Family*> FamilyOf(const std::string& architecture) {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) {
    if (architecture == family.name) return &family;
    names.push_back(family.name);
  }
  return absl::UnimplementedError(absl::StrCat(
      "architecture '", architecture, "' is not supported; supported are ", absl::StrJoin(names, ", ")));
}

// Reads the keys of one architecture: "head_count" stands for "llama.attention.head_count" and so on.
class Keys {
 public:
  Keys(const Metadata& metadata, const std::string& architecture)
      : metadata_(metadata), prefix_(architecture + ".") {}

  std::string Name(absl::string_view key) const { return absl::StrCat(prefix_, key); }
  bool Has(absl::string_view key) const { return metadata_.Has(Name(key)); }

  absl::StatusOr<int32_t> Int(absl::string_view key) const {
    ASSIGN_OR_RETURN(const int64_t value, Uniform(Name(key)));
    if (value < 0 || value > INT32_MAX)
      return absl::InvalidArgumentError(
          absl::StrCat("metadata key '", Name(key), "' must be in [0, 2^31), is ", value));
    return static_cast<int32_t>(value);
  }
  absl::StatusOr<int32_t> IntOr(absl::string_view key, int32_t or_default) const {
    return ValueOr<int32_t>(Int(key), or_default);
  }
  absl::StatusOr<double> DoubleOr(absl::string_view key, double or_default) const {
    return ValueOr<double>(metadata_.GetDouble(Name(key)), or_default);
  }
  absl::StatusOr<std::string> StringOr(absl::string_view key, std::string or_default) const {
    return ValueOr<std::string>(metadata_.GetString(Name(key)), std::move(or_default));
  }

 private:
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
};

absl::Status ReadScaling(const Keys& keys, RopeSpec& rope) {
  ASSIGN_OR_RETURN(const std::string type, keys.StringOr("rope.scaling.type", "none"));
  ASSIGN_OR_RETURN(rope.factor, keys.DoubleOr("rope.scaling.factor", 1));
  if (type == "none") return absl::OkStatus();
  if (type == "linear") {
    rope.scaling = RopeScalingKind::kLinear;
    return absl::OkStatus();
  }
  if (type != "yarn")
    return absl::UnimplementedError(
        absl::StrCat("metadata key '", keys.Name("rope.scaling.type"), "' is '", type,
                     "', which is not supported; supported are none, linear, yarn"));
  rope.scaling = RopeScalingKind::kYarn;
  ASSIGN_OR_RETURN(const int32_t context, keys.Int("rope.scaling.original_context_length"));
  rope.original_context = context;
  ASSIGN_OR_RETURN(const double extra, keys.DoubleOr("rope.scaling.attn_factor", 1));
  ASSIGN_OR_RETURN(rope.beta_fast, keys.DoubleOr("rope.scaling.yarn_beta_fast", 32));
  ASSIGN_OR_RETURN(rope.beta_slow, keys.DoubleOr("rope.scaling.yarn_beta_slow", 1));
  rope.attention_factor = extra * (0.1 * std::log(rope.factor) + 1);
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

absl::Status ReadSizes(const Keys& keys, const GgufContent& content, DecoderSpec& spec) {
  ASSIGN_OR_RETURN(spec.hidden_size, keys.Int("embedding_length"));
  ASSIGN_OR_RETURN(spec.num_heads, keys.Int("attention.head_count"));
  ASSIGN_OR_RETURN(spec.num_kv_heads, keys.IntOr("attention.head_count_kv", spec.num_heads));
  ASSIGN_OR_RETURN(spec.ffn_size, keys.Int("feed_forward_length"));
  ASSIGN_OR_RETURN(spec.context_length, keys.Int("context_length"));
  if (!keys.Has("attention.key_length") && (spec.num_heads == 0 || spec.hidden_size % spec.num_heads != 0))
    return absl::InvalidArgumentError(absl::StrCat("metadata key '", keys.Name("embedding_length"),
                                                   "' must be a multiple of the number of heads ",
                                                   spec.num_heads, ", is ", spec.hidden_size));
  ASSIGN_OR_RETURN(spec.head_dim, keys.IntOr("attention.key_length",
                                             spec.num_heads == 0 ? 0 : spec.hidden_size / spec.num_heads));
  ASSIGN_OR_RETURN(spec.value_dim, keys.IntOr("attention.value_length", spec.head_dim));
  ASSIGN_OR_RETURN(const double epsilon, keys.DoubleOr("attention.layer_norm_rms_epsilon", 1e-5));
  spec.norm_epsilon = static_cast<float>(epsilon);
  const auto embedding = content.tensors.find("token_embd.weight");
  if (embedding == content.tensors.end())
    return absl::InvalidArgumentError("tensor 'token_embd.weight' is missing");
  spec.vocab_size = static_cast<int32_t>(std::min<int64_t>(embedding->second.rows(), INT32_MAX));
  spec.tied_output = !content.tensors.contains("output.weight");
  return absl::OkStatus();
}

absl::Status ReadRopesAndLayers(const Keys& keys, const GgufContent& content, const Family& family,
                                DecoderSpec& spec) {
  RopeSpec rope{.pairing = family.pairing};
  ASSIGN_OR_RETURN(rope.base, keys.DoubleOr("rope.freq_base", family.gemma ? 1000000 : 10000));
  ASSIGN_OR_RETURN(rope.rotary_dim, keys.IntOr("rope.dimension_count", spec.head_dim));
  if (family.gemma) rope.rotary_dim = spec.head_dim;
  RETURN_IF_ERROR(ReadScaling(keys, rope));
  RETURN_IF_ERROR(ReadFrequencyFactors(content, rope));
  spec.ropes.push_back(std::move(rope));
  ASSIGN_OR_RETURN(const int32_t window, keys.IntOr("attention.sliding_window", 0));
  ASSIGN_OR_RETURN(const int32_t layers, keys.Int("block_count"));
  if (layers < 1 || layers > 1024)
    return absl::InvalidArgumentError(
        absl::StrCat("metadata key '", keys.Name("block_count"), "' must be in [1, 1024], is ", layers));
  if (!family.gemma) {
    spec.layers.assign(layers, LayerSpec{.window = window, .rope = 0});
    return absl::OkStatus();
  }
  spec.ropes.push_back({.base = kGemmaLocalBase, .rotary_dim = spec.head_dim, .pairing = family.pairing});
  for (int32_t i = 0; i < layers; ++i) {
    const bool global = i % kGemmaGlobalEvery == kGemmaGlobalEvery - 1;
    spec.layers.push_back({.window = global ? 0 : window, .rope = global ? 0 : 1});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DecoderSpec> SpecFromGguf(const GgufContent& content) {
  DecoderSpec spec;
  ASSIGN_OR_RETURN(spec.architecture, content.metadata.GetString("general.architecture"));
  ASSIGN_OR_RETURN(const Family* family, FamilyOf(spec.architecture));
  const Keys keys(content.metadata, spec.architecture);
  ASSIGN_OR_RETURN(const int32_t experts, keys.IntOr("expert_count", 0));
  if (experts != 0)
    return absl::UnimplementedError(
        absl::StrCat("metadata key '", keys.Name("expert_count"), "' is ", experts, "; only 0 is supported"));
  RETURN_IF_ERROR(ReadSizes(keys, content, spec));
  RETURN_IF_ERROR(ReadRopesAndLayers(keys, content, *family, spec));
  spec.qk_norm = family->qk_norm;
  // No key tells of biases that a family may or may not have.
  spec.qkv_bias = family->qkv_bias || content.tensors.contains("blk.0.attn_q.bias");
  spec.attention_output_bias = content.tensors.contains("blk.0.attn_output.bias");
  spec.ffn_bias = content.tensors.contains("blk.0.ffn_down.bias");
  spec.attention_scale = 1 / std::sqrt(static_cast<float>(spec.head_dim));
  if (family->gemma) {
    spec.sandwich_norms = true;
    spec.activation = FfnActivation::kGeluTanh;
    spec.embedding_scale = std::sqrt(static_cast<float>(spec.hidden_size));
    // The 27B model alone scales queries by the width of the stream instead of that of a head.
    if (spec.layers.size() == 62)
      spec.attention_scale =
          1 / std::sqrt(static_cast<float>(spec.hidden_size) / static_cast<float>(spec.num_heads));
    ASSIGN_OR_RETURN(const double cap, keys.DoubleOr("final_logit_softcapping", 0));
    spec.final_softcap = static_cast<float>(cap);
  }
  RETURN_IF_ERROR(spec.Validate());
  return spec;
}

}  // namespace ropeway
