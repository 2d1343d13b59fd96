// A decoder of a published model's shape with random weights that lie in no file, for measuring speed.
#ifndef ROPEWAY_TESTS_BENCH_RANDOM_MODEL_H_
#define ROPEWAY_TESTS_BENCH_RANDOM_MODEL_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/model/tensor_source.h"
#include "engine/tensor/dtype.h"

namespace ropeway {

// `shape` is "1b" (Llama-3.2-1B), "8b" (Llama-3.1-8B), "smollm2" (SmolLM2-135M) or "tiny", `type` that of all matrices. Tensors of as many
// columns share their bytes, so that far less memory is taken than such a file has.
// INVALID_ARGUMENT naming the shapes.
absl::StatusOr<OpenedModel> MakeRandomModel(const std::string& shape, DType type);

}  // namespace ropeway

#endif  // ROPEWAY_TESTS_BENCH_RANDOM_MODEL_H_
