#include "engine/text/tokenizer.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/tokenizer_kinds.h"
#include "engine/text/vocabulary.h"

namespace ropeway {

absl::StatusOr<std::vector<TokenId>> Tokenizer::Encode(std::string_view text,
                                                       const EncodeOptions& options) const {
  const TextSegment segment{std::string(text), options.parse_special};
  return Encode(absl::MakeConstSpan(&segment, 1), options);
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeTokenizer(const Metadata& metadata) {
  ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Read(metadata));
  if (vocabulary.model() == "gpt2" || vocabulary.model() == "tiktoken")
    return MakeByteLevelTokenizer(metadata, std::move(vocabulary));
  if (vocabulary.model() == "llama") return MakeSentencePieceTokenizer(metadata, std::move(vocabulary));
  if (vocabulary.model() == "gemma4") return MakeCodePointTokenizer(metadata, std::move(vocabulary));
  if (vocabulary.model() == "t5") return MakeUnigramTokenizer(metadata, std::move(vocabulary));
  return absl::UnimplementedError(
      absl::StrCat("metadata key 'tokenizer.ggml.model' is '", vocabulary.model(),
                   "', which is not supported; supported are gpt2, llama, gemma4, t5"));
}

}  // namespace ropeway
