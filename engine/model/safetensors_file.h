// Reads the headers of safetensors files. The file is untrusted: every type, shape and offset is checked.
//
//   file    := header_bytes:u64 header data                    (little-endian)
//   header  := JSON {name: {"dtype": string, "shape": [int*], "data_offsets": [first, last]}*}, maybe with
//              "__metadata__": {string: string}, maybe padded with spaces
//   data    is covered by the tensors exactly: no holes, no overlaps; offsets count from its beginning
#ifndef ROPEWAY_ENGINE_MODEL_SAFETENSORS_FILE_H_
#define ROPEWAY_ENGINE_MODEL_SAFETENSORS_FILE_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/tensor/tensor_view.h"

namespace ropeway {

struct SafetensorsLimits {
  uint64_t max_header_bytes = 1 << 25;
  size_t max_tensors = 1 << 17;
  size_t max_rank = 8;
};

// A tensor of bytes (U8), which stand for something else. By name, so that errors are told in one order.
struct ByteTensor {
  std::vector<int64_t> shape;
  const uint8_t* data = nullptr;
};
using ByteTensors = std::map<std::string, ByteTensor>;

// Tensors by name; views point into `bytes`. Those of bytes are added to `byte_tensors`, and refused where that is null.
// INVALID_ARGUMENT naming the tensor that is wrong; UNIMPLEMENTED for a type that is not supported, listing those that are.
absl::StatusOr<absl::flat_hash_map<std::string, TensorView>> ParseSafetensors(
    absl::Span<const uint8_t> bytes, const SafetensorsLimits& limits = {},
    ByteTensors* byte_tensors = nullptr);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_SAFETENSORS_FILE_H_
