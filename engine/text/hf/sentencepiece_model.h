// SentencePiece's tokenizer.model: the pieces and the flags, as the tokenizer.ggml.* keys that a GGUF file
// made from it has.
#ifndef ROPEWAY_ENGINE_TEXT_HF_SENTENCEPIECE_MODEL_H_
#define ROPEWAY_ENGINE_TEXT_HF_SENTENCEPIECE_MODEL_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/metadata.h"
#include "engine/text/hf/json_vocabulary.h"
#include "engine/text/hf/tokenizer_json.h"

namespace ropeway::hf {

// Whether it is known what the code of a class does, which folders of it bring along.
bool IsKnownSentencePieceClass(std::string_view tokenizer_class);

// `model` is a serialised ModelProto; `added` are tokens that other files add, at or beyond its pieces, beside those that the
// code of `tokenizer_class` has. INVALID_ARGUMENT for bytes that are none; UNIMPLEMENTED naming what a model may have and this
// one must not: pieces of words or characters, white space behind words or not spelt.
absl::StatusOr<Metadata> ReadSentencePieceModel(std::string_view model, std::string_view tokenizer_class,
                                                const std::vector<AddedToken>& added,
                                                const TokenizerSettings& settings);

}  // namespace ropeway::hf

#endif  // ROPEWAY_ENGINE_TEXT_HF_SENTENCEPIECE_MODEL_H_
