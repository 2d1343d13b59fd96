#include "engine/model/gguf_file.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"
#include "engine/model/gguf_split.h"
#include "engine/tensor/dtype.h"

namespace ropeway {
namespace {

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1 << 16;
constexpr uint32_t kNewestVersion = 3;

// Value types as files number them.
enum GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

std::optional<DType> DTypeOf(uint32_t type) {
  constexpr std::pair<uint32_t, DType> kTypes[] = {
      {0, DType::kF32},     {1, DType::kF16},     {2, DType::kQ4_0},  {3, DType::kQ4_1},
      {6, DType::kQ5_0},    {7, DType::kQ5_1},    {8, DType::kQ8_0},  {10, DType::kQ2_K},
      {11, DType::kQ3_K},   {12, DType::kQ4_K},   {13, DType::kQ5_K}, {14, DType::kQ6_K},
      {20, DType::kIQ4_NL}, {23, DType::kIQ4_XS}, {30, DType::kBF16}, {39, DType::kMXFP4}};
  static_assert(std::size(kTypes) == kNumDTypes);
  for (const auto& [number, dtype] : kTypes)
    if (number == type) return dtype;
  return std::nullopt;
}

// " (IQ2_XXS)" of types that files have and that are not supported; "" of others.
std::string NameInBrackets(uint32_t type) {
  constexpr struct {
    uint32_t type;
    const char* name;
  } kNames[] = {{4, "Q4_2"},    {5, "Q4_3"},        {9, "Q8_1"},        {15, "Q8_K"},       {16, "IQ2_XXS"},
                {17, "IQ2_XS"}, {18, "IQ3_XXS"},    {19, "IQ1_S"},      {21, "IQ3_S"},      {22, "IQ2_S"},
                {24, "I8"},     {25, "I16"},        {26, "I32"},        {27, "I64"},        {28, "F64"},
                {29, "IQ1_M"},  {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},   {33, "Q4_0_8_8"},   {34, "TQ1_0"},
                {35, "TQ2_0"},  {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"}, {40, "NVFP4"},
                {41, "Q1_0"}};
  for (const auto& known : kNames)
    if (known.type == type) return absl::StrCat(" (", known.name, ")");
  return "";
}

std::string SupportedTypes() {
  std::string names;
  for (int i = 0; i < kNumDTypes; ++i) absl::StrAppend(&names, i ? ", " : "", NameOf(static_cast<DType>(i)));
  return names;
}

// Takes numbers and strings off the front of the bytes, of which a header may have `max_bytes`; every error says what
// was being read.
class Reader {
 public:
  Reader(absl::Span<const uint8_t> bytes, uint64_t max_bytes)
      : bytes_(bytes.first(std::min<uint64_t>(bytes.size(), max_bytes))),
        has_more_(bytes_.size() < bytes.size()) {}

  uint64_t offset() const { return offset_; }
  uint64_t left() const { return bytes_.size() - offset_; }

  template <typename T>
  absl::StatusOr<T> Number(absl::string_view what) {
    if (left() < sizeof(T)) return Truncated(what);
    T value;
    std::memcpy(&value, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }

  absl::StatusOr<std::string> String(absl::string_view what, uint64_t max_bytes) {
    ASSIGN_OR_RETURN(const uint64_t length, Number<uint64_t>(what));
    if (length > max_bytes)
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": a string may have at most ", max_bytes, " bytes, has ", length));
    if (left() < length) return Truncated(what);
    std::string value(reinterpret_cast<const char*>(bytes_.data()) + offset_, length);
    offset_ += length;
    return value;
  }

  absl::Status Truncated(absl::string_view what) const {
    if (has_more_)
      return absl::InvalidArgumentError(absl::StrCat(what, " must end within the first ", bytes_.size(),
                                                     " bytes of the file, the most that a header may have"));
    return absl::InvalidArgumentError(
        absl::StrCat("the file ends at byte ", bytes_.size(), " inside ", what));
  }

 private:
  const absl::Span<const uint8_t> bytes_;
  const bool has_more_;
  uint64_t offset_ = 0;
};

// Metadata keeps integers as int64_t, floats as double.
template <typename T>
using Kept = std::conditional_t<std::is_floating_point_v<T>, double, int64_t>;

template <typename T>
absl::StatusOr<Kept<T>> ReadKept(Reader& reader, absl::string_view what) {
  ASSIGN_OR_RETURN(const T value, reader.Number<T>(what));
  if constexpr (std::is_same_v<T, uint64_t>) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return absl::InvalidArgumentError(absl::StrCat(what, " must be below 2^63, is ", value));
  }
  return static_cast<Kept<T>>(value);
}

absl::StatusOr<bool> ReadBool(Reader& reader, absl::string_view what) {
  ASSIGN_OR_RETURN(const uint8_t value, reader.Number<uint8_t>(what));
  if (value > 1) return absl::InvalidArgumentError(absl::StrCat(what, ": a bool must be 0 or 1, is ", value));
  return value == 1;
}

// Calls `visit` with a function that reads one value of `type`.
template <typename Visit>
absl::Status WithElement(uint32_t type, absl::string_view what, const GgufLimits& limits, Visit visit) {
  const auto number = [&]<typename T>(T) {
    return visit([what](Reader& reader) { return ReadKept<T>(reader, what); }, sizeof(T));
  };
  switch (type) {
    case kUint8:
      return number(uint8_t{});
    case kInt8:
      return number(int8_t{});
    case kUint16:
      return number(uint16_t{});
    case kInt16:
      return number(int16_t{});
    case kUint32:
      return number(uint32_t{});
    case kInt32:
      return number(int32_t{});
    case kFloat32:
      return number(float{});
    case kUint64:
      return number(uint64_t{});
    case kInt64:
      return number(int64_t{});
    case kFloat64:
      return number(double{});
    case kBool:
      return visit([what](Reader& reader) { return ReadBool(reader, what); }, size_t{1});
    case kString:
      return visit([what, &limits](Reader& reader) { return reader.String(what, limits.max_string_bytes); },
                   sizeof(uint64_t));
    default:
      return absl::InvalidArgumentError(absl::StrCat(what, " has the unknown value type ", type));
  }
}

absl::StatusOr<MetadataValue> ReadArray(Reader& reader, absl::string_view what, const GgufLimits& limits) {
  ASSIGN_OR_RETURN(const uint32_t type, reader.Number<uint32_t>(what));
  ASSIGN_OR_RETURN(const uint64_t count, reader.Number<uint64_t>(what));
  if (count > limits.max_array_elements)
    return absl::InvalidArgumentError(
        absl::StrCat(what, " may have at most ", limits.max_array_elements, " elements, has ", count));
  MetadataValue value;
  RETURN_IF_ERROR(WithElement(type, what, limits, [&](auto read, size_t least_bytes) -> absl::Status {
    // Also bounds the reservation by the size of the file.
    if (count > reader.left() / least_bytes)
      return reader.Truncated(absl::StrCat(what, " of ", count, " elements"));
    std::vector<std::decay_t<decltype(*read(reader))>> elements;
    elements.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      auto element = read(reader);
      if (!element.ok()) return element.status();
      elements.push_back(*std::move(element));
    }
    value = std::move(elements);
    return absl::OkStatus();
  }));
  return value;
}

