#include "engine/model/named_tensors.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/weight_shapes.h"

namespace ropeway {

absl::StatusOr<std::unique_ptr<NamedTensors>> NamedTensors::Make(DecoderSpec spec, Map tensors,
                                                                 std::vector<MappedFile> files,
                                                                 const Naming& naming) {
  std::unique_ptr<NamedTensors> source(
      new NamedTensors(std::move(spec), std::move(tensors), std::move(files), naming));
  RETURN_IF_ERROR(source->CheckAll());
  return source;
}

absl::StatusOr<TensorView> NamedTensors::Find(WeightRole role, int layer) const {
  const std::string name = NameOf(role, layer);
  const auto found = tensors_.find(name);
  if (found == tensors_.end() || !HasRole(role, spec_))
    return absl::NotFoundError(absl::StrCat("tensor '", name, "' is missing"));
  return found->second;
}

std::string NamedTensors::NameOf(WeightRole role, int layer) const {
  return naming_.name_of(role, layer, spec_);
}

absl::Status NamedTensors::CheckAll() const {
  absl::flat_hash_set<std::string> known;
  for (const RoleInfo& info : AllRoles()) {
    if (!HasRole(info.role, spec_)) continue;
    for (int layer = 0; layer < (info.of_layer ? spec_.num_layers() : 1); ++layer) {
      const auto [name, inserted] = known.insert(NameOf(info.role, layer));
      const auto found = tensors_.find(*name);
      if (found == tensors_.end())
        return absl::InvalidArgumentError(absl::StrCat("tensor '", *name, "' is missing"));
      RETURN_IF_ERROR(CheckShape(*name, info.role, spec_, found->second));
    }
  }
  std::vector<absl::string_view> unknown;
  for (const auto& [name, view] : tensors_)
    if (!known.contains(name) && !naming_.ignorable(name)) unknown.push_back(name);
  if (unknown.empty()) return absl::OkStatus();
  // Ignoring a tensor changes what the model means.
  return absl::UnimplementedError(absl::StrCat("tensor '", *std::min_element(unknown.begin(), unknown.end()),
                                               "' has no place in a model of architecture '",
                                               spec_.architecture, "' as it is supported"));
}

}  // namespace ropeway
