// Small files of a model's folder, read whole.
#ifndef ROPEWAY_ENGINE_TEXT_HF_TEXT_FILES_H_
#define ROPEWAY_ENGINE_TEXT_HF_TEXT_FILES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/hf/json_fields.h"

namespace ropeway::hf {

// nullopt where there is no such file. INVALID_ARGUMENT for what is no regular file, or larger than a
// tokenizer can be; both name it.
absl::StatusOr<std::optional<std::string>> ReadTextFile(const std::string& folder, const std::string& name);

// The same as JSON; an empty object where there is no such file.
absl::StatusOr<Json> ReadJsonOrEmpty(const std::string& folder, const std::string& name);

// Names in `folder` that end with `extension`, ascending; none where it is no folder.
std::vector<std::string> NamesWith(const std::string& folder, const std::string& extension);

}  // namespace ropeway::hf

#endif  // ROPEWAY_ENGINE_TEXT_HF_TEXT_FILES_H_
