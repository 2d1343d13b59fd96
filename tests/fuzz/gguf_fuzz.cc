// GGUF files: the header, the spec of the model and the tokenizer that it describes.
#include "engine/model/gguf_file.h"
#include "engine/model/gguf_model.h"
#include "engine/text/tokenizer.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/gguf_writer.h"

namespace ropeway::testing {
namespace {

std::string SmallModel() {
  GgufModel model;
  model["general.architecture"] = std::string("llama");
  model["llama.block_count"] = int64_t{1};
  model["llama.context_length"] = int64_t{64};
  model["llama.embedding_length"] = int64_t{32};
  model["llama.feed_forward_length"] = int64_t{32};
  model["llama.attention.head_count"] = int64_t{2};
  model["llama.attention.head_count_kv"] = std::vector<int64_t>{1};
  model["llama.attention.layer_norm_rms_epsilon"] = 1e-5;
  model["llama.rope.scaling.type"] = std::string("yarn");
  model["llama.rope.scaling.factor"] = 4.0;
  model["llama.rope.scaling.original_context_length"] = int64_t{16};
  for (const char* name : {"token_embd.weight", "blk.0.attn_q.weight"})
    model.tensors.push_back({name, DType::kQ4_0, {4, 32}, RandomRows(DType::kQ4_0, 4, 32, 1)});
  model.tensors.push_back({"output_norm.weight", DType::kF32, {32}, RandomRows(DType::kF32, 1, 32, 2)});
  return GgufBytes(model);
}

std::string Vocabulary(const std::string& kind) {
  GgufModel model;
  model["general.architecture"] = std::string("gemma3");
  model["gemma3.attention.sliding_window_pattern"] = std::vector<bool>{true, false};
  model["tokenizer.ggml.model"] = kind;
  model["tokenizer.ggml.pre"] = std::string("gpt-2");
  model["tokenizer.ggml.tokens"] = std::vector<std::string>{"a", "b", "ab", "<s>", "<0x41>", "\xE2\x96\x81"};
  model["tokenizer.ggml.token_type"] = std::vector<int64_t>{1, 1, 1, 3, 6, 4};
  model["tokenizer.ggml.scores"] = std::vector<double>{0, -1, -2, 0, 0, 0};
  model["tokenizer.ggml.merges"] = std::vector<std::string>{"a b"};
  model["tokenizer.ggml.bos_token_id"] = int64_t{3};
  model["tokenizer.ggml.add_bos_token"] = true;
  return GgufBytes(model);
}

}  // namespace

std::vector<std::string> FuzzSeeds() {
  return {SmallModel(), Vocabulary("gpt2"), Vocabulary("llama"), Vocabulary("gemma4"), Vocabulary("t5")};
}

}  // namespace ropeway::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::StatusOr<ropeway::GgufContent> content = ropeway::ParseGguf({data, size});
  if (!content.ok()) return 0;
  // Whatever the header promised lies inside the file.
  uint64_t sum = 0;
  for (const auto& [name, view] : content->tensors)
    if (view.bytes() > 0) sum += view.data[0] + view.data[view.bytes() - 1];
  if (const auto spec = ropeway::SpecFromGguf(*content); spec.ok())
    sum += static_cast<uint64_t>(spec->vocab_size);
  if (const auto tokenizer = ropeway::MakeTokenizer(content->metadata); tokenizer.ok()) {
    for (ropeway::TokenId id = 0; id < (*tokenizer)->vocab_size(); ++id)
      sum += (*tokenizer)->TokenBytes(id).size();
    if (const auto ids = (*tokenizer)->Encode("ab <s>\n", {.parse_special = true}); ids.ok())
      sum += ids->size();
  }
  return sum == UINT64_MAX ? -1 : 0;  // the sum is used, so that nothing above is left out
}
