#include "engine/model/gguf_model.h"

#include <memory>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/weight_shapes.h"

namespace ropeway {
namespace {

std::string TensorName(WeightRole role, int layer) {
  const RoleInfo& info = InfoOf(role);
  return info.of_layer ? absl::StrCat("blk.", layer, ".", info.gguf_name) : std::string(info.gguf_name);
}

class GgufTensors final : public TensorSource {
 public:
  GgufTensors(MappedFile file, GgufContent content, DecoderSpec spec)
      : file_(std::move(file)), content_(std::move(content)), spec_(std::move(spec)) {}

  absl::StatusOr<TensorView> Find(WeightRole role, int layer) const override {
    const std::string name = TensorName(role, layer);
    const auto found = content_.tensors.find(name);
    if (found == content_.tensors.end())
      return absl::NotFoundError(absl::StrCat("tensor '", name, "' is missing"));
    RETURN_IF_ERROR(CheckShape(name, role, spec_, found->second));
    return found->second;
  }

  std::string NameOf(WeightRole role, int layer) const override { return TensorName(role, layer); }

  // A tensor that nobody would read changes what the model means: refused rather than ignored.
  absl::Status RefuseUnknown() const {
    absl::flat_hash_set<std::string> known = {"rope_freqs.weight"};
    for (const RoleInfo& info : AllRoles())
      for (int layer = 0; layer < (info.of_layer ? spec_.num_layers() : 1); ++layer)
        known.insert(TensorName(info.role, layer));
    for (const std::string& name : content_.tensor_names)
      if (!known.contains(name))
        return absl::UnimplementedError(absl::StrCat("tensor '", name,
                                                     "' has no place in a model of architecture '",
                                                     spec_.architecture, "' as it is supported"));
    return absl::OkStatus();
  }

 private:
  const MappedFile file_;
  const GgufContent content_;
  const DecoderSpec spec_;
};

absl::Status WithPath(const std::string& path, const absl::Status& status) {
  return status.ok() ? status : absl::Status(status.code(), absl::StrCat("'", path, "': ", status.message()));
}

}  // namespace

absl::StatusOr<OpenedModel> OpenGgufModel(const std::string& path) {
  ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(path));
  absl::StatusOr<DecoderSpec> spec = SpecFromGguf(file.content);
  if (!spec.ok()) return WithPath(path, spec.status());
  Metadata metadata = file.content.metadata;
  auto tensors = std::make_unique<GgufTensors>(std::move(file.file), std::move(file.content), *spec);
  RETURN_IF_ERROR(WithPath(path, tensors->RefuseUnknown()));
  return OpenedModel{*std::move(spec), std::move(metadata), std::move(tensors)};
}

absl::StatusOr<OpenedModel> OpenModel(const std::string& path) { return OpenGgufModel(path); }

}  // namespace ropeway
