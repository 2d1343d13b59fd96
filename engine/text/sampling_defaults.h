// What a model wants for sampling where a request says nothing.
#ifndef ROPEWAY_ENGINE_TEXT_SAMPLING_DEFAULTS_H_
#define ROPEWAY_ENGINE_TEXT_SAMPLING_DEFAULTS_H_

#include <cstdint>
#include <optional>

namespace ropeway {

// Absent where the model says nothing. Ranges are those of a request.
struct SamplingDefaults {
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_SAMPLING_DEFAULTS_H_
