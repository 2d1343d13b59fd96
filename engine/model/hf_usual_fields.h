// Fields of config.json that published folders have beside those that say what a family computes. Nothing in
// transformers reads them, or they are read there only where they have an unusual value.
//
// Functions here keep no state.
#ifndef ROPEWAY_ENGINE_MODEL_HF_USUAL_FIELDS_H_
#define ROPEWAY_ENGINE_MODEL_HF_USUAL_FIELDS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model/strict_json.h"

namespace ropeway {

// Fields that change nothing of what a model computes for given ids, whatever they hold.
absl::Span<const absl::string_view> FieldsWithoutEffect();

// UNIMPLEMENTED where a field that the family does not read has another value than what the family computes anyway.
// REQUIRES: the fields that the family reads were asked for.
absl::Status CheckUsualFields(JsonFields& config, absl::string_view model_type);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_HF_USUAL_FIELDS_H_
