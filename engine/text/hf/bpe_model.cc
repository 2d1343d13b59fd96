#include "engine/text/hf/bpe_model.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"
#include "engine/base/utf8.h"

namespace ropeway::hf {
namespace {

// "left right" or ["left", "right"].
absl::StatusOr<std::pair<std::string, std::string>> PairOf(const JsonFields& model, const Json& merge,
                                                           size_t place) {
  const std::string where = absl::StrCat("must hold pairs of tokens, does not at ", place);
  if (merge.is_array()) {
    if (merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string())
      return model.Invalid("merges", where);
    return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (!merge.is_string()) return model.Invalid("merges", where);
  const std::string& line = merge.get_ref<const std::string&>();
  const size_t space = line.find(' ');
  if (space == line.npos || line.find(' ', space + 1) != line.npos) return model.Invalid("merges", where);
  return std::pair(line.substr(0, space), line.substr(space + 1));
}

}  // namespace

absl::StatusOr<BpeModel> BpeModel::Read(const JsonFields& model, const Vocabulary& vocabulary) {
  BpeModel made(vocabulary);
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    ASSIGN_OR_RETURN(const std::string affix, model.StringOr(key, ""));
    if (!affix.empty()) return model.Unsupported(key, "is not supported");
  }
  if (const Json* dropout = model.Find("dropout"); dropout != nullptr && *dropout != 0) {
    return model.Unsupported("dropout", "is for training and is not supported");
  }
  ASSIGN_OR_RETURN(made.byte_fallback_, model.BoolOr("byte_fallback", false));
  ASSIGN_OR_RETURN(made.fuse_unknown_, model.BoolOr("fuse_unk", false));
  ASSIGN_OR_RETURN(made.ignore_merges_, model.BoolOr("ignore_merges", false));
  RETURN_IF_ERROR(made.ReadMerges(model));
  return made;
}

absl::Status BpeModel::ReadMerges(const JsonFields& model) {
  ASSIGN_OR_RETURN(const Json* merges, model.Array("merges"));
  for (size_t i = 0; i < merges->size(); ++i) {
    ASSIGN_OR_RETURN(const auto pair, PairOf(model, (*merges)[i], i));
    const TokenId left = vocabulary_->Find(pair.first), right = vocabulary_->Find(pair.second);
    const TokenId merged = vocabulary_->Find(pair.first + pair.second);
    if (left == kNoToken || right == kNoToken || merged == kNoToken) {
      return model.Invalid("merges", absl::StrCat("names at ", i, " what is not in the vocabulary: '",
                                                  Printable(pair.first, 64), "', '",
                                                  Printable(pair.second, 64), "' or the two together"));
    }
    // Text alone never becomes a control token.
    if (vocabulary_->type(merged) == TokenType::kControl) continue;
    merges_.Set(left, right, {merged, static_cast<int64_t>(i)});
  }
  return absl::OkStatus();
}

TokenId BpeModel::FindPlain(std::string_view text) const {
  const TokenId id = vocabulary_->Find(text);
  if (id == kNoToken || vocabulary_->IsBesideTheModel(id)) return kNoToken;
  const TokenType type = vocabulary_->type(id);
  return type == TokenType::kControl || type == TokenType::kUnused ? kNoToken : id;
}

// One symbol for each character; for one without a token its bytes, the unknown token, or nothing.
std::vector<Symbol> BpeModel::SymbolsOf(std::string_view piece) const {
  std::vector<Symbol> symbols;
  uint32_t place = 0;  // symbols stand side by side, wherever in the piece they come from
  const auto add = [&](TokenId id) { symbols.push_back({place++, 1, id}); };
  bool after_unknown = false;
  for (size_t i = 0; i < piece.size();) {
    const size_t length = Utf8Length(piece[i]);
    const std::string_view character = piece.substr(i, length);
    i += length;
    bool known = true;
    if (const TokenId id = FindPlain(character); id != kNoToken) {
      add(id);
    } else {
      known = byte_fallback_;
      for (const char byte : character) {
        known = known && vocabulary_->byte_token(static_cast<uint8_t>(byte)) != kNoToken;
      }
      if (known) {
        for (const char byte : character) add(vocabulary_->byte_token(static_cast<uint8_t>(byte)));
      } else if (vocabulary_->unknown() != kNoToken && !(fuse_unknown_ && after_unknown)) {
        add(vocabulary_->unknown());
      }
    }
    after_unknown = !known;
  }
  return symbols;
}

void BpeModel::Encode(std::string_view piece, std::vector<TokenId>& ids) const {
  if (ignore_merges_) {
    if (const TokenId id = FindPlain(piece); id != kNoToken) {
      ids.push_back(id);
      return;
    }
  }
  std::vector<Symbol> symbols = SymbolsOf(piece);
  MergeSymbols(symbols,
               [&](const Symbol& left, const Symbol& right) { return merges_.Find(left.id, right.id); });
  for (const Symbol& symbol : symbols) ids.push_back(symbol.id);
}

}  // namespace ropeway::hf
