// MXFP4 tensors of folders, whose codes and scales lie apart: "NAME_blocks" [..., blocks, 16] and "NAME_scales"
// [..., blocks], both bytes. Byte i of a block has column 2 i in its low nibble and 2 i + 1 in its high one; in
// quant_blocks.h, as in GGUF files, columns i and i + 16 share a byte.
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_MODEL_MXFP4_PAIRS_H_
#define ROPEWAY_ENGINE_MODEL_MXFP4_PAIRS_H_

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "engine/model/safetensors_file.h"
#include "engine/tensor/tensor_view.h"

namespace ropeway {

// Where the parts of one tensor lie.
struct Mxfp4Pair {
  const uint8_t* blocks = nullptr;
  const uint8_t* scales = nullptr;
};
using Mxfp4Pairs = absl::flat_hash_map<std::string, Mxfp4Pair>;

// Adds NAME of each pair to `pairs` and, as a view without data, to `tensors`. INVALID_ARGUMENT for parts that do not
// fit each other, UNIMPLEMENTED for bytes that belong to no pair.
absl::Status JoinMxfp4(const ByteTensors& bytes, absl::flat_hash_map<std::string, TensorView>& tensors,
                       Mxfp4Pairs& pairs);

// Row `row` of a tensor of rows of `columns`, as its type says: RowBytes(DType::kMXFP4, columns) bytes.
void JoinMxfp4Row(const Mxfp4Pair& pair, int64_t row, int64_t columns, uint8_t* out);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_MXFP4_PAIRS_H_
