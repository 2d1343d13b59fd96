// The two ends of a tokenizer.json's pipeline: what stands around a text's tokens, and what tokens stand for.
#ifndef ROPEWAY_ENGINE_TEXT_HF_FRAMING_H_
#define ROPEWAY_ENGINE_TEXT_HF_FRAMING_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/hf/json_fields.h"
#include "engine/text/hf/json_vocabulary.h"
#include "engine/text/vocabulary.h"

namespace ropeway::hf {

// Tokens that frame one text.
struct Frame {
  std::vector<TokenId> prefix, suffix;
};

// The field "post_processor".
absl::StatusOr<Frame> ReadPostProcessor(const JsonFields& document, const Vocabulary& vocabulary);

// How tokens spell bytes.
struct Spelling {
  enum class Kind { kByteLevel, kSentencePiece } kind = Kind::kByteLevel;
  bool strips_leading_space = false;
};

// The field "decoder".
absl::StatusOr<Spelling> ReadDecoder(const JsonFields& document);

// What each token stands for: [vocabulary].
std::vector<std::string> TokenBytesOf(const Vocabulary& vocabulary, const std::vector<AddedToken>& added,
                                      Spelling::Kind kind);

}  // namespace ropeway::hf

#endif  // ROPEWAY_ENGINE_TEXT_HF_FRAMING_H_
