#include "engine/model/gguf_family.h"

#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/model/gguf_experts.h"

namespace ropeway {
namespace {

constexpr RopePairing kInterleaved = RopePairing::kInterleaved;

// Keys of caps, absent in some models.
absl::Status ReadFinalCap(GgufKeys& keys, const GgufContent&, DecoderSpec& spec, LayerSpec&) {
  ASSIGN_OR_RETURN(const double cap, keys.DoubleOr("final_logit_softcapping", 0));
  spec.logit_softcap = cap;
  return absl::OkStatus();
}

absl::Status ReadGemma2(GgufKeys& keys, const GgufContent&, DecoderSpec& spec, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const double score_cap, keys.DoubleOr("attn_logit_softcapping", 50));
  ASSIGN_OR_RETURN(const double logit_cap, keys.DoubleOr("final_logit_softcapping", 30));
  layer.attention.softcap = score_cap;
  spec.logit_softcap = logit_cap;
  return absl::OkStatus();
}

// A factor that is there in every file of some architectures.
absl::StatusOr<float> Factor(GgufKeys& keys, const char* key) {
  ASSIGN_OR_RETURN(const double factor, keys.DoubleOr(key, 0));
  if (factor > 0) return static_cast<float>(factor);
  return absl::InvalidArgumentError(absl::StrCat(keys.Quoted(key), " must be positive, is ",
                                                 keys.Has(key) ? absl::StrCat(factor) : "missing"));
}

absl::Status ReadGranite(GgufKeys& keys, const GgufContent&, DecoderSpec& spec, LayerSpec&) {
  ASSIGN_OR_RETURN(spec.embedding_scale, Factor(keys, "embedding_scale"));
  ASSIGN_OR_RETURN(spec.block.residual_scale, Factor(keys, "residual_scale"));
  ASSIGN_OR_RETURN(const float divisor, Factor(keys, "logit_scale"));  // as Granite's config calls it
  spec.logit_scale = 1 / divisor;
  return absl::OkStatus();
}

// A norm of query and key heads that some models of a family have, with a weight for each head.
void ReadNormsOfHeads(const GgufContent& content, const DecoderSpec& spec, LayerSpec& layer) {
  if (content.tensors.contains("blk.0.attn_q_norm.weight"))
    layer.attention.head_norm = {.kind = NormKind::kLayer, .epsilon = spec.norm.epsilon, .per_head = true};
}

absl::Status ReadCohere(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec, LayerSpec& layer) {
  ASSIGN_OR_RETURN(spec.logit_scale, Factor(keys, "logit_scale"));
  ReadNormsOfHeads(content, spec, layer);
  return absl::OkStatus();
}

// Its key says nothing: converters write what a config leaves out as true. Parallel blocks have one norm.
absl::Status ReadStableLm(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec, LayerSpec& layer) {
  keys.Ignore("use_parallel_residual");
  if (!content.tensors.contains("blk.0.ffn_norm.weight")) spec.block.kind = BlockKind::kParallel;
  ReadNormsOfHeads(content, spec, layer);
  return absl::OkStatus();
}

// Norms of query and key heads by tensors: the larger of its models have them.
absl::Status ReadGlm4Moe(GgufKeys&, const GgufContent& content, DecoderSpec& spec, LayerSpec& layer) {
  if (content.tensors.contains("blk.0.attn_q_norm.weight"))
    layer.attention.head_norm = {.kind = NormKind::kRms, .epsilon = spec.norm.epsilon};
  return absl::OkStatus();
}

absl::Status ReadGptNeoX(GgufKeys& keys, const GgufContent&, DecoderSpec& spec, LayerSpec&) {
  ASSIGN_OR_RETURN(const bool parallel, keys.BoolOr("use_parallel_residual", true));
  if (parallel) spec.block.kind = BlockKind::kParallelTwoNorms;
  return absl::OkStatus();
}

absl::Status ReadFalcon(GgufKeys&, const GgufContent& content, DecoderSpec& spec, LayerSpec&) {
  const bool two_norms = content.tensors.contains("blk.0.attn_norm_2.weight");
  spec.block.kind = two_norms ? BlockKind::kParallelTwoNorms : BlockKind::kParallel;
  return absl::OkStatus();
}

absl::Status ReadClip(GgufKeys& keys, const GgufContent&, DecoderSpec&, LayerSpec& layer) {
  ASSIGN_OR_RETURN(const double clip, keys.DoubleOr("attention.clamp_kqv", 0));
  layer.attention.clip = static_cast<float>(clip);
  return absl::OkStatus();
}

absl::Status ReadMpt(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec, LayerSpec& layer) {
  RETURN_IF_ERROR(ReadClip(keys, content, spec, layer));
  ASSIGN_OR_RETURN(const float max_bias, Factor(keys, "attention.max_alibi_bias"));
  layer.position.scheme = AlibiSpec{.max_bias = max_bias};
  return absl::OkStatus();
}

// The model with 40 layers has ALiBi, and no key says so.
absl::Status ReadBaichuan(GgufKeys& keys, const GgufContent&, DecoderSpec&, LayerSpec& layer) {
  constexpr int32_t kLayersWithAlibi = 40;
  ASSIGN_OR_RETURN(const int32_t layers, keys.Int("block_count"));
  if (layers == kLayersWithAlibi) layer.position.scheme = AlibiSpec{};
  return absl::OkStatus();
}

// The width that files tell is that of gate and up together.
absl::Status ReadQwen1(GgufKeys& keys, const GgufContent&, DecoderSpec&, LayerSpec& layer) {
  if (layer.ffn.size % 2 != 0)
    return absl::InvalidArgumentError(
        absl::StrCat(keys.Quoted("feed_forward_length"), " must be even, is ", layer.ffn.size));
  layer.ffn.size /= 2;
  return absl::OkStatus();
}

absl::Status FinishSmolLm3(GgufKeys&, const GgufContent&, DecoderSpec& spec) {
  constexpr size_t kInterval = 4;
  for (size_t i = kInterval - 1; i < spec.layers.size(); i += kInterval)
    spec.layers[i].position.scheme = NopeSpec{};
  return absl::OkStatus();
}

constexpr GgufFamily kFamilies[] = {
    // llama files hold query and key rows permuted for interleaved pairs. Mistral's and InternLM 3's call themselves
    // llama.
    // Mixtral's as well.
    {.architecture = "llama",
     .like = "llama",
     .pairing = kInterleaved,
     .windows = true,
     .experts = ExpertsSpec{.normalised = true}},
    {.architecture = "mistral3",
     .like = "ministral3",
     .pairing = kInterleaved,
     .windows = true,
     .has_yarn_multiplier = true,
     .read_more = gguf_readers::ReadMistral3,
     .finish_layers = gguf_readers::FinishMistral3},
    {.architecture = "llama4",
     .like = "llama4_text",
     .pairing = kInterleaved,
     .experts = ExpertsSpec{.score = RouterScore::kSigmoid, .scales_input = true},
     .read_more = gguf_readers::ReadLlama4,
     .finish_layers = gguf_readers::FinishLlama4},
    {.architecture = "qwen2moe", .like = "qwen2_moe", .experts = ExpertsSpec{}},
    {.architecture = "qwen3moe", .like = "qwen3_moe", .experts = ExpertsSpec{.normalised = true}},
    {.architecture = "olmoe", .like = "olmoe", .experts = ExpertsSpec{}, .read_more = ReadClip},
    {.architecture = "granitemoe",
     .like = "granitemoe",
     .pairing = kInterleaved,
     .experts = ExpertsSpec{.score = RouterScore::kSoftmaxChosen},
     .read_more = ReadGranite},
    {.architecture = "gpt-oss",
     .like = "gpt_oss",
     .windows = true,
     .experts = ExpertsSpec{.score = RouterScore::kSoftmaxChosen},
     .read_more = gguf_readers::ReadGptOss,
     .finish_layers = gguf_readers::FinishGptOss},
    {.architecture = "deepseek2",
     .like = "deepseek_v3",
     .pairing = kInterleaved,
     .experts = ExpertsSpec{},
     .is_latent = true,
     .read_more = gguf_readers::ReadDeepSeek2,
     .finish_layers = gguf_readers::FinishDeepSeek2},
    {.architecture = "glm4moe",
     .like = "glm4_moe",
     .experts = ExpertsSpec{.score = RouterScore::kSigmoid, .least_sum = 1e-20f},
     .has_extra_layers = true,
     .read_more = ReadGlm4Moe},
    {.architecture = "ernie4_5-moe",
     .like = "ernie4_5_moe",
     .pairing = kInterleaved,
     .experts = ExpertsSpec{.normalised = true, .least_sum = 1e-12f}},
    {.architecture = "hunyuan-moe", .like = "hunyuan_v1_moe", .experts = ExpertsSpec{.normalised = true}},
    {.architecture = "minicpm3",
     .like = "minicpm3",
     .is_latent = true,
     .read_more = gguf_readers::ReadMiniCpm3},
    {.architecture = "apertus", .like = "apertus", .finish_layers = gguf_readers::FinishApertus},
    {.architecture = "mistral", .like = "llama", .pairing = kInterleaved, .windows = true},
    {.architecture = "qwen", .like = "qwen2", .read_more = ReadQwen1},
    {.architecture = "qwen2", .like = "qwen2"},
    {.architecture = "qwen3", .like = "qwen3"},
    {.architecture = "gemma", .like = "gemma"},
    {.architecture = "gemma2",
     .like = "gemma2",
     .windows = true,
     .needs_windows = true,
     .default_window = 4096,
     .layers_scaled_by_stream = 46,
     .read_more = ReadGemma2},
    {.architecture = "gemma3",
     .like = "gemma3_text",
     .windows = true,
     .needs_windows = true,
     .layers_scaled_by_stream = 62,
     .read_more = ReadFinalCap},
    {.architecture = "baichuan", .like = "llama", .pairing = kInterleaved, .read_more = ReadBaichuan},
    {.architecture = "internlm2", .like = "llama", .pairing = kInterleaved},
    {.architecture = "xverse", .like = "llama", .pairing = kInterleaved},
    {.architecture = "exaone", .like = "llama"},
    {.architecture = "exaone4", .like = "exaone4", .windows = true},
    {.architecture = "smollm3", .like = "smollm3", .pairing = kInterleaved, .finish_layers = FinishSmolLm3},
    {.architecture = "arcee", .like = "arcee", .pairing = kInterleaved},
    {.architecture = "seed_oss", .like = "seed_oss"},
    {.architecture = "granite", .like = "granite", .pairing = kInterleaved, .read_more = ReadGranite},
    {.architecture = "ernie4_5", .like = "ernie4_5", .pairing = kInterleaved},
    {.architecture = "hunyuan-dense", .like = "hunyuan_v1_dense"},
    {.architecture = "olmo", .like = "olmo", .pairing = kInterleaved, .read_more = ReadClip},
    {.architecture = "olmo2", .like = "olmo2", .windows = true, .like_with_windows = "olmo3"},
    {.architecture = "nemotron", .like = "nemotron"},
    {.architecture = "chatglm", .like = "glm", .pairing = kInterleaved},
    {.architecture = "glm4", .like = "glm4", .pairing = kInterleaved},
    {.architecture = "command-r", .like = "cohere", .pairing = kInterleaved, .read_more = ReadCohere},
    {.architecture = "cohere2",
     .like = "cohere2",
     .pairing = kInterleaved,
     .windows = true,
     .read_more = ReadCohere},
    {.architecture = "phi2", .like = "phi"},
    {.architecture = "phi3", .like = "phi3", .windows = true},
    {.architecture = "stablelm", .like = "stablelm", .tells_parallel = true, .read_more = ReadStableLm},
    {.architecture = "starcoder", .like = "gpt_bigcode"},
    {.architecture = "starcoder2", .like = "starcoder2", .windows = true},
    {.architecture = "gpt2", .like = "gpt2"},
    {.architecture = "gptneox", .like = "gpt_neox", .tells_parallel = true, .read_more = ReadGptNeoX},
    {.architecture = "bloom", .like = "bloom"},
    {.architecture = "falcon", .like = "falcon", .read_more = ReadFalcon},
    {.architecture = "mpt", .like = "mpt", .read_more = ReadMpt},
};

}  // namespace

absl::StatusOr<const GgufFamily*> GgufFamilyOf(const std::string& architecture) {
  std::vector<const char*> names;
  for (const GgufFamily& family : kFamilies) {
    if (architecture == family.architecture) return &family;
    names.push_back(family.architecture);
  }
  return absl::UnimplementedError(absl::StrCat(
      "architecture '", architecture, "' is not supported; supported are ", absl::StrJoin(names, ", ")));
}

const Family& FormulasOf(const GgufFamily& family, bool has_windows) {
  const bool other = has_windows && family.like_with_windows != nullptr;
  const std::string_view type = other ? family.like_with_windows : family.like;
  for (const Family& formulas : AllFamilies())
    if (formulas.hf_type != nullptr && formulas.hf_type == type) return formulas;
  ROPEWAY_CHECK(false);
}

}  // namespace ropeway
