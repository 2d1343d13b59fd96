#include "engine/model/hf_model.h"

#include <unistd.h>

#include <cstring>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/base/status_macros.h"
#include "engine/model/hf_config.h"
#include "engine/model/mapped_file.h"
#include "engine/model/mxfp4_pairs.h"
#include "engine/model/named_tensors.h"
#include "engine/model/ropeway_config.h"
#include "engine/model/ropeway_tensors.h"
#include "engine/model/safetensors_file.h"
#include "engine/model/strict_json.h"
#include "engine/model/unit_output.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

constexpr char kConfigFile[] = "config.json";
constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr size_t kMaxConfigBytes = 1 << 20;
constexpr size_t kMaxIndexBytes = 1 << 25;
constexpr size_t kMaxShards = 4096;

// Old folders store the frequencies that the rotary base implies; some have layers that guess tokens ahead.
bool IsIgnorable(const HfConfig& config, absl::string_view name) {
  if (absl::EndsWith(name, ".rotary_emb.inv_freq") || absl::EndsWith(name, ".rotary_pos_emb.inv_freq"))
    return true;
  int32_t layer = 0;
  return config.extra_layers > 0 && absl::ConsumePrefix(&name, "model.layers.") &&
         absl::SimpleAtoi(name.substr(0, name.find('.')), &layer) && layer >= config.spec.num_layers() &&
         layer - config.spec.num_layers() < config.extra_layers;
}

// The tensors of a folder and the files that they lie in.
struct Weights {
  NamedTensors::Map tensors;
  ByteTensors byte_tensors;
  std::vector<MappedFile> files;
};

absl::Status WithPath(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("'", path, "': ", status.message()));
}

absl::string_view TextOf(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// A small file as a whole. Errors begin with the path.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t max_bytes) {
  ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  if (file.bytes().size() > max_bytes)
    return WithPath(path, absl::InvalidArgumentError(absl::StrCat("may have at most ", max_bytes,
                                                                  " bytes, has ", file.bytes().size())));
  return std::string(TextOf(file));
}

// Those of one file.
struct FileTensors {
  NamedTensors::Map tensors;
  ByteTensors byte_tensors;

  bool contains(const std::string& name) const {
    return tensors.contains(name) || byte_tensors.contains(name);
  }
};

absl::StatusOr<FileTensors> AddFile(const std::string& path, Weights& weights) {
  ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  ByteTensors byte_tensors;
  absl::StatusOr<NamedTensors::Map> tensors = ParseSafetensors(file.bytes(), {}, &byte_tensors);
  if (!tensors.ok()) return WithPath(path, tensors.status());
  weights.files.push_back(std::move(file));
  return FileTensors{*std::move(tensors), std::move(byte_tensors)};
}

// The names of the tensors in every shard.
using Shards = std::map<std::string, std::set<std::string>>;

