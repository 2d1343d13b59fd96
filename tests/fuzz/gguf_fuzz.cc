// GGUF files: the header, the spec of the model, its tensors by role, and the tokenizer and the sampling that it
// describes.
#include "absl/strings/str_cat.h"
#include "engine/model/gguf_file.h"
#include "engine/model/gguf_model.h"
#include "engine/model/gguf_names.h"
#include "engine/model/named_tensors.h"
#include "engine/text/sampling_defaults.h"
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
  const auto add = [&](const std::string& name, DType type, std::vector<int64_t> shape) {
    const int64_t rows = shape.size() == 1 ? 1 : shape[0];
    model.tensors.push_back({name, type, shape, RandomRows(type, rows, shape.back(), model.tensors.size())});
  };
  add("token_embd.weight", DType::kQ4_0, {4, 32});
  for (const char* name : {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"})
    add(name, DType::kF32, {32});
  for (const char* name : {"blk.0.attn_k.weight", "blk.0.attn_v.weight"}) add(name, DType::kQ8_0, {16, 32});
  for (const char* name : {"attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
    add(absl::StrCat("blk.0.", name, ".weight"), DType::kMXFP4, {32, 32});
  return GgufBytes(model);
}

std::string Vocabulary(const std::string& kind) {
  GgufModel model;
  model["general.sampling.temp"] = 0.5;
  model["general.sampling.top_k"] = int64_t{7};
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

// Of the first bytes of all, once they are found to fit the spec.
uint64_t SumOfTensors(const DecoderSpec& spec, const GgufContent& content) {
  const auto tensors = NamedTensors::Make(spec, {.tensors = content.tensors}, GgufNaming(content, spec));
  if (!tensors.ok()) return 0;
  uint64_t sum = 0;
  for (const TensorId& id : TensorsOf(spec))
    if (const auto tensor = (*tensors)->Find(id); tensor.ok()) sum += tensor->view.data[0];
  return sum;
}

}  // namespace ropeway::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::StatusOr<ropeway::GgufContent> content = ropeway::ParseGguf({data, size});
  if (!content.ok()) return 0;
  // Whatever the header promised lies inside the file.
  uint64_t sum = 0;
  for (const auto& [name, view] : content->tensors)
    if (view.bytes() > 0) sum += view.data[0] + view.data[view.bytes() - 1];
  sum += ropeway::ReadSamplingDefaults(content->metadata).ok();
  if (const auto spec = ropeway::SpecFromGguf(*content); spec.ok())
    sum += ropeway::testing::SumOfTensors(*spec, *content);
  if (const auto tokenizer = ropeway::MakeTokenizer(content->metadata); tokenizer.ok()) {
    for (ropeway::TokenId id = 0; id < (*tokenizer)->vocab_size(); ++id)
      sum += (*tokenizer)->TokenBytes(id).size();
    if (const auto ids = (*tokenizer)->Encode("ab <s>\n", {.parse_special = true}); ids.ok())
      sum += ids->size();
  }
  return sum == UINT64_MAX ? -1 : 0;  // the sum is used, so that nothing above is left out
}
