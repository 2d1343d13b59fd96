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

// `model` is a serialised ModelProto; `added` are tokens that other files add, at or beyond its pieces.
// INVALID_ARGUMENT for bytes that are none; UNIMPLEMENTED naming what a model may have and this one must not:
// a normalisation by tables, removal of extra spaces, pieces of words or characters.
absl::StatusOr<Metadata> ReadSentencePieceModel(std::string_view model, const std::vector<AddedToken>& added,
                                                const TokenizerSettings& settings);

}  // namespace ropeway::hf

#endif  // ROPEWAY_ENGINE_TEXT_HF_SENTENCEPIECE_MODEL_H_
