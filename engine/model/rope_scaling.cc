#include "engine/model/rope_scaling.h"

#include <algorithm>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ropeway {
namespace {

RopeSpec* MutableRopeOf(PositionScheme& scheme) {
  if (auto* dape = std::get_if<DapeSpec>(&scheme)) return std::get_if<RopeSpec>(&dape->base);
  return std::get_if<RopeSpec>(&scheme);
}

bool SeesAll(const PositionSpec& position) { return position.window == 0 && position.chunk == 0; }

// Indices of the layers whose rope is scaled.
std::vector<int> ScaledLayers(const DecoderSpec& spec) {
  std::vector<int> all, seeing_all;
  for (int i = 0; i < spec.num_layers(); ++i) {
    const PositionSpec& position = spec.layers[i].position;
    if (RopeOf(position.scheme) == nullptr) continue;
    all.push_back(i);
    if (SeesAll(position)) seeing_all.push_back(i);
  }
  return seeing_all.empty() ? all : seeing_all;
}

}  // namespace

std::string RopeScalingInForce(const DecoderSpec& spec) {
  const std::vector<int> layers = ScaledLayers(spec);
  return layers.empty() ? "" : RopeScalingText(*RopeOf(spec.layers[layers[0]].position.scheme));
}

absl::Status OverrideRopeScaling(const RopeOverride& wanted, DecoderSpec& spec) {
  const std::vector<int> layers = ScaledLayers(spec);
  if (layers.empty())
    return absl::InvalidArgumentError(absl::StrCat(
        "needs a model with rotary embeddings, which architecture '", spec.architecture, "' has not"));
  const RopeSpec& first = *RopeOf(spec.layers[layers[0]].position.scheme);
  const int64_t said = first.original_context > 0 ? first.original_context : spec.context_length;
  const int64_t original = wanted.original.value_or(said);
  const double context = static_cast<double>(original) * wanted.factor;
  if (context > static_cast<double>(kMaxOverriddenContext))
    return absl::InvalidArgumentError(absl::StrCat("must make a context of at most ", kMaxOverriddenContext,
                                                   " tokens, makes one of ", original, " times ",
                                                   wanted.factor));
  for (const int i : layers) {
    RopeSpec& rope = *MutableRopeOf(spec.layers[i].position.scheme);
    if (IsNtk(wanted.kind) && rope.rotary_dim < 4)
      return absl::InvalidArgumentError(
          absl::StrCat("with ", RopeScalingName(wanted.kind),
                       " needs heads with 4 rotated columns or more; they have ", rope.rotary_dim));
    rope = Overridden(rope, wanted, original);
  }
  spec.context_length = static_cast<int32_t>(context);
  return spec.Validate();
}

absl::Status OverrideRopeScaling(absl::string_view setting, absl::string_view text, DecoderSpec& spec) {
  if (text.empty()) return absl::OkStatus();
  const absl::StatusOr<RopeOverride> wanted = ParseRopeOverride(text);
  const absl::Status status = wanted.ok() ? OverrideRopeScaling(*wanted, spec) : wanted.status();
  return absl::Status(status.code(), absl::StrCat(setting, " ", status.message()));
}

}  // namespace ropeway
