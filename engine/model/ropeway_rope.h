// The rotary objects of the ropeway architecture: type "rope", also as the base of DAPE, and its "scaling".
#ifndef ROPEWAY_ENGINE_MODEL_ROPEWAY_ROPE_H_
#define ROPEWAY_ENGINE_MODEL_ROPEWAY_ROPE_H_

#include <cstdint>

#include "engine/model/config_fields.h"
#include "engine/position/rope.h"

namespace ropeway {

// Reads "theta", "pairing", "rotary_dim" and "scaling". `context_length`: positions that the model is served
// for.
RopeSpec ReadRopewayRope(ConfigFields& fields, int32_t head_dim, int32_t context_length);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_ROPEWAY_ROPE_H_
