// What a tokenizer.json does to a text before it is cut into pieces.
#ifndef ROPEWAY_ENGINE_TEXT_HF_NORMALIZERS_H_
#define ROPEWAY_ENGINE_TEXT_HF_NORMALIZERS_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/hf/json_fields.h"
#include "engine/text/regex.h"

namespace ropeway::hf {

// Changes valid UTF-8 into valid UTF-8. Thread-safe. An error for a text that grows beyond bounds.
using Normalizer = std::function<absl::Status(std::string& text)>;

// The field "normalizer" of `document`; null where there is none. UNIMPLEMENTED for a kind that is not known.
absl::StatusOr<Normalizer> ReadNormalizer(const JsonFields& document);

// {"String": ...} or {"Regex": ...} under `key`.
absl::StatusOr<Regex> ReadPattern(const JsonFields& fields, std::string_view key);

}  // namespace ropeway::hf

#endif  // ROPEWAY_ENGINE_TEXT_HF_NORMALIZERS_H_
