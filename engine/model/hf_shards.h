// The files that the weights of a Hugging Face folder lie in: model.safetensors, or shards with an index.
#ifndef ROPEWAY_ENGINE_MODEL_HF_SHARDS_H_
#define ROPEWAY_ENGINE_MODEL_HF_SHARDS_H_

#include <map>
#include <set>
#include <string>

#include "absl/status/statusor.h"

namespace ropeway {

// Names of files of the folder, each with the tensors that the index places there; the single file, of which no index
// tells, with none.
using HfShards = std::map<std::string, std::set<std::string>>;

// As transformers does, the single file is preferred where there are both. NOT_FOUND where there is neither;
// INVALID_ARGUMENT, naming the index, where that is wrong or leaves the folder.
absl::StatusOr<HfShards> FindHfShards(const std::string& folder);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_HF_SHARDS_H_