absl::StatusOr<MetadataValue> ReadValue(Reader& reader, absl::string_view what, const GgufLimits& limits) {
  ASSIGN_OR_RETURN(const uint32_t type, reader.Number<uint32_t>(what));
  if (type == kArray) return ReadArray(reader, what, limits);
  MetadataValue value;
  RETURN_IF_ERROR(WithElement(type, what, limits, [&](auto read, size_t) -> absl::Status {
    auto element = read(reader);
    if (!element.ok()) return element.status();
    value = *std::move(element);
    return absl::OkStatus();
  }));
  return value;
}

// A tensor as the header tells it, before the place of the data is known.
struct TensorEntry {
  std::string name;
  TensorView view;
  uint64_t offset = 0;  // of the data
  uint64_t bytes = 0;
};

absl::StatusOr<uint64_t> BytesOf(const TensorEntry& entry, absl::string_view what) {
  const DTypeInfo& info = InfoOf(entry.view.type);
  if (entry.view.columns() % info.block_columns != 0)
    return absl::InvalidArgumentError(absl::StrCat(what, ": rows of type ", info.name,
                                                   " must be a multiple of ", info.block_columns,
                                                   " wide, are ", entry.view.columns()));
  uint64_t bytes = static_cast<uint64_t>(RowBytes(entry.view.type, entry.view.columns()));
  for (size_t i = 0; i + 1 < entry.view.shape.size(); ++i)
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(entry.view.shape[i]), &bytes) || bytes >> 62 != 0)
      return absl::InvalidArgumentError(absl::StrCat(what, " is larger than any file"));
  return bytes;
}

