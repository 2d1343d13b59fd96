#include "engine/model/ropeway_tensors.h"

#include <algorithm>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace ropeway {
namespace {

// Names that are not those of Llama's folders.
const char* PatternOf(WeightRole role) {
  switch (role) {
    case WeightRole::kAttentionNorm:
      return "model.layers.*.attn_norm.weight";
    case WeightRole::kAttentionPostNorm:
      return "model.layers.*.attn_post_norm.weight";
    case WeightRole::kFfnNorm:
      return "model.layers.*.ffn_norm.weight";
    case WeightRole::kFfnPostNorm:
      return "model.layers.*.ffn_post_norm.weight";
    default:
      return InfoOf(role).hf_name;
  }
}

bool IsShared(WeightRole role, const PositionScheme& scheme) {
  switch (role) {
    case WeightRole::kT5Biases:
      return std::get<T5Spec>(scheme).shared;
    case WeightRole::kXlContent:
    case WeightRole::kXlPosition:
      return std::get<TransformerXlSpec>(scheme).shared_uv;
    case WeightRole::kFireIn:
    case WeightRole::kFireOut:
    case WeightRole::kFireC:
    case WeightRole::kFireLMultiplier:
      return SchemeOrBase<FireSpec>(scheme)->shared;
    default:
      return false;
  }
}

absl::Status TensorError(absl::string_view name, absl::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat("model.safetensors: ", name, ": ", reason));
}

std::string Shown(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace

std::string RopewayTensorName(const TensorId& id, const DecoderSpec& spec) {
  const std::string name = ExpandName(PatternOf(id.role), id);
  if (!IsShared(id.role, spec.layers[id.layer].position.scheme)) return name;
  return absl::StrReplaceAll(name, {{absl::StrCat("model.layers.", id.layer, ".self_attn."), "model."}});
}

absl::Status CheckRopewayTensors(const RopewayConfig& config, const NamedTensors::Map& tensors) {
  absl::flat_hash_set<std::string> needed;
  for (const TensorId& id : TensorsOf(config.spec)) {
    const std::string name = RopewayTensorName(id, config.spec);
    needed.insert(name);
    const auto found = tensors.find(name);
    if (found == tensors.end()) return TensorError(name, "missing");
    const std::vector<int64_t> shape = ShapeOf(id, config.spec);
    if (found->second.shape != shape)
      return TensorError(name, absl::StrCat("shape ", Shown(found->second.shape), ", needs ", Shown(shape)));
    if (found->second.type != config.dtype)
      return TensorError(name, absl::StrCat("type ", InfoOf(found->second.type).name, ", needs ",
                                            InfoOf(config.dtype).name));
  }
  std::vector<std::string> left;
  for (const auto& [name, view] : tensors)
    if (!needed.contains(name)) left.push_back(name);
  if (left.empty()) return absl::OkStatus();
  return TensorError(absl::Utf8SafeCHexEscape(*std::min_element(left.begin(), left.end())),
                     "not used by this config");
}

}  // namespace ropeway
