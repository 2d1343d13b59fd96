// The scaling of a model's rotary embedding: what is in force, and what a user wants instead.
//
// It is that of the layers that see all positions, since windows need none; where no such layer is rotated, that of
// all that are.
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_MODEL_ROPE_SCALING_H_
#define ROPEWAY_ENGINE_MODEL_ROPE_SCALING_H_

#include <string>

#include "absl/status/status.h"
#include "engine/model/decoder_spec.h"
#include "engine/position/rope_override.h"

namespace ropeway {

// In the form of rope_override.h; empty where the model has no rotary embedding. Where layers differ, that of the
// first.
std::string RopeScalingInForce(const DecoderSpec& spec);

// Puts the override in the place of what the file says, and makes the context `original` times `factor` long.
// `original` is, where the override leaves it out, what the file says beside a scaling, or else its context length.
// INVALID_ARGUMENT where the model has no rotary embedding, or would have too long a context.
absl::Status OverrideRopeScaling(const RopeOverride& wanted, DecoderSpec& spec);

// The same for what a user wrote; nothing changes for an empty text. Errors begin with `setting`, its name.
absl::Status OverrideRopeScaling(absl::string_view setting, absl::string_view text, DecoderSpec& spec);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_ROPE_SCALING_H_
