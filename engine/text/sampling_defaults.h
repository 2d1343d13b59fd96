// What a model wants for sampling where a request says nothing.
#ifndef ROPEWAY_ENGINE_TEXT_SAMPLING_DEFAULTS_H_
#define ROPEWAY_ENGINE_TEXT_SAMPLING_DEFAULTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/base/metadata.h"

namespace ropeway {

// Absent where the model says nothing. Ranges are those of a request.
struct SamplingDefaults {
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  // What it asks for beside these that no request can have here, for people: "general.sampling.mirostat = 2".
  std::vector<std::string> not_followed;
};

// One of the fields that are floats.
struct SamplingField {
  std::string_view name;      // in generation_config.json
  std::string_view gguf_key;  // in a GGUF file
  std::optional<float> SamplingDefaults::*field;
  const char* range;  // for messages
  bool (*contains)(double number);

  // Whether the number is in the range, also as the float that becomes of it.
  bool Fits(double number) const { return contains(number) && contains(static_cast<float>(number)); }
};
absl::Span<const SamplingField> SamplingFields();

// What the keys general.sampling.* of a GGUF file say. INVALID_ARGUMENT naming a key whose value no request may say.
absl::StatusOr<SamplingDefaults> ReadSamplingDefaults(const Metadata& metadata);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_SAMPLING_DEFAULTS_H_
