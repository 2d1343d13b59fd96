// Tokenizers that merge code points: SentencePiece's BPE, by score, and gemma4's, by rank. What has no token
// becomes bytes.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "engine/base/status_macros.h"
#include "engine/base/utf8.h"
#include "engine/text/merge_ranks.h"
#include "engine/text/normalize.h"
#include "engine/text/sentencepiece_normalizer.h"
#include "engine/text/text_tokenizer.h"
#include "engine/text/tokenizer_kinds.h"

namespace ropeway {
namespace {

// Tokens that merging may make: control, byte and unknown tokens are not spelt by text.
TokenId FindMergeable(const Vocabulary& vocabulary, std::string_view text) {
  const TokenId id = vocabulary.Find(text);
  if (id == kNoToken) return kNoToken;
  const TokenType type = vocabulary.type(id);
  return type == TokenType::kNormal || type == TokenType::kUserDefined || type == TokenType::kUnused
             ? id
             : kNoToken;
}

// One symbol per code point.
std::vector<Symbol> SplitCodePoints(const Vocabulary& vocabulary, std::string_view text) {
  std::vector<Symbol> symbols;
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8Length(text[i]);
    symbols.push_back({static_cast<uint32_t>(i), static_cast<uint32_t>(length),
                       FindMergeable(vocabulary, text.substr(i, length))});
    i += length;
  }
  return symbols;
}

void AppendSymbols(const Vocabulary& vocabulary, std::string_view text, const std::vector<Symbol>& symbols,
                   std::vector<TokenId>& ids) {
  bool after_unknown = false;
  for (const Symbol& symbol : symbols) {
    if (symbol.id == kNoToken)
      AppendUnknown(vocabulary, text.substr(symbol.begin, symbol.bytes), after_unknown, ids);
    else
      ids.push_back(symbol.id);
    after_unknown = symbol.id == kNoToken;
  }
}

class SentencePieceTokenizer final : public TextTokenizer {
 public:
  SentencePieceTokenizer(Vocabulary vocabulary, Setup setup, SentencePieceNormalizer normalizer)
      : TextTokenizer(std::move(vocabulary), std::move(setup)), normalizer_(std::move(normalizer)) {}

 private:
  absl::Status EncodeFragment(std::string_view fragment, bool, std::vector<TokenId>& ids) const override {
    ASSIGN_OR_RETURN(const std::string text, normalizer_.Apply(fragment));
    std::vector<Symbol> symbols = SplitCodePoints(vocabulary(), text);
    MergeSymbols(symbols, [&](const Symbol& left, const Symbol& right) -> Merged {
      const TokenId id =
          FindMergeable(vocabulary(), std::string_view(text).substr(left.begin, left.bytes + right.bytes));
      return {id, id == kNoToken ? 0 : RankOf(vocabulary().score(id))};
    });
    AppendSymbols(vocabulary(), text, symbols, ids);
    return absl::OkStatus();
  }

  // Higher scores first: the bits of a float, ordered as integers, downwards.
  static int64_t RankOf(float score) {
    const auto bits = static_cast<int64_t>(std::bit_cast<int32_t>(score == 0 ? 0.f : score));
    return bits < 0 ? bits + (int64_t{1} << 31) : -bits;
  }

  const SentencePieceNormalizer normalizer_;
};

class CodePointTokenizer final : public TextTokenizer {
 public:
  CodePointTokenizer(Vocabulary vocabulary, Setup setup, MergeRanks merges)
      : TextTokenizer(std::move(vocabulary), std::move(setup)), merges_(std::move(merges)) {}

 private:
  absl::Status EncodeFragment(std::string_view fragment, bool, std::vector<TokenId>& ids) const override {
    const std::string text = SpellSpaces(fragment);
    std::vector<Symbol> symbols = SplitCodePoints(vocabulary(), text);
    MergeSymbols(symbols, [&](const Symbol& left, const Symbol& right) {
      return left.id == kNoToken || right.id == kNoToken ? Merged{} : merges_.Find(left.id, right.id);
    });
    AppendSymbols(vocabulary(), text, symbols, ids);
    return absl::OkStatus();
  }

  const MergeRanks merges_;
};

absl::StatusOr<TextTokenizer::Setup> SetupOf(const Metadata& metadata, const Vocabulary& vocabulary) {
  TextTokenizer::Setup setup;
  RETURN_IF_ERROR(ReadSpecialKeys(metadata, vocabulary, /*add_bos=*/true, setup));
  for (TokenId id = 0; id < vocabulary.size(); ++id)
    setup.bytes.push_back(SentencePieceBytes(vocabulary, id));
  return setup;
}

// Phi-3's tokens for turns take the white space behind them; those for the beginning, the unknown and the end
// of a text do not.
void AddPhi3Traits(const Vocabulary& vocabulary, TextTokenizer::Setup& setup) {
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const TokenType type = vocabulary.type(id);
    if (type != TokenType::kControl && type != TokenType::kUserDefined) continue;
    const std::string& text = vocabulary.text(id);
    if (text == "<unk>" || text == "<s>" || text == "<|endoftext|>") continue;
    setup.traits[id] = {.eats_right = true};
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeSentencePieceTokenizer(const Metadata& metadata,
                                                                            Vocabulary vocabulary) {
  ASSIGN_OR_RETURN(TextTokenizer::Setup setup, SetupOf(metadata, vocabulary));
  ASSIGN_OR_RETURN(SentencePieceNormalizer normalizer, SentencePieceNormalizer::Read(metadata));
  setup.strips_leading_space = normalizer.adds_prefix();
  // Files do not say it: the model's name does.
  const std::string name = absl::AsciiStrToLower(vocabulary.model_name());
  if (absl::StrContains(name, "phi-3") || absl::StrContains(name, "phi3")) AddPhi3Traits(vocabulary, setup);
  return std::make_unique<const SentencePieceTokenizer>(std::move(vocabulary), std::move(setup),
                                                        std::move(normalizer));
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeCodePointTokenizer(const Metadata& metadata,
                                                                        Vocabulary vocabulary) {
  ASSIGN_OR_RETURN(TextTokenizer::Setup setup, SetupOf(metadata, vocabulary));
  ASSIGN_OR_RETURN(MergeRanks merges, MergeRanks::Read(metadata, vocabulary));
  return std::make_unique<const CodePointTokenizer>(std::move(vocabulary), std::move(setup),
                                                    std::move(merges));
}

}  // namespace ropeway
