// Byte-level BPE (GPT-2): UTF-8 bytes are spelt by printable characters, and pairs of them merged by rank.
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status_macros.h"
#include "engine/text/byte_spelling.h"
#include "engine/text/merge_ranks.h"
#include "engine/text/normalize.h"
#include "engine/text/pre_tokenizer.h"
#include "engine/text/text_tokenizer.h"
#include "engine/text/tokenizer_kinds.h"

namespace ropeway {
namespace {

class ByteLevelTokenizer final : public TextTokenizer {
 public:
  ByteLevelTokenizer(Vocabulary vocabulary, Setup setup, PreTokenizer pre_tokenizer,
                     std::optional<MergeRanks> merges)
      : TextTokenizer(std::move(vocabulary), std::move(setup)),
        pre_tokenizer_(std::move(pre_tokenizer)),
        merges_(std::move(merges)) {
    const auto& spellings = ByteSpellings();
    for (int byte = 0; byte < 256; ++byte) byte_ids_[byte] = this->vocabulary().Find(spellings[byte]);
  }

 private:
  absl::Status EncodeFragment(std::string_view fragment, bool, std::vector<TokenId>& ids) const override {
    std::string normalized;
    if (pre_tokenizer_.traits().nfc) {
      ASSIGN_OR_RETURN(normalized, NormalizeUnicode(fragment, UnicodeForm::kNfc));
      fragment = normalized;
    }
    std::vector<std::string_view> pieces;
    RETURN_IF_ERROR(pre_tokenizer_.Split(fragment, pieces));
    std::vector<Symbol> symbols;
    for (std::string_view piece : pieces) EncodePiece(piece, symbols, ids);
    return absl::OkStatus();
  }

  void EncodePiece(std::string_view piece, std::vector<Symbol>& symbols, std::vector<TokenId>& ids) const {
    if (pre_tokenizer_.traits().ignore_merges) {
      if (const TokenId id = vocabulary().Find(SpellBytes(piece)); id != kNoToken) {
        ids.push_back(id);
        return;
      }
    }
    symbols.clear();
    // A byte without a token is left out, so that its neighbours may merge.
    for (char byte : piece)
      if (const TokenId id = byte_ids_[static_cast<uint8_t>(byte)]; id != kNoToken)
        symbols.push_back({static_cast<uint32_t>(symbols.size()), 1, id});
    if (merges_.has_value()) {
      MergeSymbols(symbols,
                   [&](const Symbol& left, const Symbol& right) { return merges_->Find(left.id, right.id); });
    } else {
      MergeByResult(symbols);
    }
    for (const Symbol& symbol : symbols) ids.push_back(symbol.id);
  }

  // As tiktoken does: two neighbours merge where the two together are a token, smaller ids first.
  void MergeByResult(std::vector<Symbol>& symbols) const {
    std::string spelt;
    for (Symbol& symbol : symbols) {
      const std::string& text = vocabulary().text(symbol.id);
      symbol.begin = static_cast<uint32_t>(spelt.size());
      symbol.bytes = static_cast<uint32_t>(text.size());
      spelt += text;
    }
    MergeSymbols(symbols, [&](const Symbol& left, const Symbol& right) -> Merged {
      const TokenId id =
          vocabulary().Find(std::string_view(spelt).substr(left.begin, left.bytes + right.bytes));
      if (id == kNoToken || vocabulary().type(id) != TokenType::kNormal) return {};
      return {id, id};
    });
  }

  const PreTokenizer pre_tokenizer_;
  const std::optional<MergeRanks> merges_;  // nullopt: by what they make
  std::array<TokenId, 256> byte_ids_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeByteLevelTokenizer(const Metadata& metadata,
                                                                        Vocabulary vocabulary) {
  ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Make(vocabulary.pre()));
  std::optional<MergeRanks> merges;
  if (vocabulary.model() != "tiktoken") {
    ASSIGN_OR_RETURN(merges, MergeRanks::Read(metadata, vocabulary));
  }
  TextTokenizer::Setup setup;
  RETURN_IF_ERROR(ReadSpecialKeys(metadata, vocabulary, pre_tokenizer.traits().add_bos, setup));
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const bool literal =
        vocabulary.type(id) == TokenType::kUserDefined || vocabulary.type(id) == TokenType::kControl;
    setup.bytes.push_back(literal ? vocabulary.text(id) : BytesSpelt(vocabulary.text(id)));
  }
  return std::make_unique<const ByteLevelTokenizer>(std::move(vocabulary), std::move(setup),
                                                    std::move(pre_tokenizer), std::move(merges));
}

}  // namespace ropeway
