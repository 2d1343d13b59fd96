// Both readers of JSON: the strict one of model files, and the lossless one of template variables.
#include "engine/model/strict_json.h"
#include "engine/text/template_variables.h"
#include "tests/fuzz/fuzz_target.h"

namespace ropeway::testing {

std::vector<std::string> FuzzSeeds() {
  return {
      R"({"messages": [{"role": "user", "content": "h\u00e9llo \ud83d\ude00\n"}], "n": [1, -2.5e-3, 1e22, true, null]})",
      R"({"a": {"b": {"c": [[[]]]}}, "big": 123456789012345678901234567890, "zero": -0.0})", R"("text")",
      "[1, 2]"};
}

}  // namespace ropeway::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = ropeway::testing::AsText(data, size);
  const auto strict = ropeway::ParseStrictJson({text.data(), text.size()});
  const auto variables = ropeway::ParseTemplateVariables(text);
  // The strict reader accepts nothing that the other one does not.
  if (strict.ok() && !variables.ok()) __builtin_trap();
  return 0;
}
