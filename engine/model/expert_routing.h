// Which experts a token goes to, and with what weight.
//
//   1. z, the router's product for the token, becomes a score for each expert: RouterScore
//   2. to choose by: score + correction
//   3. of groups, the best `chosen_groups`: a group is as good as the sum of its `group_best` best experts
//   4. of the experts of these groups, the best `per_token`, best first
//   5. weight = score, over the sum of the chosen scores where they are normalised, times `scale`
//
// Where two are equally good, the one with the lower index is chosen. In float64, and the same bytes on every
// processor.
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_MODEL_EXPERT_ROUTING_H_
#define ROPEWAY_ENGINE_MODEL_EXPERT_ROUTING_H_

#include <cstdint>

#include "absl/types/span.h"
#include "engine/model/decoder_spec.h"

namespace ropeway {

struct ExpertChoice {
  int32_t expert = 0;
  float weight = 0;
};

// `z` is [X], `correction` [X] or empty, `chosen` [K]. REQUIRES: a spec that was validated.
void RouteToken(const ExpertsSpec& spec, absl::Span<const float> z, absl::Span<const float> correction,
                absl::Span<ExpertChoice> chosen);

// 1 / (1 + e^-z), the weight of an expert that all tokens go to.
float SharedExpertWeight(float z);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_EXPERT_ROUTING_H_
