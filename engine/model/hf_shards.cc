#include "engine/model/hf_shards.h"

#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/regular_file.h"
#include "engine/base/status_macros.h"
#include "engine/model/strict_json.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr int64_t kMaxIndexBytes = 1 << 25;
constexpr size_t kMaxShards = 4096;

// A shard is a file of the folder itself.
bool IsShardName(const std::string& name) {
  return absl::EndsWith(name, ".safetensors") && name[0] != '.' &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

absl::StatusOr<HfShards> ParseIndex(absl::string_view text) {
  ASSIGN_OR_RETURN(const Json index, ParseStrictJson(text));
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object() || map->empty())
    return absl::InvalidArgumentError("field 'weight_map' must be an object with tensors");
  HfShards shards;
  for (const auto& item : map->items()) {
    if (!item.value().is_string() || !IsShardName(item.value().get_ref<const std::string&>()))
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", item.key(), "' must lie in a .safetensors file of the same folder"));
    shards[item.value().get<std::string>()].insert(item.key());
  }
  if (shards.size() > kMaxShards)
    return absl::InvalidArgumentError(
        absl::StrCat("a folder may have at most ", kMaxShards, " shards, has ", shards.size()));
  return shards;
}

}  // namespace

absl::StatusOr<HfShards> FindHfShards(const std::string& folder) {
  const std::string single = absl::StrCat(folder, "/", kSingleFile),
                    index = absl::StrCat(folder, "/", kIndexFile);
  if (access(single.c_str(), F_OK) == 0) return HfShards{{kSingleFile, {}}};
  if (access(index.c_str(), F_OK) != 0)
    return absl::NotFoundError(absl::StrCat("'", folder, "' has neither ", kSingleFile, " nor ", kIndexFile));
  ASSIGN_OR_RETURN(const std::string text, ReadRegularFile(index, kMaxIndexBytes));
  absl::StatusOr<HfShards> shards = ParseIndex(text);
  if (!shards.ok())
    return absl::Status(shards.status().code(), absl::StrCat("'", index, "': ", shards.status().message()));
  return shards;
}

}  // namespace ropeway