// A shard is a file of the folder itself.
bool IsShardName(const std::string& name) {
  return absl::EndsWith(name, ".safetensors") && name[0] != '.' &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

absl::StatusOr<Shards> ParseIndex(absl::string_view text) {
  ASSIGN_OR_RETURN(const Json index, ParseStrictJson(text));
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object() || map->empty())
    return absl::InvalidArgumentError("field 'weight_map' must be an object with tensors");
  Shards shards;
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

absl::Status AddShard(const std::string& path, const std::set<std::string>& names, Weights& weights) {
  ASSIGN_OR_RETURN(FileTensors file, AddFile(path, weights));
  for (const std::string& name : names)
    if (!file.contains(name))
      return WithPath(path, absl::InvalidArgumentError(absl::StrCat(
                                "tensor '", name, "' is missing, which the index places there")));
  const auto add_all = [&](auto& from, auto& to) -> absl::Status {
    for (auto& [name, tensor] : from) {
      if (!names.contains(name))
        return WithPath(path, absl::InvalidArgumentError(absl::StrCat(
                                  "tensor '", name, "' is not placed in this file by ", kIndexFile)));
      to.emplace(name, std::move(tensor));
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(add_all(file.tensors, weights.tensors));
  return add_all(file.byte_tensors, weights.byte_tensors);
}

// What tensors are made from: MXFP4 is the one thing that bytes may be.
absl::StatusOr<NamedTensors::Contents> ContentsOf(Weights weights) {
  NamedTensors::Contents contents{.tensors = std::move(weights.tensors), .files = std::move(weights.files)};
  RETURN_IF_ERROR(JoinMxfp4(weights.byte_tensors, contents.tensors, contents.pairs));
  return contents;
}

// As transformers does, the single file is preferred where there are both.
absl::StatusOr<Weights> ReadWeights(const std::string& folder) {
  Weights weights;
  const std::string single = absl::StrCat(folder, "/", kSingleFile),
                    index = absl::StrCat(folder, "/", kIndexFile);
  if (access(single.c_str(), F_OK) == 0) {
    ASSIGN_OR_RETURN(FileTensors file, AddFile(single, weights));
    weights.tensors = std::move(file.tensors);
    weights.byte_tensors = std::move(file.byte_tensors);
    return weights;
  }
  if (access(index.c_str(), F_OK) != 0)
    return absl::NotFoundError(absl::StrCat("'", folder, "' has neither ", kSingleFile, " nor ", kIndexFile));
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(index, kMaxIndexBytes));
  const absl::StatusOr<Shards> shards = ParseIndex(text);
  if (!shards.ok()) return WithPath(index, shards.status());
  for (const auto& [name, tensors] : *shards)
    RETURN_IF_ERROR(AddShard(absl::StrCat(folder, "/", name), tensors, weights));
  return weights;
}

// A tied output layer may be stored once more; then it must be the same.
absl::Status DropTiedOutput(const HfConfig& config, NamedTensors::Map& tensors) {
  const auto find = [&](WeightRole role) {
    return tensors.find(HfPartsOf({role}, config.spec, config.names)[0].name);
  };
  const auto output = find(WeightRole::kOutput), embedding = find(WeightRole::kTokenEmbedding);
  if (!config.spec.tied_output || output == tensors.end() || embedding == tensors.end())
    return absl::OkStatus();
  const TensorView &a = output->second, &b = embedding->second;
  if (a.type != b.type || a.shape != b.shape ||
      std::memcmp(a.data, b.data, static_cast<size_t>(a.bytes())) != 0)
    return absl::InvalidArgumentError(absl::StrCat("tensor '", output->first, "' differs from '",
                                                   embedding->first, "', although the config ties them"));
  tensors.erase(output);
  return absl::OkStatus();
}

NamedTensors::Naming NamingOf(const HfConfig& config) {
  return {.parts_of = [spec = config.spec,
                       names = config.names](const TensorId& id) { return HfPartsOf(id, spec, names); },
          .ignorable = [config](absl::string_view name) { return IsIgnorable(config, name); }};
}

// Errors read "folder/file: path: reason".
absl::StatusOr<OpenedModel> OpenRopewayModel(const std::string& folder, const Json& json) {
  absl::StatusOr<RopewayConfig> config = ReadRopewayConfig(json);
  if (!config.ok())
    return absl::Status(config.status().code(),
                        absl::StrCat(folder, "/", kConfigFile, ": ", config.status().message()));
  ASSIGN_OR_RETURN(Weights weights, ReadWeights(folder));
  absl::StatusOr<NamedTensors::Contents> contents = ContentsOf(std::move(weights));
  if (!contents.ok()) return WithPath(folder, contents.status());
  if (const absl::Status status = CheckRopewayTensors(*config, contents->tensors); !status.ok())
    return absl::Status(status.code(), absl::StrCat(folder, "/", status.message()));
  const auto parts_of = [spec = config->spec](const TensorId& id) {
    return std::vector<StoredPart>{{.name = RopewayTensorName(id, spec)}};
  };
  const auto ignorable = [](absl::string_view) { return false; };
  ASSIGN_OR_RETURN(
      std::unique_ptr<NamedTensors> tensors,
      NamedTensors::Make(config->spec, *std::move(contents), {.parts_of = parts_of, .ignorable = ignorable}));
  return OpenedModel{std::move(config->spec), Metadata(), std::move(tensors)};
}

}  // namespace

absl::StatusOr<OpenedModel> OpenHfModel(const std::string& folder) {
  const std::string config_path = absl::StrCat(folder, "/", kConfigFile);
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(config_path, kMaxConfigBytes));
  if (const absl::StatusOr<Json> json = ParseStrictJson(text); json.ok() && IsRopewayConfig(*json))
    return OpenRopewayModel(folder, *json);
  absl::StatusOr<HfConfig> config = ReadHfConfig(text);
  if (!config.ok()) return WithPath(config_path, config.status());
  ASSIGN_OR_RETURN(Weights weights, ReadWeights(folder));
  if (const absl::Status status = DropTiedOutput(*config, weights.tensors); !status.ok())
    return WithPath(folder, status);
  absl::StatusOr<NamedTensors::Contents> contents = ContentsOf(std::move(weights));
  if (!contents.ok()) return WithPath(folder, contents.status());
  absl::StatusOr<std::unique_ptr<NamedTensors>> tensors =
      NamedTensors::Make(config->spec, *std::move(contents), NamingOf(*config));
  if (!tensors.ok()) return WithPath(folder, tensors.status());
  std::unique_ptr<TensorSource> source = *std::move(tensors);
  if (config->spec.unit_output) {
    absl::StatusOr<std::unique_ptr<TensorSource>> unit = WithUnitOutput(std::move(source));
    if (!unit.ok()) return WithPath(folder, unit.status());
    source = *std::move(unit);
  }
  return OpenedModel{std::move(config->spec), Metadata(), std::move(source)};
}

absl::StatusOr<NamedTensors::Needs> HfTensors(absl::string_view config_text) {
  ASSIGN_OR_RETURN(const HfConfig config, ReadHfConfig(config_text));
  return NamedTensors::NeededBy(config.spec, NamingOf(config));
}

}  // namespace ropeway
