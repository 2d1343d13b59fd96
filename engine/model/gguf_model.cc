#include "engine/model/gguf_model.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/named_tensors.h"

namespace ropeway {
namespace {

std::vector<StoredPart> PartsOf(const TensorId& id) {
  return {{.name = ExpandName(InfoOf(id.role).gguf_name, id), .stacked = IsOfExperts(id.role)}};
}

// Part of the spec already.
bool Ignorable(absl::string_view name) { return name == "rope_freqs.weight"; }

absl::Status WithPath(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("'", path, "': ", status.message()));
}

}  // namespace

absl::StatusOr<OpenedModel> OpenGgufModel(const std::string& path) {
  ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(path));
  absl::StatusOr<DecoderSpec> spec = SpecFromGguf(file.content);
  if (!spec.ok()) return WithPath(path, spec.status());
  std::vector<MappedFile> files;
  files.push_back(std::move(file.file));
  absl::StatusOr<std::unique_ptr<NamedTensors>> tensors =
      NamedTensors::Make(*spec, std::move(file.content.tensors), std::move(files),
                         {.parts_of = PartsOf, .ignorable = Ignorable});
  if (!tensors.ok()) return WithPath(path, tensors.status());
  return OpenedModel{*std::move(spec), std::move(file.content.metadata), *std::move(tensors)};
}

}  // namespace ropeway
