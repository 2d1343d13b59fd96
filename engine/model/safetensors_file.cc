#include "engine/model/safetensors_file.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/strict_json.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

constexpr char kMetadataKey[] = "__metadata__";

// A tensor and where in the data it lies.
struct Entry {
  std::string name;
  TensorView view;
  bool is_bytes = false;  // U8; the view has the shape alone
  uint64_t first = 0, last = 0;
};

absl::StatusOr<DType> DTypeOf(const std::string& name, const std::string& what) {
  constexpr DType kSupported[] = {DType::kF32, DType::kF16, DType::kBF16};
  for (const DType type : kSupported)
    if (name == NameOf(type)) return type;
  return absl::UnimplementedError(
      absl::StrCat(what, " '", name, "' is not supported; supported are F32, F16, BF16"));
}

absl::StatusOr<std::vector<uint64_t>> Numbers(JsonFields& fields, const char* name, size_t most) {
  const Json* list = fields.Find(name);
  if (list == nullptr || !list->is_array() || list->size() > most)
    return absl::InvalidArgumentError(
        absl::StrCat(fields.NameOf(name), " must be an array of at most ", most, " numbers"));
  std::vector<uint64_t> numbers;
  for (const Json& value : *list) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > std::numeric_limits<int64_t>::max())
      return absl::InvalidArgumentError(
          absl::StrCat(fields.NameOf(name), " must hold integers in [0, 2^63)"));
    numbers.push_back(value.get<uint64_t>());
  }
  return numbers;
}

absl::Status ReadShape(JsonFields& fields, const SafetensorsLimits& limits, TensorView& view,
                       uint64_t& bytes) {
  ASSIGN_OR_RETURN(const std::vector<uint64_t> shape, Numbers(fields, "shape", limits.max_rank));
  for (const uint64_t extent : shape) {
    if (extent < 1)
      return absl::InvalidArgumentError(
          absl::StrCat(fields.NameOf("shape"), " must hold positive extents, holds 0"));
    if (__builtin_mul_overflow(bytes, extent, &bytes) || bytes >> 62 != 0)
      return absl::InvalidArgumentError(absl::StrCat(fields.NameOf("shape"), " is larger than any file"));
    view.shape.push_back(static_cast<int64_t>(extent));
  }
  return absl::OkStatus();
}

absl::StatusOr<Entry> ReadEntry(const std::string& name, const Json& object, const SafetensorsLimits& limits,
                                bool bytes_too) {
  const std::string what = absl::StrCat("tensor '", name, "'");
  if (!object.is_object()) return absl::InvalidArgumentError(absl::StrCat(what, " must be an object"));
  JsonFields fields(object, what);
  Entry entry{.name = name};
  ASSIGN_OR_RETURN(const std::string dtype, fields.String("dtype"));
  entry.is_bytes = bytes_too && dtype == "U8";
  uint64_t bytes = 1;
  if (!entry.is_bytes) {
    ASSIGN_OR_RETURN(entry.view.type, DTypeOf(dtype, fields.NameOf("dtype")));
    bytes = static_cast<uint64_t>(InfoOf(entry.view.type).block_bytes);
  }
  RETURN_IF_ERROR(ReadShape(fields, limits, entry.view, bytes));
  ASSIGN_OR_RETURN(const std::vector<uint64_t> offsets, Numbers(fields, "data_offsets", 2));
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] - offsets[0] != bytes)
    return absl::InvalidArgumentError(
        absl::StrCat(fields.NameOf("data_offsets"), " must span the ", bytes, " bytes of type and shape"));
  entry.first = offsets[0];
  entry.last = offsets[1];
  RETURN_IF_ERROR(fields.Finish());
  return entry;
}

absl::StatusOr<std::vector<Entry>> ReadHeader(absl::string_view text, const SafetensorsLimits& limits,
                                              bool bytes_too) {
  ASSIGN_OR_RETURN(const Json header, ParseStrictJson(text));
  if (!header.is_object()) return absl::InvalidArgumentError("the header must be a JSON object");
  if (header.size() > limits.max_tensors)
    return absl::InvalidArgumentError(
        absl::StrCat("a file may have at most ", limits.max_tensors, " tensors, has ", header.size()));
  std::vector<Entry> entries;
  for (const auto& item : header.items()) {
    if (item.key() == kMetadataKey) continue;
    ASSIGN_OR_RETURN(Entry entry, ReadEntry(item.key(), item.value(), limits, bytes_too));
    entries.push_back(std::move(entry));
  }
  return entries;
}

// The entries, sorted by place, must cover `data_bytes` exactly.
absl::Status CheckCover(const std::vector<Entry>& entries, uint64_t data_bytes) {
  uint64_t end = 0;
  for (const Entry& entry : entries) {
    if (entry.first != end)
      return absl::InvalidArgumentError(absl::StrCat("tensor '", entry.name, "' must begin at byte ", end,
                                                     " of the data, where the one before it ends, begins at ",
                                                     entry.first));
    end = entry.last;
    if (end > data_bytes)
      return absl::InvalidArgumentError(absl::StrCat("tensor '", entry.name, "' ends at byte ", end,
                                                     " of the data, which has only ", data_bytes));
  }
  if (end != data_bytes)
    return absl::InvalidArgumentError(
        absl::StrCat("the tensors end at byte ", end, " of the data, which has ", data_bytes));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<absl::flat_hash_map<std::string, TensorView>> ParseSafetensors(absl::Span<const uint8_t> bytes,
                                                                              const SafetensorsLimits& limits,
                                                                              ByteTensors* byte_tensors) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof header_bytes)
    return absl::InvalidArgumentError("not a safetensors file: shorter than 8 bytes");
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  if (header_bytes > limits.max_header_bytes)
    return absl::InvalidArgumentError(
        absl::StrCat("the header may have at most ", limits.max_header_bytes, " bytes, has ", header_bytes));
  const absl::Span<const uint8_t> rest = bytes.subspan(sizeof header_bytes);
  if (header_bytes > rest.size())
    return absl::InvalidArgumentError(
        absl::StrCat("the file ends inside the header, which has ", header_bytes, " bytes"));
  const absl::Span<const uint8_t> data = rest.subspan(header_bytes);
  ASSIGN_OR_RETURN(std::vector<Entry> entries,
                   ReadHeader({reinterpret_cast<const char*>(rest.data()), header_bytes}, limits,
                              byte_tensors != nullptr));
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.first < b.first; });
  RETURN_IF_ERROR(CheckCover(entries, data.size()));
  absl::flat_hash_map<std::string, TensorView> tensors;
  for (Entry& entry : entries) {
    entry.view.data = data.data() + entry.first;
    if (entry.is_bytes) {
      byte_tensors->emplace(std::move(entry.name), ByteTensor{std::move(entry.view.shape), entry.view.data});
      continue;
    }
    tensors.emplace(std::move(entry.name), std::move(entry.view));
  }
  return tensors;
}

}  // namespace ropeway
