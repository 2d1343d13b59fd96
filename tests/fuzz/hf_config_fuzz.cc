// config.json of Hugging Face folders.
#include "engine/model/hf_config.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {

std::vector<std::string> FuzzSeeds() {
  std::vector<std::string> seeds;
  for (const char* name : {"llama_rope_llama3", "llama_rope_yarn_mscale", "qwen2_window", "gemma3_text"})
    if (const auto golden = ReadTinyGolden(name); golden.ok())
      for (const char* spelling : {"config", "config_v4"}) seeds.push_back((*golden)[spelling].dump());
  return seeds;
}

}  // namespace ropeway::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // What is accepted is valid: the reader's promise to the forward pass.
  const std::string_view text = ropeway::testing::AsText(data, size);
  const auto spec = ropeway::SpecFromHfConfig({text.data(), text.size()});
  if (spec.ok() && !spec->Validate().ok()) __builtin_trap();
  return 0;
}
