// SentencePiece's unigram model over whole fragments.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status_macros.h"
#include "engine/text/normalize.h"
#include "engine/text/text_tokenizer.h"
#include "engine/text/tokenizer_kinds.h"
#include "engine/text/unigram_model.h"

namespace ropeway {
namespace {

class UnigramTokenizer final : public TextTokenizer {
 public:
  UnigramTokenizer(Vocabulary from, Setup setup, bool space_prefix)
      : TextTokenizer(std::move(from), std::move(setup)), model_(vocabulary()), space_prefix_(space_prefix) {}

 private:
  absl::Status EncodeFragment(std::string_view fragment, bool, std::vector<TokenId>& ids) const override {
    model_.Encode((space_prefix_ ? "\u2581" : "") + SpellSpaces(fragment), ids);
    return absl::OkStatus();
  }

  const UnigramModel model_;
  const bool space_prefix_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeUnigramTokenizer(const Metadata& metadata,
                                                                      Vocabulary vocabulary) {
  TextTokenizer::Setup setup;
  RETURN_IF_ERROR(ReadSpecialKeys(metadata, vocabulary, /*add_bos=*/false, setup));
  ASSIGN_OR_RETURN(const bool space_prefix, FlagOr(metadata, "tokenizer.ggml.add_space_prefix", true));
  ASSIGN_OR_RETURN(const bool squeezes, FlagOr(metadata, "tokenizer.ggml.remove_extra_whitespaces", false));
  if (squeezes)
    return absl::UnimplementedError(
        "metadata key 'tokenizer.ggml.remove_extra_whitespaces' is true; only false is supported");
  if (metadata.Has("tokenizer.ggml.precompiled_charsmap"))
    return absl::UnimplementedError("metadata key 'tokenizer.ggml.precompiled_charsmap' is not supported");
  setup.strips_leading_space = space_prefix;
  for (TokenId id = 0; id < vocabulary.size(); ++id)
    setup.bytes.push_back(SentencePieceBytes(vocabulary, id));
  return std::make_unique<const UnigramTokenizer>(std::move(vocabulary), std::move(setup), space_prefix);
}

}  // namespace ropeway
