// A fuzz target is one file that defines these two functions. Under clang with ROPEWAY_FUZZ, libFuzzer drives
// it and looks for new paths; in every build, mutate_main.cc drives it through a fixed walk from its seeds,
// so that ctest runs it, too.
#ifndef ROPEWAY_TESTS_FUZZ_FUZZ_TARGET_H_
#define ROPEWAY_TESTS_FUZZ_FUZZ_TARGET_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Gives the bytes to the code under test. A crash, a sanitizer's report, a failed CHECK or a hang is a
// finding; refusing the input is not. The name is libFuzzer's.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace ropeway::testing {

// Valid inputs to begin with.
std::vector<std::string> FuzzSeeds();

inline std::string_view AsText(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_FUZZ_FUZZ_TARGET_H_
