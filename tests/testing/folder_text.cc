#include "tests/testing/folder_text.h"

#include <string>
#include <utility>

#include "nlohmann/json.hpp"

namespace ropeway::testing {
namespace {

using Json = nlohmann::ordered_json;

// As GPT-2 spells a byte: as a code point that can be seen.
std::string ByteLetter(int byte) {
  const bool seen = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  int hidden = 0;  // bytes before this one that cannot be seen
  for (int i = 0; i < byte; ++i)
    hidden += (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174 ? 0 : 1;
  const int letter = seen ? byte : 256 + hidden;
  if (letter < 128) return std::string(1, static_cast<char>(letter));
  return {static_cast<char>(0xC0 | letter >> 6), static_cast<char>(0x80 | (letter & 63))};
}

}  // namespace

void WriteFolderText(const TempFolder& folder) {
  Json added = Json::array(), vocab = Json::object();
  for (const auto& [id, text] : {std::pair(kPad, "<pad>"), std::pair(kBos, "<s>"), std::pair(kEos, "</s>")}) {
    added.push_back({{"id", id}, {"content", text}, {"special", true}});
    vocab[text] = id;
  }
  for (int byte = 0; byte < 256; ++byte) vocab[ByteLetter(byte)] = kFirstByte + byte;
  vocab["he"] = kMerged;
  folder.Write(
      "tokenizer.json",
      Json({{"added_tokens", added},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
            {"decoder", {{"type", "ByteLevel"}}},
            {"model",
             {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array({Json::array({"h", "e"})})}}}})
          .dump());
  folder.Write("tokenizer_config.json",
               R"({"tokenizer_class": "GPT2TokenizerFast", "bos_token": "<s>", "eos_token": "</s>"})");
  folder.Write("chat_template.jinja", "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}>");
  folder.Write("generation_config.json",
               R"({"eos_token_id": [2, 0], "temperature": 0.5, "top_k": 7, "do_sample": true})");
}

}  // namespace ropeway::testing
