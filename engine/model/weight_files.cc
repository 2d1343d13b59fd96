#include "engine/model/weight_files.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "engine/model/gguf_split.h"
#include "engine/model/hf_shards.h"

namespace ropeway {

std::vector<std::string> WeightFilesOf(const std::string& model) {
  std::error_code error;
  if (!std::filesystem::is_directory(model, error)) return SplitFilePaths(model, {});
  std::vector<std::string> paths;
  const absl::StatusOr<HfShards> shards = FindHfShards(model);
  if (!shards.ok()) return paths;
  for (const auto& [name, tensors] : *shards) paths.push_back(absl::StrCat(model, "/", name));
  return paths;
}

}  // namespace ropeway
