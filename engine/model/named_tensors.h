// A TensorSource over tensors that a reader found by name.
//
// Every role is either needed under the spec or refused, so once it was made, Find gives NOT_FOUND for roles
// alone that the model does not have.
#ifndef ROPEWAY_ENGINE_MODEL_NAMED_TENSORS_H_
#define ROPEWAY_ENGINE_MODEL_NAMED_TENSORS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/mapped_file.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

class NamedTensors final : public TensorSource {
 public:
  using Map = absl::flat_hash_map<std::string, TensorView>;

  struct Naming {
    std::string (*name_of)(WeightRole role, int layer, const DecoderSpec& spec);
    // Tensors without a role that change nothing; all others are refused.
    bool (*ignorable)(absl::string_view name);
  };

  // INVALID_ARGUMENT for a tensor that is missing or of a wrong shape; UNIMPLEMENTED for one that nobody
  // would read. `files` are those that the views point into.
  static absl::StatusOr<std::unique_ptr<NamedTensors>> Make(DecoderSpec spec, Map tensors,
                                                            std::vector<MappedFile> files,
                                                            const Naming& naming);

  absl::StatusOr<TensorView> Find(WeightRole role, int layer) const override;
  std::string NameOf(WeightRole role, int layer) const override;

 private:
  NamedTensors(DecoderSpec spec, Map tensors, std::vector<MappedFile> files, const Naming& naming)
      : spec_(std::move(spec)), tensors_(std::move(tensors)), files_(std::move(files)), naming_(naming) {}

  absl::Status CheckAll() const;

  const DecoderSpec spec_;
  const Map tensors_;
  const std::vector<MappedFile> files_;
  const Naming naming_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_NAMED_TENSORS_H_
