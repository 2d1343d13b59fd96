// Reads GGUF files, versions 2 and 3, little-endian. The file is untrusted: every count, length and offset is
// checked.
//
//   file     := "GGUF" version:u32 tensor_count:u64 pair_count:u64 pair* tensor* padding data
//   pair     := key:string type:u32 value
//   string   := length:u64 bytes
//   array    := element_type:u32 count:u64 element*           (arrays of arrays are refused)
//   tensor   := name:string rank:u32 extent:u64[rank] type:u32 offset:u64      (extents innermost first)
//   data     begins at the next multiple of general.alignment (32 unless the key says otherwise)
#ifndef ROPEWAY_ENGINE_MODEL_GGUF_FILE_H_
#define ROPEWAY_ENGINE_MODEL_GGUF_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/base/metadata.h"
#include "engine/model/mapped_file.h"
#include "engine/tensor/tensor_view.h"

namespace ropeway {

struct GgufLimits {
  uint64_t max_tensors = 1 << 17;
  uint64_t max_pairs = 1 << 16;
  uint64_t max_name_bytes = 1 << 10;    // of a key or a tensor's name
  uint64_t max_string_bytes = 1 << 24;  // of a value
  uint64_t max_array_elements = 1 << 24;
  uint64_t max_header_bytes = 1 << 27;  // all before the data; in memory it may take eight times as much
  int max_rank = 4;
  int64_t max_files = 4096;  // of a model
};

// What a GGUF header says. Views point into `bytes` of Parse. Thread-safe: const after it was made.
struct GgufContent {
  uint32_t version = 0;
  Metadata metadata;
  std::vector<std::string> tensor_names;  // in the order of the file
  absl::flat_hash_map<std::string, TensorView> tensors;
};

// INVALID_ARGUMENT naming the key or the tensor that is wrong; UNIMPLEMENTED for a version or tensor type
// that is not supported, listing those that are.
absl::StatusOr<GgufContent> ParseGguf(absl::Span<const uint8_t> bytes, const GgufLimits& limits = {});

// A mapped file with its content; of a model that lies in several (gguf_split.h) all of them, with the tensors of all.
// Views of the content live as long as this object, also after a move.
struct GgufFile {
  std::vector<MappedFile> files;
  GgufContent content;

  // Takes the first file of a model. Errors begin with the path.
  static absl::StatusOr<GgufFile> Open(const std::string& path, const GgufLimits& limits = {});

  // That file and no other.
  static absl::StatusOr<GgufFile> OpenAlone(const std::string& path, const GgufLimits& limits);
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_GGUF_FILE_H_
