// Reads golden data, which lies compressed in the repository.
#ifndef ROPEWAY_TESTS_TESTING_GZIP_FILE_H_
#define ROPEWAY_TESTS_TESTING_GZIP_FILE_H_

#include <string>

#include "absl/status/statusor.h"

namespace ropeway::testing {

// The uncompressed text of `path`; a file that is not compressed is given as it is.
absl::StatusOr<std::string> ReadGzipFile(const std::string& path);

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_GZIP_FILE_H_
