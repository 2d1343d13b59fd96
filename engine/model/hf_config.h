// config.json of a Hugging Face folder as a DecoderSpec, in both spellings: that of transformers 5
// ("rope_parameters") and the older one ("rope_theta", "rope_scaling").
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_MODEL_HF_CONFIG_H_
#define ROPEWAY_ENGINE_MODEL_HF_CONFIG_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/hf_names.h"

namespace ropeway {

// The spec that the text describes. A field is read, or known to change nothing (training, generation), or
// refused by name: UNIMPLEMENTED, as is a known field with a value that is not supported. INVALID_ARGUMENT
// for text that is no config.
absl::StatusOr<DecoderSpec> SpecFromHfConfig(absl::string_view text);

// The spec, and how the folder calls its tensors where not as Llama's does.
struct HfConfig {
  DecoderSpec spec;
  absl::Span<const HfName> names;  // of a table that lives forever
  int32_t extra_layers = 0;        // behind those of the decoder, whose tensors a folder may have
};
absl::StatusOr<HfConfig> ReadHfConfig(absl::string_view text);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_HF_CONFIG_H_
