// What all tokenizers have in common: special tokens, BOS and EOS, and the bytes of tokens. A kind of
// tokenizer adds how the text between special tokens is encoded.
#ifndef ROPEWAY_ENGINE_TEXT_TEXT_TOKENIZER_H_
#define ROPEWAY_ENGINE_TEXT_TEXT_TOKENIZER_H_

#include <string>
#include <string_view>
#include <vector>

#include "engine/text/special_tokens.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocabulary.h"

namespace ropeway {

class TextTokenizer : public Tokenizer {
 public:
  // How a vocabulary is set up beside its tokens.
  struct Setup {
    std::vector<std::string>
        bytes;  // [vocabulary] what each token stands for; those of control tokens are cleared
    bool add_bos = false, add_eos = false;
    bool strips_leading_space = false;
    bool control_eats_space = false;  // white space behind control tokens belongs to them
  };

  using Tokenizer::Encode;
  absl::StatusOr<std::vector<TokenId>> Encode(absl::Span<const TextSegment> segments,
                                              const EncodeOptions& options) const override;
  std::string_view TokenBytes(TokenId id) const override { return bytes_[id]; }
  std::string_view TokenText(TokenId id) const override { return vocabulary_.text(id); }
  int32_t vocab_size() const override { return vocabulary_.size(); }
  bool IsControl(TokenId id) const override { return vocabulary_.type(id) == TokenType::kControl; }
  bool IsEndOfGeneration(TokenId id) const override { return vocabulary_.IsEndOfGeneration(id); }
  TokenId bos_id() const override { return vocabulary_.bos(); }
  TokenId eos_id() const override { return vocabulary_.eos(); }
  bool strips_leading_space() const override { return strips_leading_space_; }

 protected:
  TextTokenizer(Vocabulary vocabulary, Setup setup);

  // Encodes valid UTF-8 without special tokens. REQUIRES: fragment is not empty.
  virtual absl::Status EncodeFragment(std::string_view fragment, std::vector<TokenId>& ids) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  bool EatsSpace(TokenId id) const;

  const Vocabulary vocabulary_;
  const SpecialTokens special_;
  std::vector<std::string> bytes_;
  const bool add_bos_, add_eos_, strips_leading_space_, control_eats_space_;
};

// The add_* keys; `or_default` where absent.
absl::StatusOr<bool> FlagOr(const Metadata& metadata, std::string_view key, bool or_default);

// Bytes that token `id` stands for where spaces are spelt U+2581 and bytes <0xNN>.
std::string SentencePieceBytes(const Vocabulary& vocabulary, TokenId id);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_TEXT_TOKENIZER_H_
