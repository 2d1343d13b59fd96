// A Hugging Face folder as a model: config.json, and model.safetensors or the shards that
// model.safetensors.index.json lists. Other files are not read.
#ifndef ROPEWAY_ENGINE_MODEL_HF_MODEL_H_
#define ROPEWAY_ENGINE_MODEL_HF_MODEL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/named_tensors.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

// Opens and checks everything but the values of the weights. Errors begin with the path of the file.
absl::StatusOr<OpenedModel> OpenHfModel(const std::string& folder);

// The tensors that a folder with this config.json must hold, by name.
absl::StatusOr<NamedTensors::Needs> HfTensors(absl::string_view config_text);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_HF_MODEL_H_
