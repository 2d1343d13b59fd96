// Families whose folders bring the code of their models along; the others are in family.cc and families_of_experts.cc.
#include "engine/model/family.h"
#include "engine/model/family_names.h"
#include "engine/model/family_readers.h"

namespace ropeway {
namespace {

namespace names = family_names;
namespace readers = family_readers;

constexpr Family kFamilies[] = {
    // Two generations of two sizes each, which differ in positions and in the output layer.
    {.hf_type = "baichuan",
     .fields = {.kv_heads = nullptr, .head_dim = nullptr},
     .context_length = 4096,
     .names = names::kBaichuanNames,
     .read_more = readers::ReadBaichuan},
    // ChatGLM 2, 3, and GLM-4 as it was published first.
    {.hf_type = "chatglm",
     .norm = {.epsilon = 1e-5f},
     .hf_pairing = RopePairing::kInterleaved,
     .rotated = 0.5,
     .fields = {.vocab_size = "padded_vocab_size",
                .layers = "num_layers",
                .kv_heads = "multi_query_group_num",
                .head_dim = "kv_channels",
                .ffn_size = "ffn_hidden_size",
                .context = "seq_length",
                .epsilon = "layernorm_epsilon",
                .activation = nullptr,
                .attention_bias = "add_qkv_bias",
                .attention_bias_is_output_too = false,
                .output_bias = "add_bias_linear",
                .ffn_bias = "add_bias_linear"},
     .kv_heads = 1,
     .context_length = 2048,
     .names = names::kChatGlmNames,
     .read_more = readers::ReadChatGlm,
     .finish_layers = readers::FinishChatGlm},
    {.hf_type = "internlm2",
     .attention = {.qkv_bias = true, .output_bias = true},
     .fields = {.attention_bias = "bias"},
     .context_length = 2048,
     .names = names::kInternLm2Names},
    {.hf_type = "qwen",
     .attention = {.qkv_bias = true},
     .rotated_may_differ = true,
     .fields = {.kv_heads = nullptr,
                .head_dim = "kv_channels",
                .epsilon = "layer_norm_epsilon",
                .activation = nullptr,
                .partial = "rotary_pct",
                .older_base = "rotary_emb_base"},
     .context_length = 8192,
     .names = names::kQwenNames,
     .read_more = readers::ReadQwen,
     .finish_layers = readers::FinishQwen},
    // StableLM before transformers knew it.
    {.hf_type = "stablelm_epoch",
     .norm = {.kind = NormKind::kLayer, .epsilon = 1e-5f, .has_bias = true},
     .rotated = 0.25,
     .rotated_may_differ = true,
     .fields = {.epsilon = "norm_eps",
                .attention_bias = "use_qkv_bias",
                .attention_bias_is_output_too = false,
                .partial = "rope_pct"},
     .kv_heads = 32,
     .context_length = 4096,
     .names = names::kStableLmNames,
     .read_more = readers::ReadStableLm},
};

}  // namespace

absl::Span<const Family> FamiliesOfFolderCode() { return kFamilies; }

}  // namespace ropeway
