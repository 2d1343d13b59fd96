// The rotary settings of config.json, in both spellings.
#ifndef ROPEWAY_ENGINE_MODEL_HF_ROPE_H_
#define ROPEWAY_ENGINE_MODEL_HF_ROPE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model/strict_json.h"
#include "engine/position/rope.h"

namespace ropeway {

struct HfRopeDefaults {
  int32_t head_dim = 0;
  int64_t context_length = 0;  // the original context where a scaling does not say one
  double base = 10000;
  double rotated = 1;  // part of a head, where the config does not say it
  bool rotated_may_differ = false;
  const char* rotated_field = "partial_rotary_factor";  // in the older spelling
  const char* older_base_field = nullptr;               // of what "rope_theta" says, in a still older one
  bool alpha = false;                                   // "dynamic" may have an "alpha"
  // What scalings were made for, said beside them for all of them; 0: nowhere.
  int32_t original_context = 0;
  bool older_longrope = false;                       // "su" and "yarn" are what LongRoPE was called before
  absl::Span<const absl::string_view> not_of_ropes;  // fields beside a scaling that others read
  std::optional<double> local_base;  // for models whose sliding layers have a rope of their own
  bool local_base_is_base = false;   // in the older spelling its base is that of the others
};

// Reads "rope_parameters" (one object, or one per kind of layer where there is a local base), "rope_theta",
// "rope_local_base_freq" and "rope_scaling". Gives the rope of all layers, or those of the full and of the
// sliding layers. INVALID_ARGUMENT where both spellings are there and disagree.
absl::StatusOr<std::vector<RopeSpec>> ReadHfRopes(JsonFields& config, HfRopeDefaults defaults);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_HF_ROPE_H_
