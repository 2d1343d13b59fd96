#include "engine/model/hf_names.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace ropeway {
namespace {

using Role = WeightRole;

// Under which role the tensor stands that `role` shares with others, where it does.
Role FirstOfShared(Role role) {
  switch (role) {
    case Role::kKey:
    case Role::kValue:
      return Role::kQuery;
    case Role::kUp:
      return Role::kGate;
    case Role::kExpertUp:
      return Role::kExpertGate;
    case Role::kSharedUp:
      return Role::kSharedGate;
    default:
      return role;
  }
}

bool IsShared(HfLayout layout) {
  switch (layout) {
    case HfLayout::kQkv:
    case HfLayout::kQkvTransposed:
    case HfLayout::kQkvByGroup:
    case HfLayout::kQvkInFour:
    case HfLayout::kGateUp:
    case HfLayout::kExpertsGateUp:
    case HfLayout::kExpertsGateUpTransposed:
    case HfLayout::kExpertsGateUpAlternating:
    case HfLayout::kExpertsGateUpInTurn:
      return true;
    default:
      return false;
  }
}

HfName NameFor(Role role, absl::Span<const HfName> names) {
  if (const HfName* name = FindName(role, names)) return *name;
  return {role, InfoOf(role).hf_name, IsOfExperts(role) ? HfLayout::kExperts : HfLayout::kWhole};
}

// Rows of queries, keys and values one after the other, of so many heads each.
RowPattern RowsOfQkv(Role role, int64_t queries, int64_t keys, int64_t values, int64_t groups) {
  const int64_t all = queries + keys + values;
  if (role == Role::kQuery) return {0, queries, all, groups};
  if (role == Role::kKey) return {queries, keys, all, groups};
  return {queries + keys, values, all, groups};
}

RowPattern PatternOf(HfLayout layout, Role role, const DecoderSpec& spec, const LayerSpec& layer) {
  const int64_t h = spec.num_heads, g = spec.num_kv_heads, e = spec.head_dim, v = spec.value_dim;
  switch (layout) {
    case HfLayout::kQkv:
    case HfLayout::kQkvTransposed:
      return RowsOfQkv(role, h * e, g * e, g * v, 1);
    case HfLayout::kQkvByGroup:
      return RowsOfQkv(role, h / g * e, e, v, g);
    case HfLayout::kQvkInFour: {
      const int64_t part = h * e / 4;
      return {role == Role::kQuery ? 0 : role == Role::kValue ? part : 2 * part, part, 3 * part, 4};
    }
    case HfLayout::kExpertsGateUpAlternating:
    case HfLayout::kExpertsGateUpInTurn:
      return {role == Role::kExpertGate ? 0 : 1, 1, 2, layer.ffn.size};
    default: {
      const bool is_gate = role == Role::kGate || role == Role::kExpertGate || role == Role::kSharedGate;
      const int64_t f = role == Role::kSharedGate || role == Role::kSharedUp ? layer.ffn.experts.shared_size
                                                                             : layer.ffn.size;
      return {is_gate ? 0 : f, f, 2 * f, 1};
    }
  }
}

// One tensor for each expert, or that of one expert.
std::vector<StoredPart> PartsOfExperts(const std::string& text, int expert, int32_t count) {
  std::vector<StoredPart> parts;
  const int first = std::max(expert, 0), last = expert < 0 ? count : expert + 1;
  for (int i = first; i < last; ++i)
    parts.push_back({.name = absl::StrReplaceAll(text, {{"#", absl::StrCat(i)}})});
  return parts;
}

bool IsTransposed(HfLayout layout) {
  return layout == HfLayout::kQkvTransposed || layout == HfLayout::kExpertsGateUpTransposed ||
         layout == HfLayout::kExpertsGateUpAlternating;
}

}  // namespace

const HfName* FindName(WeightRole role, absl::Span<const HfName> names) {
  for (const HfName& name : names)
    if (name.role == role || (IsShared(name.layout) && name.role == FirstOfShared(role))) return &name;
  return nullptr;
}

std::vector<StoredPart> HfPartsOf(const TensorId& id, const DecoderSpec& spec,
                                  absl::Span<const HfName> names) {
  const HfName name = NameFor(id.role, names);
  const std::string text = ExpandName(name.name, id);
  switch (name.layout) {
    case HfLayout::kWhole:
      return {{.name = text}};
    case HfLayout::kOneRow:
      return {{.name = text, .one_row = true}};
    case HfLayout::kTransposed:
      return {{.name = text, .transposed = !id.is_bias}};
    case HfLayout::kHeads: {
      const int heads = id.role == Role::kQueryNorm ? spec.num_heads : spec.num_kv_heads;
      std::vector<StoredPart> parts;
      for (int head = 0; head < heads; ++head)
        parts.push_back({.name = absl::StrReplaceAll(text, {{"#", absl::StrCat(head)}})});
      return parts;
    }
    case HfLayout::kExperts:
      return PartsOfExperts(text, id.expert, spec.layers[id.layer].ffn.experts.count);
    case HfLayout::kExpertsStacked:
      return {{.name = text, .stacked = true}};
    case HfLayout::kExpertsTransposed:
      return {{.name = text, .transposed = !id.is_bias, .stacked = true}};
    default:
      return {{.name = text,
               .shared = true,
               .rows = PatternOf(name.layout, id.role, spec, spec.layers[id.layer]),
               .transposed = IsTransposed(name.layout) && !id.is_bias,
               .stacked = IsOfExperts(id.role)}};
  }
}

}  // namespace ropeway
