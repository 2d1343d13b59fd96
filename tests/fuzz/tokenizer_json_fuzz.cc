// tokenizer.json: a file that is read, and used where it can be; and SentencePiece's tokenizer.model.
#include "engine/base/utf8.h"
#include "engine/text/detokenizer.h"
#include "engine/text/hf/sentencepiece_model.h"
#include "engine/text/hf/tokenizer_json.h"
#include "tests/fuzz/fuzz_target.h"

namespace ropeway::testing {

std::vector<std::string> FuzzSeeds() {
  return {
      R"({"added_tokens":[{"id":9,"content":"<s>","special":true,"lstrip":true},{"id":8,"content":"AB","normalized":true}],
"normalizer":{"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Replace","pattern":{"Regex":" +"},"content":"_"},
{"type":"Prepend","prepend":"_"},{"type":"Lowercase"},{"type":"Strip"}]},
"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"Split",
"pattern":{"Regex":"(?i:'s)|\\p{L}+|[^\\s\\p{N}]{1,3}"},"behavior":"MergedWithNext","invert":true},{"type":"Punctuation"}]},
"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}],
"special_tokens":{"<s>":{"ids":[9]}}},"decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"},
{"type":"Strip","content":" ","start":1}]},"model":{"type":"BPE","byte_fallback":true,"unk_token":"u","fuse_unk":true,
"vocab":{"a":0,"b":1,"ab":2,"_":3,"u":4,"<0xC3>":5,"_a":6},"merges":["a b",["_","a"]]}})",
      R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true},"decoder":{"type":"ByteLevel"},
"model":{"type":"Unigram","unk_id":0,"vocab":[["u",0],["a",-1.5],["ab",-2e0],["Ġ",-3]]}})",
      R"({"pre_tokenizer":{"type":"Metaspace","prepend_scheme":"first"},"decoder":{"type":"Metaspace"},
"model":{"vocab":{"▁a":0},"merges":[],"ignore_merges":true}})",
      std::string("\x0A\x09\x0A\x01"
                  "a\x15\x00\x00\x80\xBF\x18\x01\x12\x02\x18\x02\x1A\x04\x20\x00\x18\x01",
                  21)};
}

}  // namespace ropeway::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ropeway;
  if (size > 1 << 14) return 0;
  const std::string_view text = testing::AsText(data, size);
  std::vector<std::unique_ptr<const Tokenizer>> made;
  if (auto tokenizer = hf::MakeTokenizerFromJson(text, {}); tokenizer.ok())
    made.push_back(*std::move(tokenizer));
  if (const auto metadata = hf::ReadSentencePieceModel(text, "ChatGLMTokenizer", {}, {}); metadata.ok()) {
    if (auto tokenizer = MakeTokenizer(*metadata); tokenizer.ok()) made.push_back(*std::move(tokenizer));
  }
  for (const auto& tokenizer : made) {
    for (const bool parse_special : {false, true}) {
      const auto ids = tokenizer->Encode(
          "ab a\xC3\xA9  <s>AB\n12 'S _ \xE2\x96\x81"
          "a",
          {.parse_special = parse_special});
      if (!ids.ok()) continue;
      Detokenizer detokenizer(*tokenizer);
      std::string shown;
      for (const TokenId id : *ids) {
        if (id < 0 || id >= tokenizer->vocab_size()) __builtin_trap();
        shown += detokenizer.Push(id);
      }
      if (FindInvalidUtf8(shown + detokenizer.Flush()) != std::string_view::npos) __builtin_trap();
    }
  }
  return 0;
}
