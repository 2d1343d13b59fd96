// A GGUF file as a model: its metadata as a DecoderSpec, its tensors by role.
#ifndef ROPEWAY_ENGINE_MODEL_GGUF_MODEL_H_
#define ROPEWAY_ENGINE_MODEL_GGUF_MODEL_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/model/gguf_file.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

// The spec that the metadata of `content` describes. UNIMPLEMENTED for an architecture or a setting that is
// not supported.
absl::StatusOr<DecoderSpec> SpecFromGguf(const GgufContent& content);

// Opens and checks everything but the values of the weights. Errors begin with the path.
absl::StatusOr<OpenedModel> OpenGgufModel(const std::string& path);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_GGUF_MODEL_H_
