#include "engine/model/gguf_names.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "engine/model/gguf_rope.h"
#include "engine/model/hf_names.h"
#include "engine/model/weight_roles.h"

namespace ropeway {
namespace {

using Role = WeightRole;

// The names that differ from those of the table of roles.
std::vector<HfName> OtherNames(const GgufContent& content, const DecoderSpec& spec) {
  const auto has = [&](const char* name) { return content.tensors.contains(name); };
  std::vector<HfName> names;
  if (has("blk.0.attn_qkv.weight")) names.push_back({Role::kQuery, "blk.*.attn_qkv.weight", HfLayout::kQkv});
  if (spec.layers[0].ffn.gated && !spec.layers[0].ffn.has_experts() && has("blk.0.ffn_up.weight") &&
      !has("blk.0.ffn_gate.weight"))
    names.push_back({Role::kGate, "blk.*.ffn_up.weight", HfLayout::kGateUp});
  // Falcon's with two norms: the first of the table is that of the feed-forward layer.
  if (spec.block.kind == BlockKind::kParallelTwoNorms && has("blk.0.attn_norm_2.weight")) {
    names.push_back({Role::kAttentionNorm, "blk.*.attn_norm_2.weight"});
    names.push_back({Role::kFfnNorm, "blk.*.attn_norm.weight"});
  } else if (spec.has_ffn_norm() && !spec.block.post_norm && !has("blk.0.ffn_norm.weight") &&
             has("blk.0.post_attention_norm.weight")) {
    names.push_back({Role::kFfnNorm, "blk.*.post_attention_norm.weight"});
  }
  return names;
}

// Part of the spec already, or implied by it.
bool Ignorable(absl::string_view name) {
  return name == kRopeDivisors || name == kLongFactors || name == kShortFactors ||
         absl::EndsWith(name, ".attn_rot_embd.weight");
}

}  // namespace

NamedTensors::Naming GgufNaming(const GgufContent& content, const DecoderSpec& spec) {
  const auto parts_of = [spec, names = OtherNames(content, spec)](const TensorId& id) {
    if (FindName(id.role, names) != nullptr) return HfPartsOf(id, spec, names);
    return std::vector<StoredPart>{
        {.name = ExpandName(InfoOf(id.role).gguf_name, id), .stacked = IsOfExperts(id.role)}};
  };
  return {.parts_of = parts_of, .ignorable = Ignorable};
}

}  // namespace ropeway
