// Byte-pair encoding as a tokenizer.json describes it: pieces of text, merged pair by pair by rank.
//
// Immutable after it was read; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_HF_BPE_MODEL_H_
#define ROPEWAY_ENGINE_TEXT_HF_BPE_MODEL_H_

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/hf/json_fields.h"
#include "engine/text/merge_ranks.h"
#include "engine/text/vocabulary.h"

namespace ropeway::hf {

class BpeModel {
 public:
  // `vocabulary` outlives the model.
  static absl::StatusOr<BpeModel> Read(const JsonFields& model, const Vocabulary& vocabulary);

  // Appends the tokens of `piece`, valid UTF-8. Control tokens never come out of text.
  void Encode(std::string_view piece, std::vector<TokenId>& ids) const;

 private:
  explicit BpeModel(const Vocabulary& vocabulary) : vocabulary_(&vocabulary) {}
  absl::Status ReadMerges(const JsonFields& model);
  TokenId FindPlain(std::string_view text) const;
  std::vector<Symbol> SymbolsOf(std::string_view piece) const;

  const Vocabulary* vocabulary_;
  MergeRanks merges_;
  bool byte_fallback_ = false;
  bool fuse_unknown_ = false;   // neighbouring unknown characters are one unknown token
  bool ignore_merges_ = false;  // a piece that is a token is taken whole
};

}  // namespace ropeway::hf

#endif  // ROPEWAY_ENGINE_TEXT_HF_BPE_MODEL_H_
