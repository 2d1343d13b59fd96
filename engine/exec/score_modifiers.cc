#include "engine/exec/score_modifiers.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/kernels/lower_positions.h"
#include "engine/position/distance_bias.h"
#include "engine/tensor/shape.h"

namespace ropeway {
namespace {

using Role = WeightRole;
using Numbers = std::vector<float>;

// The tensors of a layer's scheme, of the query heads of one shard.
class SchemeTensors {
 public:
  SchemeTensors(const WeightReader& reader, int layer)
      : reader_(reader),
        spec_(reader.spec()),
        layer_(layer),
        heads_(PartOf(reader.spec().num_heads, reader.options().shard.rank, reader.options().shard.size)) {}

  const Range& heads() const { return heads_; }

  absl::StatusOr<kernels::PositionWeights> Read() {
    kernels::PositionWeights weights;
    RETURN_IF_ERROR(Whole(Role::kT5Biases, t5_));
    t5_ = OfMyColumns(t5_);
    RETURN_IF_ERROR(Whole(Role::kShawKeys, shaw_keys_));
    RETURN_IF_ERROR(Whole(Role::kShawValues, shaw_values_));
    if (IsPerHead()) shaw_keys_ = OfMyHeads(shaw_keys_), shaw_values_ = OfMyHeads(shaw_values_);
    RETURN_IF_ERROR(Mine(Role::kXlProjection, xl_projection_));
    RETURN_IF_ERROR(Mine(Role::kXlContent, xl_content_));
    RETURN_IF_ERROR(Mine(Role::kXlPosition, xl_position_));
    RETURN_IF_ERROR(Mine(Role::kKerple1, kerple_r1_));
    RETURN_IF_ERROR(Mine(Role::kKerple2, kerple_r2_));
    weights.t5_table = t5_;
    weights.shaw_keys = shaw_keys_;
    weights.shaw_values = shaw_values_;
    weights.xl_projection = xl_projection_;
    weights.xl_content = xl_content_;
    weights.xl_position = xl_position_;
    weights.kerple_r1 = kerple_r1_;
    weights.kerple_r2 = kerple_r2_;
    ASSIGN_OR_RETURN(weights.fire, ReadFire());
    ASSIGN_OR_RETURN(weights.dape, ReadDape());
    return weights;
  }

 private:
  absl::StatusOr<FireWeights> ReadFire() {
    Numbers c, l_multiplier;
    RETURN_IF_ERROR(Whole(Role::kFireIn, fire_in_.weights));
    RETURN_IF_ERROR(Whole(Role::kFireIn, fire_in_.biases, /*is_bias=*/true));
    RETURN_IF_ERROR(Mine(Role::kFireOut, fire_out_.weights));
    RETURN_IF_ERROR(Mine(Role::kFireOut, fire_out_.biases, /*is_bias=*/true));
    RETURN_IF_ERROR(Whole(Role::kFireC, c));
    RETURN_IF_ERROR(Whole(Role::kFireLMultiplier, l_multiplier));
    return FireWeights{.in_weights = fire_in_.weights,
                       .in_biases = fire_in_.biases,
                       .out_weights = fire_out_.weights,
                       .out_biases = fire_out_.biases,
                       .c = c.empty() ? 0 : c[0],
                       .l_multiplier = l_multiplier.empty() ? 0 : l_multiplier[0]};
  }

  // Heads that are mixed are never divided among shards.
  absl::StatusOr<DapeWeights> ReadDape() {
    RETURN_IF_ERROR(Whole(Role::kDapeIn, dape_in_.weights));
    RETURN_IF_ERROR(Whole(Role::kDapeIn, dape_in_.biases, /*is_bias=*/true));
    RETURN_IF_ERROR(Whole(Role::kDapeOut, dape_out_.weights));
    RETURN_IF_ERROR(Whole(Role::kDapeOut, dape_out_.biases, /*is_bias=*/true));
    return DapeWeights{.in_weights = dape_in_.weights,
                       .in_biases = dape_in_.biases,
                       .out_weights = dape_out_.weights,
                       .out_biases = dape_out_.biases};
  }

  bool IsPerHead() const {
    const auto* shaw = std::get_if<ShawSpec>(&spec_.layers[layer_].position.scheme);
    return shaw != nullptr && shaw->per_head;
  }

  // Leaves `to` empty where the model has no such tensor.
  absl::Status Whole(Role role, Numbers& to, bool is_bias = false) {
    const TensorId id{role, layer_, is_bias};
    if (!HasTensor(id, spec_)) return absl::OkStatus();
    ASSIGN_OR_RETURN(to, reader_.Values(id));
    return absl::OkStatus();
  }
  // The same of a tensor whose outermost dimension is the heads.
  absl::Status Mine(Role role, Numbers& to, bool is_bias = false) {
    RETURN_IF_ERROR(Whole(role, to, is_bias));
    to = OfMyHeads(to);
    return absl::OkStatus();
  }

