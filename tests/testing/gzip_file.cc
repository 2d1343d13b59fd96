#include "tests/testing/gzip_file.h"

#include <zlib.h>

namespace ropeway::testing {

absl::StatusOr<std::string> ReadGzipFile(const std::string& path) {
  const gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) return absl::NotFoundError("cannot open " + path);
  std::string text;
  char buffer[1 << 16];
  int size = 0;
  while ((size = gzread(file, buffer, sizeof(buffer))) > 0) text.append(buffer, static_cast<size_t>(size));
  gzclose(file);
  if (size < 0) return absl::DataLossError("not a whole gzip file: " + path);
  return text;
}

}  // namespace ropeway::testing
