// Angles of rotations that depend on what a request was admitted with (engine/position/rope.h): dynamic NTK,
// Qwen-1, LongRoPE. They come with each step, computed for its tokens, since any number of requests may have
// rotations of their own. All other rotations have tables by position on the device.
//
// Used by one thread at a time.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_REQUEST_ANGLES_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_REQUEST_ANGLES_H_

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "engine/api/step.h"
#include "engine/model/decoder_spec.h"
#include "engine/position/rope.h"

namespace ropeway {

// The rotary embeddings of a model that depend on lengths, each once, in the order of Ropes().
std::vector<RopeSpec> RequestRopes(const DecoderSpec& spec);

// Floats that one token takes for all of them.
int64_t RequestAngleFloats(absl::Span<const RopeSpec> ropes);

class RequestAngles {
 public:
  // Those of the plan's tokens, and zeros for padding up to `num_tokens`, T:
  // for each of `ropes` { cosines [T, rotary_dim / 2], sines [T, rotary_dim / 2] }
  void Compute(const StepPlan& plan, absl::Span<const RopeSpec> ropes, int32_t num_tokens);

  absl::Span<const float> floats() const { return floats_; }

 private:
  const Rotation& RotationFor(absl::Span<const RopeSpec> ropes, size_t index, const AdmittedLengths& lengths);

  std::vector<float> floats_;
  // By index and RopeChoice, since requests live for many steps.
  std::map<std::pair<size_t, double>, Rotation> rotations_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_REQUEST_ANGLES_H_
