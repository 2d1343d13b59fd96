#include "engine/text/sampling_defaults.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

constexpr char kTopKKey[] = "general.sampling.top_k";

constexpr SamplingField kFields[] = {
    {"temperature", "general.sampling.temp", &SamplingDefaults::temperature, "[0, 100]",
     [](double t) { return t >= 0 && t <= 100; }},
    {"top_p", "general.sampling.top_p", &SamplingDefaults::top_p, "(0, 1]",
     [](double p) { return p > 0 && p <= 1; }},
    {"min_p", "general.sampling.min_p", &SamplingDefaults::min_p, "[0, 1)",
     [](double p) { return p >= 0 && p < 1; }},
    {"repetition_penalty", "general.sampling.penalty_repeat", &SamplingDefaults::repetition_penalty,
     "(0, 100]", [](double p) { return p > 0 && p <= 100; }},
};

}  // namespace

absl::Span<const SamplingField> SamplingFields() { return kFields; }

absl::StatusOr<SamplingDefaults> ReadSamplingDefaults(const Metadata& metadata) {
  SamplingDefaults sampling;
  for (const SamplingField& field : SamplingFields()) {
    if (!metadata.Has(field.gguf_key)) continue;
    ASSIGN_OR_RETURN(const double number, metadata.GetDouble(field.gguf_key));
    if (!field.Fits(number))
      return absl::InvalidArgumentError(
          absl::StrCat("metadata key '", absl::string_view(field.gguf_key.data(), field.gguf_key.size()),
                       "' must be in ", field.range, ", is ", number));
    sampling.*field.field = static_cast<float>(number);
  }
  if (!metadata.Has(kTopKKey)) return sampling;
  ASSIGN_OR_RETURN(const int64_t top_k, metadata.GetInt(kTopKKey));
  if (top_k < INT32_MIN || top_k > INT32_MAX)
    return absl::InvalidArgumentError(
        absl::StrCat("metadata key '", kTopKKey, "' must be in [-2147483648, 2147483647], is ", top_k));
  // Whatever is not positive keeps all there.
  sampling.top_k = static_cast<int32_t>(std::max<int64_t>(top_k, 0));
  return sampling;
}

}  // namespace ropeway
