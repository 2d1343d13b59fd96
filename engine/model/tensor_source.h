// Where weights come from: a model file or folder, seen as roles.
#ifndef ROPEWAY_ENGINE_MODEL_TENSOR_SOURCE_H_
#define ROPEWAY_ENGINE_MODEL_TENSOR_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/metadata.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/weight_roles.h"
#include "engine/tensor/tensor_view.h"

namespace ropeway {

// The tensor of a role, in the shape of the role. Most lie in the file as they are; those that had to be
// gathered from a tensor that several roles share, or turned, bring their bytes along.
struct WeightTensor {
  TensorView view;
  std::shared_ptr<const std::vector<uint8_t>> bytes;  // what the view sees; null: a file of the source
};

// A tensor as a file has it. There is no data to be seen where its codes and scales lie apart.
struct StoredTensor {
  std::string name;
  TensorView view;
};

// Thread-safe: const after it was opened. Views into files live as long as the source.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // NOT_FOUND, naming the tensor as the file would, when the model has none. Its shape has been checked
  // against the spec.
  virtual absl::StatusOr<WeightTensor> Find(const TensorId& id) const = 0;

  // The type in which the tensor is stored, without gathering anything. REQUIRES: as Find.
  virtual absl::StatusOr<DType> TypeOf(const TensorId& id) const = 0;

  // How the file calls the tensor, for messages.
  virtual std::string NameOf(const TensorId& id) const = 0;

  // All tensors of the files, sorted by name.
  virtual std::vector<StoredTensor> Stored() const = 0;
};

// A model opened for reading, weights not yet read.
struct OpenedModel {
  DecoderSpec spec;
  Metadata metadata;  // tokenizer.*, general.*: empty for folders, whose
                      // tokenizer is a file of its own
  std::unique_ptr<TensorSource> tensors;
};

// Opens a GGUF file or a Hugging Face folder. NOT_FOUND for a path that is not there; INVALID_ARGUMENT for
// a file that contradicts itself, naming key or tensor; UNIMPLEMENTED for an architecture, type or
// configuration that is not supported, listing those that are.
absl::StatusOr<OpenedModel> OpenModel(const std::string& path);

// How many weights a model has, and of which type the most.
struct WeightCount {
  int64_t total = 0;
  DType commonest = DType::kF32;
};
WeightCount CountWeights(const OpenedModel& model);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_TENSOR_SOURCE_H_
