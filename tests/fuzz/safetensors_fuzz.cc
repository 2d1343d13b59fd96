// safetensors files: header, types, shapes, offsets.
#include "engine/model/safetensors_file.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {

std::vector<std::string> FuzzSeeds() {
  return {SafetensorsBytes(
              {{"a.weight", {2, 3}, std::vector<float>(6, 1.5f)}, {"b", {4}, std::vector<float>(4)}}),
          SafetensorsBytes({{"x", {1}, {0.5f}}})};
}

}  // namespace ropeway::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tensors = ropeway::ParseSafetensors({data, size});
  if (!tensors.ok()) return 0;
  uint64_t sum = 0;
  for (const auto& [name, view] : *tensors)
    if (view.bytes() > 0) sum += view.data[0] + view.data[view.bytes() - 1];
  return sum == UINT64_MAX ? -1 : 0;
}
