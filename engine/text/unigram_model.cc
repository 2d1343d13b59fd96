#include "engine/text/unigram_model.h"

#include <algorithm>

#include "engine/base/utf8.h"
#include "engine/text/text_tokenizer.h"

namespace ropeway {
namespace {

// An unknown character costs this much more than the worst token, as in SentencePiece.
constexpr double kUnknownPenalty = 10;

}  // namespace

UnigramModel::UnigramModel(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
  double least = std::numeric_limits<double>::infinity();
  for (TokenId id = 0; id < vocabulary_.size(); ++id) {
    if (!IsPiece(id)) continue;
    longest_ = std::max(longest_, vocabulary_.text(id).size());
    least = std::min<double>(least, vocabulary_.score(id));
  }
  unknown_score_ = least - kUnknownPenalty;
}

bool UnigramModel::IsPiece(TokenId id) const {
  const TokenType type = vocabulary_.type(id);
  return !vocabulary_.text(id).empty() && !vocabulary_.IsBesideTheModel(id) &&
         (type == TokenType::kNormal || type == TokenType::kUserDefined);
}

void UnigramModel::Encode(std::string_view text, std::vector<TokenId>& ids) const {
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
      AppendUnknown(vocabulary_, text.substr(*end - token.bytes, token.bytes), after_unknown, ids);
    after_unknown = token.id == kNoToken;
  }
}

// Every token, or the unknown character, that begins at `begin`.
void UnigramModel::Extend(std::string_view text, size_t begin, std::vector<Best>& best) const {
  const auto offer = [&](double score, size_t bytes, TokenId id) {
    Best& there = best[begin + bytes];
    if (best[begin].score + score > there.score)
      there = {best[begin].score + score, static_cast<uint32_t>(bytes), id};
  };
  const size_t character = Utf8Length(text[begin]), limit = std::min(longest_, text.size() - begin);
  bool covered = false;  // the single character is a token
  for (size_t bytes = character; bytes <= limit;) {
    const TokenId id = vocabulary_.Find(text.substr(begin, bytes));
    if (id != kNoToken && IsPiece(id)) {
      covered |= bytes == character;
      offer(vocabulary_.score(id), bytes, id);
    }
    if (begin + bytes == text.size()) break;
    bytes += Utf8Length(text[begin + bytes]);
  }
  if (!covered) offer(unknown_score_, character, kNoToken);
}

}  // namespace ropeway
