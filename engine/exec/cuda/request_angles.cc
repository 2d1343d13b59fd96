#include "engine/exec/cuda/request_angles.h"

namespace ropeway {
namespace {

// Rotations that are remembered: more than requests run at a time.
constexpr size_t kMaxRotations = 4096;

}  // namespace

std::vector<RopeSpec> RequestRopes(const DecoderSpec& spec) {
  std::vector<RopeSpec> ropes = spec.Ropes();
  std::erase_if(ropes, [](const RopeSpec& rope) { return !DependsOnLengths(rope); });
  return ropes;
}

int64_t RequestAngleFloats(absl::Span<const RopeSpec> ropes) {
  int64_t floats = 0;
  for (const RopeSpec& rope : ropes) floats += rope.rotary_dim;
  return floats;
}

const Rotation& RequestAngles::RotationFor(absl::Span<const RopeSpec> ropes, size_t index,
                                           const AdmittedLengths& lengths) {
  const double choice = RopeChoice(ropes[index], lengths);
  const auto found = rotations_.find({index, choice});
  if (found != rotations_.end()) return found->second;
  if (rotations_.size() >= kMaxRotations) rotations_.clear();
  return rotations_.emplace(std::pair(index, choice), RotationOf(ropes[index], choice)).first->second;
}

void RequestAngles::Compute(const StepPlan& plan, absl::Span<const RopeSpec> ropes, int32_t num_tokens) {
  floats_.assign(RequestAngleFloats(ropes) * num_tokens, 0);
  float* cosines = floats_.data();
  for (size_t index = 0; index < ropes.size(); ++index) {
    const int64_t half = ropes[index].rotary_dim / 2;
    float* const sines = cosines + half * num_tokens;
    for (int32_t row = 0; row < plan.num_rows(); ++row) {
      const Rotation& rotation = RotationFor(ropes, index, plan.lengths[row]);
      for (int32_t t = plan.row_starts[row]; t < plan.row_starts[row + 1]; ++t)
        RopeAngles(rotation, plan.positions[t], cosines + t * half, sines + t * half);
    }
    cosines += 2 * half * num_tokens;
  }
}

}  // namespace ropeway