  Numbers OfMyHeads(const Numbers& values) const {
    const int64_t each = static_cast<int64_t>(values.size()) / spec_.num_heads;
    return Numbers(values.begin() + heads_.first * each, values.begin() + heads_.last * each);
  }
  // Of [rows, H].
  Numbers OfMyColumns(const Numbers& values) const {
    Numbers mine;
    for (size_t row = 0; row < values.size(); row += spec_.num_heads)
      mine.insert(mine.end(), values.begin() + row + heads_.first, values.begin() + row + heads_.last);
    return mine;
  }

  struct Layer {
    Numbers weights, biases;
  };

  const WeightReader& reader_;
  const DecoderSpec& spec_;
  const int layer_;
  const Range heads_;
  Numbers t5_, shaw_keys_, shaw_values_, xl_projection_, xl_content_, xl_position_, kerple_r1_, kerple_r2_;
  Layer fire_in_, fire_out_, dape_in_, dape_out_;
};

// Floats of tables over all positions, of all heads.
int64_t TableFloats(const DecoderSpec& spec, const PositionScheme& scheme, int64_t positions) {
  const int64_t heads = spec.num_heads;
  if (std::holds_alternative<TransformerXlSpec>(scheme)) return heads * spec.head_dim * positions;
  if (SchemeOrBase<KerpleSpec>(scheme) != nullptr) return heads * positions;
  if (const auto* t5 = std::get_if<T5Spec>(&scheme))
    return heads * std::min<int64_t>(positions, t5->max_distance);
  if (SchemeOrBase<FireSpec>(scheme) != nullptr) return 2 * positions;
  return std::holds_alternative<SandwichSpec>(scheme) ? positions : 0;
}

// Closed forms over all heads of the model, of which a shard has some.
void KeepMyHeads(const DecoderSpec& spec, const PositionScheme& scheme, Range heads, double scale,
                 kernels::ModifierTables& tables) {
  if (heads.size() == spec.num_heads) return;
  const auto mine = [&](const Numbers& all) {
    return Numbers(all.begin() + heads.first, all.begin() + heads.last);
  };
  if (const auto* alibi = SchemeOrBase<AlibiSpec>(scheme)) {
    Numbers slopes = mine(AlibiSlopes(spec.num_heads, alibi->max_bias));
    for (float& slope : slopes) slope = static_cast<float>(slope * (alibi->scaled ? scale : 1));
    tables.modifier.bias.slopes = tables.Keep(std::move(slopes));
  }
  if (std::holds_alternative<SandwichSpec>(scheme))
    tables.modifier.bias.factors = tables.Keep(mine(SandwichFactors(spec.num_heads)));
}

absl::StatusOr<kernels::ModifierTables> MakeModifier(const WeightReader& reader, int layer) {
  const DecoderSpec& spec = reader.spec();
  const AttentionSpec& attention = spec.layers[layer].attention;
  const PositionSpec& position = spec.layers[layer].position;
  SchemeTensors tensors(reader, layer);
  ASSIGN_OR_RETURN(const kernels::PositionWeights weights, tensors.Read());
  kernels::ModifierTables tables =
      kernels::LowerPositions(position, weights,
                              {.num_heads = static_cast<int>(tensors.heads().size()),
                               .head_dim = spec.head_dim,
                               .value_dim = spec.value_dim,
                               .num_positions = reader.options().max_model_len,
                               .scale = attention.scale});
  KeepMyHeads(spec, position.scheme, tensors.heads(), attention.scale, tables);
  tables.modifier.softcap = static_cast<float>(attention.softcap);
  ASSIGN_OR_RETURN(std::vector<float> sinks, reader.QueryHeads(Role::kSinks, layer));
  if (!sinks.empty()) tables.modifier.sinks = tables.Keep(std::move(sinks));
  return tables;
}

}  // namespace

absl::StatusOr<std::vector<kernels::ModifierTables>> MakeModifiers(const WeightReader& reader) {
  const DecoderSpec& spec = reader.spec();
  std::vector<kernels::ModifierTables> modifiers;
  int64_t bytes = 0;
  for (int layer = 0; layer < spec.num_layers(); ++layer) {
    bytes += TableFloats(spec, spec.layers[layer].position.scheme, reader.options().max_model_len) *
             static_cast<int64_t>(sizeof(float));
    if (bytes > kMaxModifierBytes)
      return absl::ResourceExhaustedError(
          absl::StrCat("tables of positions up to layer ", layer, " would take ", bytes, " bytes for ",
                       reader.options().max_model_len, " positions, at most ", kMaxModifierBytes,
                       " are allowed: serve a shorter max_model_len"));
    ASSIGN_OR_RETURN(kernels::ModifierTables modifier, MakeModifier(reader, layer));
    modifiers.push_back(std::move(modifier));
  }
  return modifiers;
}

}  // namespace ropeway
