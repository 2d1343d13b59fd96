// What somebody wants of a model's rotary embedding instead of what its file says, written in one line:
//
//   none   linear:factor=4   ntk:factor=4   dynamic:factor=4,original=2048   yarn:factor=4,beta_fast=32
//
// A kind (rope.h) and its parameters. `original` is the number of positions that the model was trained for, and
// `original` times `factor` those that it then serves, whatever the kind does with them; "none:factor=2" goes
// on without any scaling. docs/context_extension.md says which kind does what.
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_POSITION_ROPE_OVERRIDE_H_
#define ROPEWAY_ENGINE_POSITION_ROPE_OVERRIDE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/position/rope.h"

namespace ropeway {

struct RopeOverride {
  RopeScalingKind kind = RopeScalingKind::kNone;
  double factor = 1;                       // [1, 1024]
  std::optional<int64_t> original;         // [1, 16777216]; absent: as the model's file says
  double low_freq_factor = 1;              // Llama-3
  double high_freq_factor = 4;             // Llama-3, above low_freq_factor
  double beta_fast = 32;                   // YaRN
  double beta_slow = 1;                    // YaRN, below beta_fast
  bool truncate = true;                    // YaRN
  std::optional<double> attention_factor;  // YaRN; absent: 0.1 ln(factor) + 1

  bool operator==(const RopeOverride&) const = default;
};

inline constexpr int64_t kMaxOverriddenContext = 1 << 24;

// INVALID_ARGUMENT "must ...", in one line, to follow the name of the setting.
absl::StatusOr<RopeOverride> ParseRopeOverride(absl::string_view text);

// `rope`, trained for `original` positions, as the override wants it. Base, width and pairing stay; divisors and
// lists of factors that the file has go.
RopeSpec Overridden(RopeSpec rope, const RopeOverride& wanted, int64_t original);

// The scaling of a rope in the same form, with the parameters that its kind has. What a file alone can say is told by
// name: "longrope:original=4096", "none:divisors=file".
std::string RopeScalingText(const RopeSpec& rope);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_ROPE_OVERRIDE_H_
