// Vocabularies in tiktoken's format, as the tokenizer.ggml.* keys that a GGUF file made from them has.
//
// Grammar: each line is a token's bytes in base64, a space, and its rank in decimal. A token's rank is its
// id, and merges go by the rank of what they make. How texts are split and which control tokens there are is
// in the code of the model's own tokenizer, so only families that are known are read.
#ifndef ROPEWAY_ENGINE_TEXT_HF_TIKTOKEN_FILE_H_
#define ROPEWAY_ENGINE_TEXT_HF_TIKTOKEN_FILE_H_

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/metadata.h"
#include "engine/text/hf/json_vocabulary.h"
#include "engine/text/hf/tokenizer_json.h"

namespace ropeway::hf {

// Whether `text` begins as such a file does.
bool LooksLikeTiktoken(std::string_view text);

// `tokenizer_class` of tokenizer_config.json names the family; `added` are tokens beyond the ranks.
// INVALID_ARGUMENT naming the line that is wrong; UNIMPLEMENTED for a family that is not known, listing those
// that are.
absl::StatusOr<Metadata> ReadTiktoken(std::string_view text, std::string_view tokenizer_class,
                                      const std::vector<AddedToken>& added,
                                      const TokenizerSettings& settings);

}  // namespace ropeway::hf

#endif  // ROPEWAY_ENGINE_TEXT_HF_TIKTOKEN_FILE_H_
