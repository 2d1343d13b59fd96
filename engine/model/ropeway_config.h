// config.json of the ropeway architecture: a decoder with any position scheme, for models that have no public
// format. docs/ropeway_architecture.md is its specification.
//
// Unlike other architectures, every field is known and checked: an unknown one is an error at every level,
// and nothing is guessed, clipped or passed over.
#ifndef ROPEWAY_ENGINE_MODEL_ROPEWAY_CONFIG_H_
#define ROPEWAY_ENGINE_MODEL_ROPEWAY_CONFIG_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/decoder_spec.h"
#include "engine/tensor/dtype.h"
#include "nlohmann/json.hpp"

namespace ropeway {

struct RopewayConfig {
  DecoderSpec spec;
  DType dtype = DType::kF32;  // of every tensor
  std::optional<int32_t> bos_token_id, pad_token_id;
  std::vector<int32_t> eos_token_ids;  // may be empty
};

// Whether a config says that it is of this architecture.
bool IsRopewayConfig(const nlohmann::json& config);

// INVALID_ARGUMENT "config.json: path: reason", e.g. "config.json: positions[2].scaling.factor: 0.5 is below
// 1".
absl::StatusOr<RopewayConfig> ReadRopewayConfig(const nlohmann::json& config);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_ROPEWAY_CONFIG_H_
