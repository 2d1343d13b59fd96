// SentencePiece's unigram model: the segmentation with the largest sum of scores, by Viterbi's algorithm over
// the vocabulary. Linear in the text times the longest token.
//
// Immutable after it was made; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_UNIGRAM_MODEL_H_
#define ROPEWAY_ENGINE_TEXT_UNIGRAM_MODEL_H_

#include <limits>
#include <string_view>
#include <vector>

#include "engine/text/vocabulary.h"

namespace ropeway {

class UnigramModel {
 public:
  // `vocabulary` outlives the model.
  explicit UnigramModel(const Vocabulary& vocabulary);

  // Appends the tokens of `text`, valid UTF-8 in which spaces are spelt as the vocabulary spells them.
  void Encode(std::string_view text, std::vector<TokenId>& ids) const;

 private:
  // The best way to segment the text up to a place.
  struct Best {
    double score = -std::numeric_limits<double>::infinity();
    uint32_t bytes = 0;     // of its last token
    TokenId id = kNoToken;  // kNoToken: a character without a token
  };

  bool IsPiece(TokenId id) const;
  void Extend(std::string_view text, size_t begin, std::vector<Best>& best) const;

  const Vocabulary& vocabulary_;
  size_t longest_ = 0;  // bytes of the longest token
  double unknown_score_ = 0;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_UNIGRAM_MODEL_H_
