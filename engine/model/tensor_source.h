// Where weights come from: a model file or folder, seen as named roles.
#ifndef ROPEWAY_ENGINE_MODEL_TENSOR_SOURCE_H_
#define ROPEWAY_ENGINE_MODEL_TENSOR_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/metadata.h"
#include "engine/model/decoder_spec.h"
#include "engine/tensor/tensor_view.h"

namespace ropeway {

// What a tensor is for. Shapes are [outputs, inputs] for matrices.
enum class WeightRole {
  // Of the model.
  kTokenEmbedding,  // [V, D]
  kOutputNorm,      // [D]
  kOutput,          // [V, D]; absent when tied
  // Of a layer.
  kAttentionNorm,        // [D]
  kQuery,                // [H * E, D]
  kKey,                  // [G * E, D]
  kValue,                // [G * Ev, D]
  kQueryBias,            // [H * E], with qkv_bias
  kKeyBias,              // [G * E], the same
  kValueBias,            // [G * Ev], the same
  kQueryNorm,            // [E], with qk_norm
  kKeyNorm,              // [E], with qk_norm
  kAttentionOutput,      // [D, H * Ev]
  kAttentionOutputBias,  // [D], with attention_output_bias
  kAttentionPostNorm,    // [D], with sandwich_norms
  kFfnNorm,              // [D]
  kGate,                 // [F, D]
  kUp,                   // [F, D]
  kDown,                 // [D, F]
  kGateBias,             // [F], with ffn_bias
  kUpBias,               // [F], the same
  kDownBias,             // [D], the same
  kFfnPostNorm,          // [D], with sandwich_norms
};

// Thread-safe: const after it was opened. Views live as long as the source.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // The tensor of `role` (of `layer`, where roles belong to one). NOT_FOUND, naming the tensor as the file
  // would, when the model has none. Its shape has been checked against the spec.
  virtual absl::StatusOr<TensorView> Find(WeightRole role, int layer) const = 0;

  // How the file calls the tensor, for messages.
  virtual std::string NameOf(WeightRole role, int layer) const = 0;
};

// A model opened for reading, weights not yet read.
struct OpenedModel {
  DecoderSpec spec;
  Metadata metadata;  // tokenizer.*, general.*: empty for folders, whose tokenizer is a file of its own
  std::unique_ptr<TensorSource> tensors;
};

// Opens a GGUF file or a Hugging Face folder. NOT_FOUND for a path that is not there; INVALID_ARGUMENT for a
// file that contradicts itself, naming key or tensor; UNIMPLEMENTED for an architecture, type or
// configuration that is not supported, listing those that are.
absl::StatusOr<OpenedModel> OpenModel(const std::string& path);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_TENSOR_SOURCE_H_
