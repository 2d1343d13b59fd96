// Writes GGUF files, whole or piece by piece, so that tests can make any: valid, tiny or hostile.
#ifndef ROPEWAY_TESTS_TESTING_GGUF_WRITER_H_
#define ROPEWAY_TESTS_TESTING_GGUF_WRITER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/metadata.h"
#include "engine/tensor/dtype.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::testing {

struct GgufTensor {
  std::string name;
  DType type = DType::kF32;
  std::vector<int64_t> shape;  // outermost first
  std::string bytes;           // the rows, one after the other
};

struct GgufModel {
  // Integers are written as uint32 where they fit, else as int64; floats as float32.
  std::vector<std::pair<std::string, MetadataValue>> metadata;
  std::vector<GgufTensor> tensors;
  uint32_t version = 3;
  uint32_t alignment = 32;  // written as general.alignment unless 32

  // The value under `key`, added where it is missing.
  MetadataValue& operator[](std::string_view key);
};

// The bytes of the file.
std::string GgufBytes(const GgufModel& model);

// The files that a model is split into, each with an equal share of its tensors; with `empty_first` the first has none.
std::vector<GgufModel> SplitGguf(const GgufModel& model, int count, bool empty_first = false);

// Writes them as m-00001-of-00003.gguf and so on. Returns the path of the first.
std::string WriteSplitGguf(const std::vector<GgufModel>& files, const TempFolder& folder);

// The pieces that a file consists of.
template <typename T>
std::string LittleEndian(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}
std::string GgufString(std::string_view text);
std::string GgufPair(std::string_view key, const MetadataValue& value);
// `extents` innermost first, as files list them.
std::string GgufTensorInfo(std::string_view name, const std::vector<uint64_t>& extents, uint32_t type,
                           uint64_t offset);
// The number by which files know a type.
uint32_t GgufTypeOf(DType type);

// Rows of random codes under finite scales of at most 1 / 16 in magnitude: a valid tensor of any type.
// REQUIRES: columns is a multiple of the type's block.
std::string RandomRows(DType type, int64_t rows, int64_t columns, uint64_t seed);

// A tiny case (tiny_models.h) as the GGUF file that the usual conversion gives: rows of q and k permuted in
// llama models, Gemma's norms with one added, Llama-3 scaling as divisors. Float32. UNIMPLEMENTED for
// settings that GGUF has no key for.
absl::StatusOr<GgufModel> MakeTinyGguf(const std::string& case_name);

// The cases that MakeTinyGguf takes.
const std::vector<std::string>& TinyGgufCases();

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_GGUF_WRITER_H_
