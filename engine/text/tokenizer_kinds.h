// The kinds of tokenizers, by tokenizer.ggml.model; MakeTokenizer chooses among them.
#ifndef ROPEWAY_ENGINE_TEXT_TOKENIZER_KINDS_H_
#define ROPEWAY_ENGINE_TEXT_TOKENIZER_KINDS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/base/metadata.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocabulary.h"

namespace ropeway {

// "gpt2"; "tiktoken", whose merges go by the id of what they make, as read from such a file
absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeByteLevelTokenizer(const Metadata& metadata,
                                                                        Vocabulary vocabulary);
// "gemma4": merges by rank over code points, bytes as a fallback
absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeCodePointTokenizer(const Metadata& metadata,
                                                                        Vocabulary vocabulary);
// "llama": SentencePiece, merges by score over code points, bytes as a fallback
absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeSentencePieceTokenizer(const Metadata& metadata,
                                                                            Vocabulary vocabulary);
// "t5": SentencePiece, the likeliest segmentation
absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeUnigramTokenizer(const Metadata& metadata,
                                                                      Vocabulary vocabulary);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_TOKENIZER_KINDS_H_
