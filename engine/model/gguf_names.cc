#include "engine/model/gguf_names.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/model/gguf_family.h"
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

// Some converters write vectors as matrices of one row (ERNIE 4.5's corrections); extents of 1 say nothing in GGUF.
std::set<std::string> OneRowTensors(const GgufContent& content) {
  std::set<std::string> names;
  for (const auto& [name, view] : content.tensors)
    if (view.shape.size() == 2 && view.shape[0] == 1) names.insert(name);
  return names;
}

// Whether a tensor is that of a layer behind those of the decoder, as far as the file counts them.
bool IsOfExtraLayer(absl::string_view name, int32_t layers, int64_t extra_layers) {
  int32_t layer = 0;
  return absl::ConsumePrefix(&name, "blk.") && absl::SimpleAtoi(name.substr(0, name.find('.')), &layer) &&
         layer >= layers && layer - layers < extra_layers;
}

// Part of the spec already, or implied by it, or of no use to it.
bool Ignorable(absl::string_view name, const DecoderSpec& spec, int64_t extra_layers) {
  if (name == kRopeDivisors || name == kLongFactors || name == kShortFactors ||
      absl::EndsWith(name, ".attn_rot_embd.weight"))
    return true;
  // Some files have the keys and values of latent attention both together and apart.
  const LatentSpec& latent = spec.layers[0].attention.latent;
  if (latent.kv_rank > 0 && !latent.apart &&
      (absl::EndsWith(name, ".attn_k_b.weight") || absl::EndsWith(name, ".attn_v_b.weight")))
    return true;
  return IsOfExtraLayer(name, spec.num_layers(), extra_layers);
}

}  // namespace

NamedTensors::Naming GgufNaming(const GgufContent& content, const DecoderSpec& spec) {
  const auto parts_of = [spec, names = OtherNames(content, spec),
                         one_rows = OneRowTensors(content)](const TensorId& id) {
    if (FindName(id.role, names) != nullptr) return HfPartsOf(id, spec, names);
    StoredPart part{.name = ExpandName(InfoOf(id.role).gguf_name, id), .stacked = IsOfExperts(id.role)};
    part.one_row = one_rows.contains(part.name) && HasTensor(id, spec) && ShapeOf(id, spec).size() == 1;
    return std::vector<StoredPart>{std::move(part)};
  };
  const int64_t extra_layers =
      content.metadata.GetInt(absl::StrCat(spec.architecture, ".", kExtraLayersKey)).value_or(0);
  const auto ignorable = [spec, extra_layers](absl::string_view name) {
    return Ignorable(name, spec, extra_layers);
  };
  return {.parts_of = parts_of, .ignorable = ignorable};
}

}  // namespace ropeway
