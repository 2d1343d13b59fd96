// Tests of layers of experts: who goes where, by the kernel that finds it.
#ifndef ROPEWAY_TESTS_KERNELS_CUDA_EXPERT_SLOTS_H_
#define ROPEWAY_TESTS_KERNELS_CUDA_EXPERT_SLOTS_H_

#include <cstdint>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "engine/model/decoder_spec.h"
#include "tests/kernels/cuda/device_test.h"

namespace ropeway::cuda {

inline constexpr int kTileSlots[] = {kFewExpertSlots, kSomeExpertSlots, kManyExpertSlots, kMostExpertSlots};

class ExpertSlotsTest : public DeviceTest {
 protected:
  ExpertSlots AllocateSlots(int64_t slots, int64_t experts, int tile_slots) {
    return {.tile_slots = tile_slots,
            .experts = Allocate<int32_t>(slots),
            .weights = Allocate<float>(slots),
            .slots = Allocate<int32_t>(slots),
            .slot_choices = Allocate<int32_t>(slots),
            .slot_experts = Allocate<int32_t>(slots),
            .tiles = Allocate<ExpertTile>(MaxExpertTiles(slots, experts, tile_slots)),
            .num_tiles = Allocate<int32_t>(1)};
  }

  static RouteArgs ArgsOf(const ExpertsSpec& spec, int num_tokens) {
    return {.score = spec.score == RouterScore::kSoftmax         ? ExpertScore::kSoftmax
                     : spec.score == RouterScore::kSoftmaxChosen ? ExpertScore::kSoftmaxChosen
                                                                 : ExpertScore::kSigmoid,
            .normalised = spec.normalised,
            .groups = spec.groups,
            .chosen_groups = spec.chosen_groups,
            .group_best = spec.group_best,
            .least_sum = spec.least_sum,
            .scale = spec.scale,
            .num_experts = spec.count,
            .per_token = spec.per_token,
            .num_tokens = num_tokens};
  }

  // Routes by z [T, X + 1], of which the last column is not looked at.
  ExpertSlots RouteBy(const ExpertsSpec& spec, const std::vector<float>& z,
                      const std::vector<float>& correction, int tile_slots = kFewExpertSlots) {
    const int tokens = static_cast<int>(z.size()) / (spec.count + 1);
    RouteArgs args = ArgsOf(spec, tokens);
    args.z = Upload(z);
    args.z_stride = spec.count + 1;
    args.correction = Upload(correction);
    args.slots = AllocateSlots(int64_t{tokens} * spec.per_token, spec.count, tile_slots);
    Check(Route(args, stream()));
    return args.slots;
  }
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_KERNELS_CUDA_EXPERT_SLOTS_H_