// Names stand in errors, logs and answers.
absl::Status CheckName(absl::string_view what, const std::string& name) {
  const std::string printable = Printable(name, name.size());
  if (printable == name) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " must be UTF-8 without control characters, is '", Printable(name), "'"));
}

absl::StatusOr<TensorEntry> ReadTensor(Reader& reader, uint64_t index, const GgufLimits& limits) {
  TensorEntry entry;
  ASSIGN_OR_RETURN(entry.name,
                   reader.String(absl::StrCat("the name of tensor ", index), limits.max_name_bytes));
  RETURN_IF_ERROR(CheckName(absl::StrCat("the name of tensor ", index), entry.name));
  const std::string what = absl::StrCat("tensor '", entry.name, "'");
  ASSIGN_OR_RETURN(const uint32_t rank, reader.Number<uint32_t>(what));
  if (rank < 1 || rank > static_cast<uint32_t>(limits.max_rank))
    return absl::InvalidArgumentError(
        absl::StrCat(what, " must have 1 to ", limits.max_rank, " dimensions, has ", rank));
  entry.view.shape.resize(rank);
  for (uint32_t i = 0; i < rank; ++i) {
    ASSIGN_OR_RETURN(const uint64_t extent, reader.Number<uint64_t>(what));
    if (extent < 1 || extent > std::numeric_limits<int32_t>::max())
      return absl::InvalidArgumentError(absl::StrCat(what, ": an extent must be in [1, 2^31), is ", extent));
    entry.view.shape[rank - 1 - i] = static_cast<int64_t>(extent);
  }
  ASSIGN_OR_RETURN(const uint32_t type, reader.Number<uint32_t>(what));
  const std::optional<DType> dtype = DTypeOf(type);
  if (!dtype)
    return absl::UnimplementedError(absl::StrCat(what, " has the type ", type, NameInBrackets(type),
                                                 ", which is not supported; supported are ",
                                                 SupportedTypes()));
  entry.view.type = *dtype;
  ASSIGN_OR_RETURN(entry.offset, reader.Number<uint64_t>(what));
  return entry;
}

absl::Status ReadHeader(Reader& reader, GgufContent& content, uint64_t& tensors, uint64_t& pairs,
                        const GgufLimits& limits) {
  ASSIGN_OR_RETURN(const uint32_t magic, reader.Number<uint32_t>("the magic number"));
  if (magic != 0x46554747)  // "GGUF"
    return absl::InvalidArgumentError("not a GGUF file: it does not begin with 'GGUF'");
  ASSIGN_OR_RETURN(content.version, reader.Number<uint32_t>("the version"));
  if (const uint32_t swapped = __builtin_bswap32(content.version); swapped >= 1 && swapped <= kNewestVersion)
    return absl::UnimplementedError(absl::StrCat("a big-endian file of GGUF version ", swapped,
                                                 ": only little-endian files are supported"));
  if (content.version != 2 && content.version != kNewestVersion)
    return absl::UnimplementedError(absl::StrCat("GGUF version ", content.version,
                                                 " is not supported; supported are 2 and ", kNewestVersion,
                                                 " (little-endian)"));
  ASSIGN_OR_RETURN(tensors, reader.Number<uint64_t>("the number of tensors"));
  ASSIGN_OR_RETURN(pairs, reader.Number<uint64_t>("the number of metadata pairs"));
  if (tensors > limits.max_tensors)
    return absl::InvalidArgumentError(
        absl::StrCat("a file may have at most ", limits.max_tensors, " tensors, has ", tensors));
  if (pairs > limits.max_pairs)
    return absl::InvalidArgumentError(
        absl::StrCat("a file may have at most ", limits.max_pairs, " metadata pairs, has ", pairs));
  return absl::OkStatus();
}

