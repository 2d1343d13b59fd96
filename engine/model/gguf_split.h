// Models that lie in several GGUF files, NAME-00001-of-00003.gguf and so on.
//
//   split.no             which file it is, counted from 0 (their names count from 1)
//   split.count          how many there are; 0 or absent where a model lies in one
//   split.tensors.count  tensors of all files together
//
// The first file has the metadata of the model. Others may repeat it, and must not contradict it.
#ifndef ROPEWAY_ENGINE_MODEL_GGUF_SPLIT_H_
#define ROPEWAY_ENGINE_MODEL_GGUF_SPLIT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/model/gguf_file.h"

namespace ropeway {

// Opens the files beside `first`, which lies at `path`, and adds their tensors; nothing where the model lies in one
// file. INVALID_ARGUMENT for a path that is not the first file's, for files that contradict each other, and for a
// tensor that is in two; NOT_FOUND naming a file that is missing.
absl::Status AddSplitFiles(const std::string& path, const GgufLimits& limits, GgufFile& first);

// The paths of all files that the name of the first says there are; of other files their own.
std::vector<std::string> SplitFilePaths(const std::string& path, const GgufLimits& limits);

// "NAME" of "NAME-00001-of-00003"; other stems of files as they are.
absl::string_view WithoutSplitNumber(absl::string_view stem);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_GGUF_SPLIT_H_
