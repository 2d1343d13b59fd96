// The tensors of the ropeway architecture: names, and the check that a folder holds exactly those of its
// config.
#ifndef ROPEWAY_ENGINE_MODEL_ROPEWAY_TENSORS_H_
#define ROPEWAY_ENGINE_MODEL_ROPEWAY_TENSORS_H_

#include <string>

#include "absl/status/status.h"
#include "engine/model/named_tensors.h"
#include "engine/model/ropeway_config.h"
#include "engine/model/weight_roles.h"

namespace ropeway {

// What layers share has one name for all of them, which begins with "model.".
std::string RopewayTensorName(const TensorId& id, const DecoderSpec& spec);

// INVALID_ARGUMENT "model.safetensors: <tensor>: missing", or "shape [12], needs [13]", "type F16, needs
// F32", "not used by this config".
absl::Status CheckRopewayTensors(const RopewayConfig& config, const NamedTensors::Map& tensors);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_ROPEWAY_TENSORS_H_
