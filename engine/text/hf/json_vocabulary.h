// The tokens of a tokenizer.json: those of its model and those that were added.
#ifndef ROPEWAY_ENGINE_TEXT_HF_JSON_VOCABULARY_H_
#define ROPEWAY_ENGINE_TEXT_HF_JSON_VOCABULARY_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/hf/json_fields.h"
#include "engine/text/hf/tokenizer_json.h"
#include "engine/text/text_tokenizer.h"
#include "engine/text/vocabulary.h"

namespace ropeway::hf {

struct AddedToken {
  TokenId id = kNoToken;
  std::string content;
  bool special = false;     // a control token
  bool normalized = false;  // searched for in the normalised text, itself normalised
  TextTokenizer::SpecialTraits traits;
};

struct JsonVocabulary {
  Vocabulary vocabulary;
  std::vector<AddedToken> added;
};

absl::StatusOr<JsonVocabulary> ReadVocabulary(const JsonFields& document, const TokenizerSettings& settings);

}  // namespace ropeway::hf

#endif  // ROPEWAY_ENGINE_TEXT_HF_JSON_VOCABULARY_H_
