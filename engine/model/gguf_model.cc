#include "engine/model/gguf_model.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/gguf_names.h"
#include "engine/model/named_tensors.h"

namespace ropeway {
namespace {

absl::Status WithPath(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("'", path, "': ", status.message()));
}

}  // namespace

absl::StatusOr<OpenedModel> OpenGgufModel(const std::string& path) {
  ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(path));
  absl::StatusOr<DecoderSpec> spec = SpecFromGguf(file.content);
  if (!spec.ok()) return WithPath(path, spec.status());
  NamedTensors::Naming naming = GgufNaming(file.content, *spec);
  absl::StatusOr<std::unique_ptr<NamedTensors>> tensors = NamedTensors::Make(
      *spec, {.tensors = std::move(file.content.tensors), .files = std::move(file.files)}, std::move(naming));
  if (!tensors.ok()) return WithPath(path, tensors.status());
  return OpenedModel{*std::move(spec), std::move(file.content.metadata), *std::move(tensors)};
}

}  // namespace ropeway
