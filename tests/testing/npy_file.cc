#include "tests/testing/npy_file.h"

#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/status_macros.h"
#include "tests/testing/gzip_file.h"

namespace ropeway::testing {
namespace {

// The text between `before` and `after` in the header, a Python dictionary.
std::string Between(const std::string& header, const std::string& before, char after) {
  const size_t first = header.find(before);
  if (first == std::string::npos) return "";
  const size_t start = first + before.size();
  return header.substr(start, header.find(after, start) - start);
}

absl::StatusOr<FloatArray> Parse(const std::string& bytes) {
  constexpr size_t kPrefix = 10;  // magic, version 1.0, length of the header
  if (bytes.size() < kPrefix || bytes.compare(0, 8, std::string("\x93NUMPY\x01\x00", 8)) != 0)
    return absl::InvalidArgumentError("not an array of format 1.0");
  const size_t data = kPrefix + static_cast<uint8_t>(bytes[8]) + 256u * static_cast<uint8_t>(bytes[9]);
  const std::string header = bytes.substr(kPrefix, data - kPrefix);
  if (Between(header, "'descr': '", '\'') != "<f4" || Between(header, "'fortran_order': ", ',') != "False")
    return absl::InvalidArgumentError("not float32 in C order");
  FloatArray array;
  int64_t count = 1;
  for (absl::string_view extent :
       absl::StrSplit(Between(header, "'shape': (", ')'), ',', absl::SkipWhitespace())) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(extent, &value)) return absl::InvalidArgumentError("a shape without numbers");
    array.shape.push_back(value);
    count *= value;
  }
  if (bytes.size() < data || bytes.size() - data != count * sizeof(float))
    return absl::InvalidArgumentError("a shape that does not fit the length");
  array.values.resize(static_cast<size_t>(count));
  std::memcpy(array.values.data(), bytes.data() + data, bytes.size() - data);
  return array;
}

}  // namespace

absl::StatusOr<FloatArray> ReadNpyFile(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadGzipFile(path);
  if (absl::IsNotFound(bytes.status())) bytes = ReadGzipFile(path + ".gz");
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<FloatArray> array = Parse(*bytes);
  if (!array.ok()) return absl::InvalidArgumentError(absl::StrCat(path, ": ", array.status().message()));
  return array;
}

}  // namespace ropeway::testing
