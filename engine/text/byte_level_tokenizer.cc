// Byte-level BPE (GPT-2): UTF-8 bytes are spelt by printable characters, and pairs of them merged by rank.
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/status_macros.h"
#include "engine/text/merge_ranks.h"
#include "engine/text/normalize.h"
#include "engine/text/pre_tokenizer.h"
#include "engine/text/text_tokenizer.h"
#include "engine/text/tokenizer_kinds.h"
#include "engine/text/utf8.h"

namespace ropeway {
namespace {

std::string SpellCodePoint(int code_point) {  // below U+0800
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3F))};
}

// The character that stands for each byte: printable ones for themselves, the others in order from U+0100 on.
std::array<std::string, 256> ByteSpellings() {
  std::array<std::string, 256> spellings;
  int spare = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    spellings[byte] = SpellCodePoint(printable ? byte : spare++);
  }
  return spellings;
}

class ByteLevelTokenizer final : public TextTokenizer {
 public:
  ByteLevelTokenizer(Vocabulary vocabulary, Setup setup, PreTokenizer pre_tokenizer, MergeRanks merges)
      : TextTokenizer(std::move(vocabulary), std::move(setup)),
        pre_tokenizer_(std::move(pre_tokenizer)),
        merges_(std::move(merges)),
        spellings_(ByteSpellings()) {
    for (int byte = 0; byte < 256; ++byte) byte_ids_[byte] = this->vocabulary().Find(spellings_[byte]);
  }

 private:
  absl::Status EncodeFragment(std::string_view fragment, std::vector<TokenId>& ids) const override {
    std::string normalized;
    if (pre_tokenizer_.traits().nfc) {
      ASSIGN_OR_RETURN(normalized, NormalizeNfc(fragment));
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
      std::string spelt;
      for (char byte : piece) spelt += spellings_[static_cast<uint8_t>(byte)];
      if (const TokenId id = vocabulary().Find(spelt); id != kNoToken) {
        ids.push_back(id);
        return;
      }
    }
    symbols.clear();
    // A byte without a token is left out, so that its neighbours may merge.
    for (char byte : piece)
      if (const TokenId id = byte_ids_[static_cast<uint8_t>(byte)]; id != kNoToken)
        symbols.push_back({static_cast<uint32_t>(symbols.size()), 1, id});
    MergeSymbols(symbols,
                 [&](const Symbol& left, const Symbol& right) { return merges_.Find(left.id, right.id); });
    for (const Symbol& symbol : symbols) ids.push_back(symbol.id);
  }

  const PreTokenizer pre_tokenizer_;
  const MergeRanks merges_;
  const std::array<std::string, 256> spellings_;
  std::array<TokenId, 256> byte_ids_;
};

// The bytes that the characters of a token stand for; its own UTF-8 where one is outside of the table.
std::string BytesOf(const std::string& text, const absl::flat_hash_map<std::string_view, char>& bytes) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8Length(text[i]);
    const auto found = bytes.find(std::string_view(text).substr(i, length));
    if (found == bytes.end()) return text;
    result += found->second;
    i += length;
  }
  return result;
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeByteLevelTokenizer(const Metadata& metadata,
                                                                        Vocabulary vocabulary) {
  ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Make(vocabulary.pre()));
  ASSIGN_OR_RETURN(MergeRanks merges, MergeRanks::Read(metadata, vocabulary));
  TextTokenizer::Setup setup;
  ASSIGN_OR_RETURN(setup.add_bos,
                   FlagOr(metadata, "tokenizer.ggml.add_bos_token", pre_tokenizer.traits().add_bos));
  ASSIGN_OR_RETURN(setup.add_eos, FlagOr(metadata, "tokenizer.ggml.add_eos_token", false));
  const auto spellings = ByteSpellings();
  absl::flat_hash_map<std::string_view, char> bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.emplace(spellings[byte], static_cast<char>(byte));
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const bool literal =
        vocabulary.type(id) == TokenType::kUserDefined || vocabulary.type(id) == TokenType::kControl;
    setup.bytes.push_back(literal ? vocabulary.text(id) : BytesOf(vocabulary.text(id), bytes));
  }
  return std::make_unique<const ByteLevelTokenizer>(std::move(vocabulary), std::move(setup),
                                                    std::move(pre_tokenizer), std::move(merges));
}

}  // namespace ropeway
