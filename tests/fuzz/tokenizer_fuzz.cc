// Text to ids and back, for each kind of tokenizer.
#include <memory>

#include "engine/text/detokenizer.h"
#include "engine/text/tokenizer.h"
#include "engine/base/utf8.h"
#include "tests/fuzz/fuzz_target.h"

namespace ropeway::testing {
namespace {

// A vocabulary that has a token for every byte, as the model spells it.
std::unique_ptr<const Tokenizer> MakeSmall(const std::string& model) {
  std::vector<std::string> tokens = {"<unk>",
                                     "<s>",
                                     "</s>",
                                     "<tool>",
                                     "a",
                                     "b",
                                     "ab",
                                     "\xE2\x96\x81",
                                     "\xE2\x96\x81"
                                     "a",
                                     "\xC3\xA9"};
  std::vector<int64_t> types = {2, 3, 3, 4, 1, 1, 1, 1, 1, 1};
  std::vector<std::string> merges = {"a b", "\xE2\x96\x81 a"};
  char spelling[8];
  for (int byte = 0, next = 256; byte < 256; ++byte) {
    if (model != "gpt2") {
      std::snprintf(spelling, sizeof spelling, "<0x%02X>", byte);
      tokens.push_back(spelling);
      types.push_back(6);
      continue;
    }
    const bool itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const int point = itself ? byte : next++;
    if (byte == 'a' || byte == 'b') continue;
    tokens.push_back(point < 0x80 ? std::string(1, static_cast<char>(point))
                                  : std::string{static_cast<char>(0xC0 | point >> 6),
                                                static_cast<char>(0x80 | (point & 0x3F))});
    types.push_back(1);
  }
  if (model == "gpt2") {
    tokens[9] = "filler";  // the letter itself is one of the bytes
    tokens[7] = "filler2", tokens[8] = "filler3", merges = {"a b"};
  }
  Metadata metadata;
  std::vector<double> scores(tokens.size());
  for (size_t i = 0; i < scores.size(); ++i) scores[i] = -static_cast<double>(i);
  metadata.Add("tokenizer.ggml.model", model).IgnoreError();
  metadata.Add("tokenizer.ggml.pre", std::string("gpt-2")).IgnoreError();
  metadata.Add("tokenizer.ggml.tokens", std::move(tokens)).IgnoreError();
  metadata.Add("tokenizer.ggml.token_type", std::move(types)).IgnoreError();
  metadata.Add("tokenizer.ggml.scores", std::move(scores)).IgnoreError();
  metadata.Add("tokenizer.ggml.merges", std::move(merges)).IgnoreError();
  metadata.Add("tokenizer.ggml.unknown_token_id", int64_t{0}).IgnoreError();
  metadata.Add("tokenizer.ggml.bos_token_id", int64_t{1}).IgnoreError();
  metadata.Add("tokenizer.ggml.eos_token_id", int64_t{2}).IgnoreError();
  return MakeTokenizer(metadata).value();
}

void Check(const Tokenizer& tokenizer, std::string_view text, bool parse_special) {
  const auto ids = tokenizer.Encode(text, {.parse_special = parse_special, .add_special = false});
  if (ids.ok() != (FindInvalidUtf8(text) == std::string_view::npos)) __builtin_trap();
  if (!ids.ok()) return;
  Detokenizer detokenizer(tokenizer);
  std::string shown;
  for (const TokenId id : *ids) {
    const std::string piece = detokenizer.Push(id);
    if (FindInvalidUtf8(piece) != std::string_view::npos) __builtin_trap();
    shown += piece;
  }
  shown += detokenizer.Flush();
  if (FindInvalidUtf8(shown) != std::string_view::npos) __builtin_trap();
  // Every byte has a token and GPT-2 normalises nothing: what went in comes out.
  if (tokenizer.bos_id() == kNoToken && !parse_special && shown != text) __builtin_trap();
}

}  // namespace

std::vector<std::string> FuzzSeeds() {
  return {"ab a\xC3\xA9  <tool><s>\n\n 12345 don't",
          "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA9 \xE4\xBD\xA0\xE5\xA5\xBD \xE2\x96\x81",
          std::string(300, 'a') + std::string(300, ' ')};
}

}  // namespace ropeway::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using ropeway::testing::MakeSmall;
  static const auto& tokenizers = *new std::vector<std::unique_ptr<const ropeway::Tokenizer>>([] {
    std::vector<std::unique_ptr<const ropeway::Tokenizer>> made;
    for (const char* model : {"gpt2", "llama", "gemma4", "t5"}) made.push_back(MakeSmall(model));
    return made;
  }());
  for (const auto& tokenizer : tokenizers)
    for (const bool parse_special : {false, true})
      ropeway::testing::Check(*tokenizer, ropeway::testing::AsText(data, size), parse_special);
  return 0;
}
