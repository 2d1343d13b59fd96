// SentencePiece's unigram model over whole fragments.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status_macros.h"
#include "engine/text/sentencepiece_normalizer.h"
#include "engine/text/text_tokenizer.h"
#include "engine/text/tokenizer_kinds.h"
#include "engine/text/unigram_model.h"

namespace ropeway {
namespace {

class UnigramTokenizer final : public TextTokenizer {
 public:
  UnigramTokenizer(Vocabulary from, Setup setup, SentencePieceNormalizer normalizer)
      : TextTokenizer(std::move(from), std::move(setup)),
        model_(vocabulary()),
        normalizer_(std::move(normalizer)) {}

 private:
  absl::Status EncodeFragment(std::string_view fragment, bool, std::vector<TokenId>& ids) const override {
    ASSIGN_OR_RETURN(const std::string text, normalizer_.Apply(fragment));
    model_.Encode(text, ids);
    return absl::OkStatus();
  }

  const UnigramModel model_;
  const SentencePieceNormalizer normalizer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeUnigramTokenizer(const Metadata& metadata,
                                                                      Vocabulary vocabulary) {
  TextTokenizer::Setup setup;
  RETURN_IF_ERROR(ReadSpecialKeys(metadata, vocabulary, /*add_bos=*/false, setup));
  ASSIGN_OR_RETURN(SentencePieceNormalizer normalizer, SentencePieceNormalizer::Read(metadata));
  setup.strips_leading_space = normalizer.adds_prefix();
  for (TokenId id = 0; id < vocabulary.size(); ++id)
    setup.bytes.push_back(SentencePieceBytes(vocabulary, id));
  return std::make_unique<const UnigramTokenizer>(std::move(vocabulary), std::move(setup),
                                                  std::move(normalizer));
}

}  // namespace ropeway
