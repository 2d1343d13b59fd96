#include "tests/testing/gguf_writer.h"

#include <type_traits>

#include "absl/strings/str_format.h"
#include "engine/base/check.h"
#include "engine/base/splitmix.h"

namespace ropeway::testing {
namespace {

// Value types as files number them.
constexpr uint32_t kUint32 = 4, kInt32 = 5, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9, kInt64 = 11;

std::string Element(bool value) { return std::string(1, value ? '\1' : '\0'); }
std::string Element(int64_t value) { return LittleEndian(static_cast<int32_t>(value)); }
std::string Element(double value) { return LittleEndian(static_cast<float>(value)); }
std::string Element(const std::string& value) { return GgufString(value); }

template <typename T>
constexpr uint32_t kElementType = std::is_same_v<T, bool>      ? kBool
                                  : std::is_same_v<T, int64_t> ? kInt32
                                  : std::is_same_v<T, double>  ? kFloat32
                                                               : kString;

std::string TypeAndValue(int64_t value) {
  if (value >= 0 && value <= UINT32_MAX)
    return LittleEndian(kUint32) + LittleEndian(static_cast<uint32_t>(value));
  return LittleEndian(kInt64) + LittleEndian(value);
}

template <typename T>
std::string TypeAndValue(const T& value) {
  return LittleEndian(kElementType<T>) + Element(value);
}

template <typename T>
std::string TypeAndValue(const std::vector<T>& values) {
  std::string bytes =
      LittleEndian(kArray) + LittleEndian(kElementType<T>) + LittleEndian<uint64_t>(values.size());
  for (const T& value : values) bytes += Element(value);
  return bytes;
}

void Pad(std::string& bytes, uint64_t alignment) {
  bytes.append((alignment - bytes.size() % alignment) % alignment, '\0');
}

// Where the 16-bit scales of a block lie.
std::vector<int> ScaleOffsets(DType type) {
  switch (type) {
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
    case DType::kIQ4_NL:
    case DType::kIQ4_XS:
      return {0};
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ2_K:
      return {80, 82};
    case DType::kQ3_K:
      return {108};
    case DType::kQ6_K:
      return {208};
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kMXFP4:
      return {};
  }
  ROPEWAY_CHECK(false);
}

}  // namespace

MetadataValue& GgufModel::operator[](std::string_view key) {
  for (auto& [name, value] : metadata)
    if (name == key) return value;
  return metadata.emplace_back(std::string(key), false).second;
}

std::string GgufString(std::string_view text) {
  return LittleEndian<uint64_t>(text.size()) + std::string(text);
}

std::string GgufPair(std::string_view key, const MetadataValue& value) {
  return GgufString(key) + std::visit([](const auto& v) { return TypeAndValue(v); }, value);
}

std::string GgufTensorInfo(std::string_view name, const std::vector<uint64_t>& extents, uint32_t type,
                           uint64_t offset) {
  std::string bytes = GgufString(name) + LittleEndian(static_cast<uint32_t>(extents.size()));
  for (const uint64_t extent : extents) bytes += LittleEndian(extent);
  return bytes + LittleEndian(type) + LittleEndian(offset);
}

uint32_t GgufTypeOf(DType type) {
  constexpr uint32_t kTypes[kNumDTypes] = {0, 1, 30, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 20, 23, 39};
  return kTypes[static_cast<int>(type)];
}

std::string GgufBytes(const GgufModel& model) {
  std::vector<std::pair<std::string, MetadataValue>> metadata = model.metadata;
  if (model.alignment != 32) metadata.emplace_back("general.alignment", int64_t{model.alignment});
  std::string bytes = "GGUF" + LittleEndian(model.version) + LittleEndian<uint64_t>(model.tensors.size()) +
                      LittleEndian<uint64_t>(metadata.size());
  for (const auto& [key, value] : metadata) bytes += GgufPair(key, value);
  std::string data;
  for (const GgufTensor& tensor : model.tensors) {
    Pad(data, model.alignment);
    const std::vector<uint64_t> extents(tensor.shape.rbegin(), tensor.shape.rend());
    bytes += GgufTensorInfo(tensor.name, extents, GgufTypeOf(tensor.type), data.size());
    data += tensor.bytes;
  }
  Pad(bytes, model.alignment);
  return bytes + data;
}

std::vector<GgufModel> SplitGguf(const GgufModel& model, int count, bool empty_first) {
  std::vector<GgufModel> files(static_cast<size_t>(count));
  files[0].metadata = model.metadata;
  const size_t first = empty_first ? 1 : 0, full = files.size() - first;
  for (size_t i = 0; i < model.tensors.size(); ++i)
    files[first + i * full / model.tensors.size()].tensors.push_back(model.tensors[i]);
  for (int i = 0; i < count; ++i) {
    GgufModel& file = files[static_cast<size_t>(i)];
    file["split.no"] = int64_t{i};
    file["split.count"] = int64_t{count};
    file["split.tensors.count"] = static_cast<int64_t>(model.tensors.size());
  }
  return files;
}

std::string WriteSplitGguf(const std::vector<GgufModel>& files, const TempFolder& folder) {
  const auto name = [&](size_t i) { return absl::StrFormat("m-%05d-of-%05d.gguf", i + 1, files.size()); };
  for (size_t i = 0; i < files.size(); ++i) folder.Write(name(i), GgufBytes(files[i]));
  return folder.File(name(0));
}

std::string RandomRows(DType type, int64_t rows, int64_t columns, uint64_t seed) {
  const int block_bytes = InfoOf(type).block_bytes;
  std::string bytes(static_cast<size_t>(rows * RowBytes(type, columns)), '\0');
  const uint64_t key = SplitMix(seed + kGoldenRatio64);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<char>(SplitMix(key + (i + 1) * kGoldenRatio64) >> 56);
  // The upper byte of a number holds sign and exponent; these exponents give magnitudes below 1 / 16.
  const auto limit = [&](size_t upper, uint8_t exponents) {
    bytes[upper] = static_cast<char>(static_cast<uint8_t>(bytes[upper]) % exponents |
                                     (static_cast<uint8_t>(bytes[upper]) & 0x80));
  };
  const size_t size = static_cast<size_t>(block_bytes);
  for (size_t block = 0; block < bytes.size(); block += size) {
    if (type == DType::kF32 || type == DType::kF16 || type == DType::kBF16)
      limit(block + size - 1, type == DType::kF16 ? 0x2C : 0x3D);
    if (type == DType::kMXFP4)  // a power of two below 2^-8
      bytes[block] = static_cast<char>(112 + static_cast<uint8_t>(bytes[block]) % 8);
    for (const int offset : ScaleOffsets(type)) limit(block + static_cast<size_t>(offset) + 1, 0x2C);
  }
  return bytes;
}

}  // namespace ropeway::testing
