#include "engine/model/gguf_split.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

constexpr char kNumberKey[] = "split.no", kCountKey[] = "split.count", kTensorsKey[] = "split.tensors.count";

// What a file says of itself and of the whole.
struct SplitInfo {
  int64_t number = 0, count = 0, tensors = 0;

  // How the name of the file ends.
  std::string Suffix() const { return absl::StrFormat("-%05d-of-%05d.gguf", number + 1, count); }
  std::string Text() const { return absl::StrCat("file ", number + 1, " of ", count, " of a model"); }
};

absl::StatusOr<int64_t> IntIn(const Metadata& metadata, const char* key, int64_t least, int64_t most) {
  const absl::StatusOr<int64_t> value = metadata.GetInt(key);
  // A key that is missing makes the file wrong; NOT_FOUND is for files.
  if (absl::IsNotFound(value.status())) return absl::InvalidArgumentError(value.status().message());
  if (!value.ok() || (*value >= least && *value <= most)) return value;
  return absl::InvalidArgumentError(
      absl::StrCat("metadata key '", key, "' must be in [", least, ", ", most, "], is ", *value));
}

absl::Status CheckInt(const Metadata& metadata, const char* key, int64_t only) {
  ASSIGN_OR_RETURN(const int64_t value, IntIn(metadata, key, 0, INT64_MAX));
  if (value == only) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("metadata key '", key, "' must be ", only, " in this file of the model, is ", value));
}

// What a later file may say beside which one it is: what the first says, and things of no consequence.
absl::Status CheckMetadata(const Metadata& later, const Metadata& first, const SplitInfo& info) {
  RETURN_IF_ERROR(CheckInt(later, kNumberKey, info.number));
  RETURN_IF_ERROR(CheckInt(later, kCountKey, info.count));
  if (later.Has(kTensorsKey)) RETURN_IF_ERROR(CheckInt(later, kTensorsKey, info.tensors));
  for (const std::string& key : later.keys()) {
    if (key == kNumberKey || key == "general.alignment") continue;
    const MetadataValue* same = first.Find(key);
    if (same == nullptr && !absl::StartsWith(key, "general."))
      return absl::InvalidArgumentError(
          absl::StrCat("metadata key '", key, "' must stand in the first file of the model, which lacks it"));
    if (same != nullptr && *same != *later.Find(key))
      return absl::InvalidArgumentError(
          absl::StrCat("metadata key '", key, "' has another value than in the first file of the model"));
  }
  return absl::OkStatus();
}

absl::Status AddTensors(GgufContent&& from, const SplitInfo& info, GgufContent& to) {
  const uint64_t together = to.tensor_names.size() + from.tensor_names.size();
  if (together > static_cast<uint64_t>(info.tensors))
    return absl::InvalidArgumentError(absl::StrCat("metadata key '", kTensorsKey, "' is ", info.tensors,
                                                   ", but the files up to this one have ", together,
                                                   " tensors"));
  for (std::string& name : from.tensor_names) {
    if (!to.tensors.emplace(name, std::move(from.tensors.at(name))).second)
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", name, "' is in an earlier file of the model, too"));
    to.tensor_names.push_back(std::move(name));
  }
  return absl::OkStatus();
}

absl::Status AddFile(const std::string& path, const SplitInfo& info, const GgufLimits& limits,
                     GgufFile& all) {
  ASSIGN_OR_RETURN(GgufFile file, GgufFile::OpenAlone(path, limits));
  absl::Status status = CheckMetadata(file.content.metadata, all.content.metadata, info);
  if (status.ok()) status = AddTensors(std::move(file.content), info, all.content);
  if (!status.ok()) return absl::Status(status.code(), absl::StrCat("'", path, "': ", status.message()));
  all.files.push_back(std::move(file.files[0]));
  return absl::OkStatus();
}

// Of the first file. A count of at most 1: there are no others.
absl::StatusOr<SplitInfo> ReadInfo(const Metadata& metadata, const GgufLimits& limits) {
  SplitInfo info;
  if (!metadata.Has(kCountKey)) return info;
  ASSIGN_OR_RETURN(info.count, IntIn(metadata, kCountKey, 0, limits.max_files));
  // Files that were joined again say 0, and leave the other keys as they were.
  if (info.count <= 1) return info;
  ASSIGN_OR_RETURN(info.number, IntIn(metadata, kNumberKey, 0, info.count - 1));
  ASSIGN_OR_RETURN(info.tensors, IntIn(metadata, kTensorsKey, 1, static_cast<int64_t>(limits.max_tensors)));
  return info;
}

}  // namespace

absl::Status AddSplitFiles(const std::string& path, const GgufLimits& limits, GgufFile& first) {
  ASSIGN_OR_RETURN(SplitInfo info, ReadInfo(first.content.metadata, limits));
  if (info.count <= 1) return absl::OkStatus();
  absl::string_view name = path;
  if (!absl::ConsumeSuffix(&name, info.Suffix()))
    return absl::InvalidArgumentError(absl::StrCat("the name of ", info.Text(), " must end with '",
                                                   info.Suffix(), "', for the others to be found beside it"));
  if (info.number != 0) {
    const std::string said = info.Text();
    info.number = 0;
    return absl::InvalidArgumentError(
        absl::StrCat("is ", said, ": give the first, '", name, info.Suffix(), "'"));
  }
  for (info.number = 1; info.number < info.count; ++info.number) {
    const absl::Status status = AddFile(absl::StrCat(name, info.Suffix()), info, limits, first);
    if (!status.ok()) return absl::Status(status.code(), absl::StrCat(info.Text(), ": ", status.message()));
  }
  const size_t found = first.content.tensor_names.size();
  if (found == static_cast<size_t>(info.tensors)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("metadata key '", kTensorsKey, "' is ", info.tensors,
                                                 ", but the ", info.count, " files have ", found,
                                                 " tensors"));
}

std::vector<std::string> SplitFilePaths(const std::string& path, const GgufLimits& limits) {
  absl::string_view stem = path;
  SplitInfo info;
  if (!absl::ConsumeSuffix(&stem, ".gguf") ||
      !absl::SimpleAtoi(stem.substr(stem.rfind('-') + 1), &info.count))
    return {path};
  const absl::string_view name = WithoutSplitNumber(stem);
  if (info.count < 1 || info.count > limits.max_files || absl::StrCat(name, info.Suffix()) != path) return {path};
  std::vector<std::string> paths;
  for (; info.number < info.count; ++info.number) paths.push_back(absl::StrCat(name, info.Suffix()));
  return paths;
}

absl::string_view WithoutSplitNumber(absl::string_view stem) {
  constexpr absl::string_view kPattern = "-#####-of-#####";  // # stands for a digit
  if (stem.size() <= kPattern.size()) return stem;
  const absl::string_view suffix = stem.substr(stem.size() - kPattern.size());
  const bool matches = std::equal(suffix.begin(), suffix.end(), kPattern.begin(), [](char c, char pattern) {
    return pattern == '#' ? absl::ascii_isdigit(static_cast<unsigned char>(c)) : c == pattern;
  });
  return matches ? stem.substr(0, stem.size() - kPattern.size()) : stem;
}

}  // namespace ropeway
