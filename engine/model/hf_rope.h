// The rotary settings of config.json, in both spellings.
#ifndef ROPEWAY_ENGINE_MODEL_HF_ROPE_H_
#define ROPEWAY_ENGINE_MODEL_HF_ROPE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/strict_json.h"
#include "engine/position/rope.h"

namespace ropeway {

struct HfRopeDefaults {
  int32_t head_dim = 0;
  int64_t context_length = 0;  // the original context where a scaling does not say one
  double base = 10000;
  std::optional<double> local_base;  // for models whose sliding layers have a rope of their own
};

// Reads "rope_parameters" (one object, or one per kind of layer where there is a local base), "rope_theta",
// "rope_local_base_freq" and "rope_scaling". Gives the rope of all layers, or those of the full and of the
// sliding layers. INVALID_ARGUMENT where both spellings are there and disagree.
absl::StatusOr<std::vector<RopeSpec>> ReadHfRopes(JsonFields& config, const HfRopeDefaults& defaults);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_HF_ROPE_H_
