// SentencePiece's unigram model: the segmentation with the largest sum of scores, by Viterbi's algorithm over
// a trie of the vocabulary. Linear in the text times the longest token.
#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status_macros.h"
#include "engine/text/normalize.h"
#include "engine/text/text_tokenizer.h"
#include "engine/text/tokenizer_kinds.h"
#include "engine/text/utf8.h"

namespace ropeway {
namespace {

// An unknown character costs this much more than the worst token, as in SentencePiece.
constexpr double kUnknownPenalty = 10;

class UnigramTokenizer final : public TextTokenizer {
 public:
  UnigramTokenizer(Vocabulary from, Setup setup, bool space_prefix)
      : TextTokenizer(std::move(from), std::move(setup)), space_prefix_(space_prefix) {
    double least = std::numeric_limits<double>::infinity();
    for (TokenId id = 0; id < vocabulary().size(); ++id) {
      if (!IsPiece(id)) continue;
      longest_ = std::max(longest_, vocabulary().text(id).size());
      least = std::min<double>(least, vocabulary().score(id));
    }
    unknown_score_ = least - kUnknownPenalty;
  }

 private:
  // The best way to segment the text up to a place.
  struct Best {
    double score = -std::numeric_limits<double>::infinity();
    uint32_t bytes = 0;     // of its last token
    TokenId id = kNoToken;  // kNoToken: a character without a token
  };

  bool IsPiece(TokenId id) const {
    const TokenType type = vocabulary().type(id);
    return !vocabulary().text(id).empty() && (type == TokenType::kNormal || type == TokenType::kUserDefined);
  }

  absl::Status EncodeFragment(std::string_view fragment, std::vector<TokenId>& ids) const override {
    const std::string text = (space_prefix_ ? "\u2581" : "") + SpellSpaces(fragment);
    std::vector<Best> best(text.size() + 1);
    best[0].score = 0;
    for (size_t i = 0; i < text.size(); i += Utf8Length(text[i])) Extend(text, i, best);
    std::vector<size_t> ends;
    for (size_t end = text.size(); end > 0; end -= best[end].bytes) ends.push_back(end);
    bool after_unknown = false;
    for (auto end = ends.rbegin(); end != ends.rend(); ++end) {
      const Best& token = best[*end];
      if (token.id != kNoToken)
        ids.push_back(token.id);
      else
        AppendUnknown(std::string_view(text).substr(*end - token.bytes, token.bytes), after_unknown, ids);
      after_unknown = token.id == kNoToken;
    }
    return absl::OkStatus();
  }

  // Every token, or the unknown character, that begins at `begin`.
  void Extend(const std::string& text, size_t begin, std::vector<Best>& best) const {
    const size_t character = Utf8Length(text[begin]), limit = std::min(longest_, text.size() - begin);
    bool covered = false;  // the single character is a token
    for (size_t bytes = character; bytes <= limit;) {
      const TokenId id = vocabulary().Find(std::string_view(text).substr(begin, bytes));
      if (id != kNoToken && IsPiece(id)) {
        covered |= bytes == character;
        Offer(best[begin].score + vocabulary().score(id), bytes, id, best[begin + bytes]);
      }
      if (begin + bytes == text.size()) break;
      bytes += Utf8Length(text[begin + bytes]);
    }
    if (!covered) Offer(best[begin].score + unknown_score_, character, kNoToken, best[begin + character]);
  }

  static void Offer(double score, size_t bytes, TokenId id, Best& best) {
    if (score > best.score) best = {score, static_cast<uint32_t>(bytes), id};
  }

  // As bytes where the vocabulary has them; else one unknown token for a run of characters.
  void AppendUnknown(std::string_view character, bool after_unknown, std::vector<TokenId>& ids) const {
    const bool has_bytes = std::all_of(character.begin(), character.end(), [&](char byte) {
      return vocabulary().byte_token(static_cast<uint8_t>(byte)) != kNoToken;
    });
    if (has_bytes) {
      for (char byte : character) ids.push_back(vocabulary().byte_token(static_cast<uint8_t>(byte)));
    } else if (!after_unknown && vocabulary().unknown() != kNoToken) {
      ids.push_back(vocabulary().unknown());
    }
  }

  const bool space_prefix_;
  size_t longest_ = 0;  // bytes of the longest token
  double unknown_score_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeUnigramTokenizer(const Metadata& metadata,
                                                                      Vocabulary vocabulary) {
  TextTokenizer::Setup setup;
  ASSIGN_OR_RETURN(setup.add_bos, FlagOr(metadata, "tokenizer.ggml.add_bos_token", false));
  ASSIGN_OR_RETURN(setup.add_eos, FlagOr(metadata, "tokenizer.ggml.add_eos_token", false));
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
