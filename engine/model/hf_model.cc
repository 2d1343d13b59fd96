#include "engine/model/hf_model.h"

#include <cstring>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/base/regular_file.h"
#include "engine/base/status_macros.h"
#include "engine/model/hf_config.h"
#include "engine/model/hf_shards.h"
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
constexpr int64_t kMaxConfigBytes = 1 << 20;

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

// `placed`: the tensors that the index places in this file.
absl::Status CheckPlaces(const FileTensors& file, const std::set<std::string>& placed) {
  for (const std::string& name : placed)
    if (!file.contains(name))
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", name, "' is missing, which the index places there"));
  const auto check_all = [&](const auto& tensors) -> absl::Status {
    for (const auto& [name, tensor] : tensors)
      if (!placed.contains(name))
        return absl::InvalidArgumentError(
            absl::StrCat("tensor '", name, "' is not placed in this file by the index"));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(check_all(file.tensors));
  return check_all(file.byte_tensors);
}

// What tensors are made from: MXFP4 is the one thing that bytes may be.
absl::StatusOr<NamedTensors::Contents> ContentsOf(Weights weights) {
  NamedTensors::Contents contents{.tensors = std::move(weights.tensors), .files = std::move(weights.files)};
  RETURN_IF_ERROR(JoinMxfp4(weights.byte_tensors, contents.tensors, contents.pairs));
  return contents;
}

absl::StatusOr<Weights> ReadWeights(const std::string& folder) {
  Weights weights;
  ASSIGN_OR_RETURN(const HfShards shards, FindHfShards(folder));
  for (const auto& [name, placed] : shards) {
    const std::string path = absl::StrCat(folder, "/", name);
    ASSIGN_OR_RETURN(FileTensors file, AddFile(path, weights));
    if (!placed.empty())
      if (const absl::Status status = CheckPlaces(file, placed); !status.ok()) return WithPath(path, status);
    weights.tensors.merge(file.tensors);
    weights.byte_tensors.merge(file.byte_tensors);
  }
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
  ASSIGN_OR_RETURN(const std::string text, ReadRegularFile(config_path, kMaxConfigBytes));
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
