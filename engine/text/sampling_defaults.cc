#include "engine/text/sampling_defaults.h"

#include <algorithm>
#include <iterator>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

constexpr char kPrefix[] = "general.sampling.";
constexpr char kTopKKey[] = "general.sampling.top_k";
// Over how many of the last tokens penalties count; -1: all, which is the way here.
constexpr char kLastTokensKey[] = "general.sampling.penalty_last_n";

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

// Samplers that are not here, each with the number that switches it off, and what says more of one of them.
constexpr struct {
  absl::string_view gguf_key;
  std::optional<double> off;  // none: it does nothing of its own accord
} kOthers[] = {{"general.sampling.xtc_probability", 0},
               {"general.sampling.mirostat", 0},
               {"general.sampling.xtc_threshold", std::nullopt},
               {"general.sampling.mirostat_tau", std::nullopt},
               {"general.sampling.mirostat_eta", std::nullopt}};

std::string Text(const MetadataValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return Printable(*text);
  if (const auto* number = std::get_if<int64_t>(&value)) return absl::StrCat(*number);
  if (const auto* number = std::get_if<double>(&value)) return absl::StrCat(*number);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  return "an array";
}

bool IsFollowed(absl::string_view key) {
  return key == kTopKKey ||
         std::any_of(std::begin(kFields), std::end(kFields), [&](const SamplingField& field) {
           return key == absl::string_view(field.gguf_key.data(), field.gguf_key.size());
         });
}

bool DoesNothing(absl::string_view key, const MetadataValue& value) {
  const auto* whole = std::get_if<int64_t>(&value);
  const auto* number = std::get_if<double>(&value);
  for (const auto& other : kOthers)
    if (key == other.gguf_key)
      return !other.off || (whole != nullptr && *whole == *other.off) ||
             (number != nullptr && *number == *other.off);
  return false;
}

// What penalties count over changes which repetitions cost something, where any does.
absl::Status ReadLastTokens(const Metadata& metadata, SamplingDefaults& sampling) {
  if (!metadata.Has(kLastTokensKey)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const int64_t count, metadata.GetInt(kLastTokensKey));
  if (count == 0) sampling.repetition_penalty.reset();
  if (count > 0 && sampling.repetition_penalty.value_or(1) != 1)
    sampling.not_followed.push_back(absl::StrCat(kLastTokensKey, " = ", count));
  return absl::OkStatus();
}

void ReadOthers(const Metadata& metadata, SamplingDefaults& sampling) {
  for (const std::string& key : metadata.keys()) {
    const MetadataValue& value = *metadata.Find(key);
    if (!absl::StartsWith(key, kPrefix) || key == kLastTokensKey || IsFollowed(key) ||
        DoesNothing(key, value))
      continue;
    sampling.not_followed.push_back(absl::StrCat(key, " = ", Text(value)));
  }
}

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
  RETURN_IF_ERROR(ReadLastTokens(metadata, sampling));
  ReadOthers(metadata, sampling);
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
