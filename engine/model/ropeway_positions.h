// The objects "positions" of the ropeway architecture: a position scheme, its window or chunk.
//
// A grammar of all types and fields, ranges and defaults is in docs/ropeway_architecture.md.
#ifndef ROPEWAY_ENGINE_MODEL_ROPEWAY_POSITIONS_H_
#define ROPEWAY_ENGINE_MODEL_ROPEWAY_POSITIONS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/decoder_spec.h"
#include "engine/position/position_spec.h"
#include "nlohmann/json.hpp"

namespace ropeway {

// What of the model a scheme's ranges and defaults depend on.
struct PositionContext {
  int32_t hidden_size = 0;
  int32_t head_dim = 0;
  int32_t context_length = 0;
};

// INVALID_ARGUMENT "path.field: reason".
absl::StatusOr<PositionSpec> ReadPosition(const nlohmann::json& object, const std::string& path,
                                          const PositionContext& context);

// What layers must have in common: those that add to the input all but their window or chunk; those that
// share a T5 table or a FIRE its fields. `path_of` gives the path of a layer's object.
absl::Status CheckAgreement(const std::vector<LayerSpec>& layers,
                            const std::function<std::string(int layer)>& path_of);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_ROPEWAY_POSITIONS_H_
