// Tiny random checkpoints of the ropeway architecture, with any position scheme; golden answers of a float64
// reference that shares nothing with the engine are in tests/golden/positions (its README says what they
// hold).
#ifndef ROPEWAY_TESTS_TESTING_ROPEWAY_MODELS_H_
#define ROPEWAY_TESTS_TESTING_ROPEWAY_MODELS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {

// All cases by name. Keys of one: "seed", "config", "config_full" (every default filled in, one object per
// layer), "fills" {tensor: [shape, center, scale]}, "suggested_max_abs_error", and
// "sequences"[i].{"input_ids", "admitted".{"prompt_length", "max_new_tokens"}, "rope_in_force",
// "last_logits", "greedy".{"token_ids", "margins"}}.
absl::StatusOr<nlohmann::ordered_json> ReadRopewayModels();

// What must be refused: "configs"[i].{"name", "path", "config"}, and "tensors"[i].{"case", "change",
// "tensor"}.
absl::StatusOr<nlohmann::ordered_json> ReadInvalidRopewayModels();

// All tensors of a case, sorted by name.
std::vector<TinyTensor> MakeRopewayTensors(const nlohmann::ordered_json& model);

// Writes config.json and model.safetensors into the existing folder `path`.
absl::Status WriteRopewayModel(const nlohmann::ordered_json& config, const std::vector<TinyTensor>& tensors,
                               const std::string& path);

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_ROPEWAY_MODELS_H_
