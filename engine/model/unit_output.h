// An output layer whose rows are brought to length 1 (NormHead of Baichuan 2, arXiv:2309.10305).
#ifndef ROPEWAY_ENGINE_MODEL_UNIT_OUTPUT_H_
#define ROPEWAY_ENGINE_MODEL_UNIT_OUTPUT_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

// The tensors of `source`, each row of the output layer divided by its Euclidean length and rounded to its type again.
// Thread-safe. UNIMPLEMENTED where that is not f32, f16 or bf16, NOT_FOUND where there is no output layer.
absl::StatusOr<std::unique_ptr<TensorSource>> WithUnitOutput(std::unique_ptr<TensorSource> source);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_UNIT_OUTPUT_H_
