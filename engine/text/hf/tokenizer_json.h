// A tokenizer from Hugging Face's tokenizer.json: normalizer, pre-tokenizer, model, decoder, post-processor
// and added tokens, each as the file says.
//
// The file is untrusted: what it gets wrong is INVALID_ARGUMENT, what is not known UNIMPLEMENTED, both with
// the path of the field.
#ifndef ROPEWAY_ENGINE_TEXT_HF_TOKENIZER_JSON_H_
#define ROPEWAY_ENGINE_TEXT_HF_TOKENIZER_JSON_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace ropeway::hf {

// What other files of a folder say about the vocabulary.
struct TokenizerSettings {
  std::string bos_token, eos_token;  // spellings; empty: none
  // Where the post-processor does not add any token itself; with flags_frame, whatever it does.
  std::optional<bool> add_bos, add_eos;
  bool flags_frame = false;
  std::optional<int64_t> bos_token_id;  // that stands where there is no bos_token
  std::vector<int64_t> end_token_ids;   // that end a generation, beside eos_token
  // Rows of the embedding matrix; unnamed ones become fillers, added tokens beyond them are text like any other. 0: as
  // many as there are tokens.
  int32_t rows = 0;
};

absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeTokenizerFromJson(std::string_view tokenizer_json,
                                                                       const TokenizerSettings& settings);

}  // namespace ropeway::hf

#endif  // ROPEWAY_ENGINE_TEXT_HF_TOKENIZER_JSON_H_
