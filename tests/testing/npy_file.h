// Reads arrays that numpy saved.
#ifndef ROPEWAY_TESTS_TESTING_NPY_FILE_H_
#define ROPEWAY_TESTS_TESTING_NPY_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace ropeway::testing {

struct FloatArray {
  std::vector<int64_t> shape;  // outermost first
  std::vector<float> values;   // row-major
};

// A little-endian float32 array in C order; `path` or, where that is not there, `path`.gz.
absl::StatusOr<FloatArray> ReadNpyFile(const std::string& path);

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_NPY_FILE_H_