absl::Status ReadMetadata(Reader& reader, uint64_t pairs, const GgufLimits& limits, Metadata& metadata) {
  for (uint64_t i = 0; i < pairs; ++i) {
    ASSIGN_OR_RETURN(std::string key, reader.String(absl::StrCat("metadata key ", i), limits.max_name_bytes));
    RETURN_IF_ERROR(CheckName(absl::StrCat("metadata key ", i), key));
    ASSIGN_OR_RETURN(MetadataValue value,
                     ReadValue(reader, absl::StrCat("metadata key '", key, "'"), limits));
    const absl::Status added = metadata.Add(std::move(key), std::move(value));
    if (!added.ok()) return absl::InvalidArgumentError(added.message());
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> AlignmentOf(const Metadata& metadata) {
  ASSIGN_OR_RETURN(const int64_t alignment,
                   ValueOr<int64_t>(metadata.GetInt("general.alignment"), kDefaultAlignment));
  if (alignment < 8 || alignment > static_cast<int64_t>(kMaxAlignment) || (alignment & (alignment - 1)) != 0)
    return absl::InvalidArgumentError(
        absl::StrCat("metadata key 'general.alignment' must be a power of two in [8, ", kMaxAlignment,
                     "], is ", alignment));
  return static_cast<uint64_t>(alignment);
}

// Checks where a tensor lies and completes its view.
absl::Status Place(absl::Span<const uint8_t> bytes, uint64_t data_start, uint64_t alignment,
                   TensorEntry& entry) {
  const std::string what = absl::StrCat("tensor '", entry.name, "'");
  ASSIGN_OR_RETURN(entry.bytes, BytesOf(entry, what));
  if (entry.offset % alignment != 0)
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": its offset must be a multiple of ", alignment, ", is ", entry.offset));
  if (data_start > bytes.size() || entry.offset > bytes.size() - data_start ||
      entry.bytes > bytes.size() - data_start - entry.offset)
    return absl::InvalidArgumentError(
        absl::StrCat(what, " needs ", entry.bytes, " bytes at offset ", entry.offset,
                     " of the data, beyond the end of the file at byte ", bytes.size()));
  entry.view.data = bytes.data() + data_start + entry.offset;
  return absl::OkStatus();
}

// REQUIRES: all are placed.
absl::Status CheckOverlaps(const std::vector<TensorEntry>& entries) {
  std::vector<const TensorEntry*> by_offset;
  for (const TensorEntry& entry : entries) by_offset.push_back(&entry);
  absl::c_sort(by_offset, [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const TensorEntry &before = *by_offset[i - 1], &entry = *by_offset[i];
    if (entry.offset < before.offset + before.bytes)
      return absl::InvalidArgumentError(absl::StrCat("tensor '", entry.name, "' at offset ", entry.offset,
                                                     " of the data overlaps tensor '", before.name,
                                                     "', which ends at ", before.offset + before.bytes));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufContent> ParseGguf(absl::Span<const uint8_t> bytes, const GgufLimits& limits) {
  Reader reader(bytes, limits.max_header_bytes);
  GgufContent content;
  uint64_t tensors = 0, pairs = 0;
  RETURN_IF_ERROR(ReadHeader(reader, content, tensors, pairs, limits));
  RETURN_IF_ERROR(ReadMetadata(reader, pairs, limits, content.metadata));
  ASSIGN_OR_RETURN(const uint64_t alignment, AlignmentOf(content.metadata));
  std::vector<TensorEntry> entries;
  for (uint64_t i = 0; i < tensors; ++i) {
    ASSIGN_OR_RETURN(TensorEntry entry, ReadTensor(reader, i, limits));
    entries.push_back(std::move(entry));
  }
  const uint64_t data_start = (reader.offset() + alignment - 1) / alignment * alignment;
  for (TensorEntry& entry : entries) RETURN_IF_ERROR(Place(bytes, data_start, alignment, entry));
  RETURN_IF_ERROR(CheckOverlaps(entries));
  for (TensorEntry& entry : entries) {
    if (!content.tensors.emplace(entry.name, std::move(entry.view)).second)
      return absl::InvalidArgumentError(absl::StrCat("tensor '", entry.name, "' appears twice"));
    content.tensor_names.push_back(std::move(entry.name));
  }
  return content;
}

absl::StatusOr<GgufFile> GgufFile::OpenAlone(const std::string& path, const GgufLimits& limits) {
  ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  absl::StatusOr<GgufContent> content = ParseGguf(mapped.bytes(), limits);
  if (!content.ok())
    return absl::Status(content.status().code(), absl::StrCat("'", path, "': ", content.status().message()));
  GgufFile file{.content = *std::move(content)};
  file.files.push_back(std::move(mapped));
  return file;
}

absl::StatusOr<GgufFile> GgufFile::Open(const std::string& path, const GgufLimits& limits) {
  ASSIGN_OR_RETURN(GgufFile file, OpenAlone(path, limits));
  const absl::Status status = AddSplitFiles(path, limits, file);
  if (!status.ok()) return absl::Status(status.code(), absl::StrCat("'", path, "': ", status.message()));
  return file;
}

}  // namespace ropeway
