// What all tokenizers have in common: special tokens, BOS and EOS, and the bytes of tokens. A kind of
// tokenizer adds how the text between special tokens is encoded.
#ifndef ROPEWAY_ENGINE_TEXT_TEXT_TOKENIZER_H_
#define ROPEWAY_ENGINE_TEXT_TEXT_TOKENIZER_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/text/special_tokens.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocabulary.h"

namespace ropeway {

class TextTokenizer : public Tokenizer {
 public:
  // How a special token stands in a text.
  struct SpecialTraits {
    bool eats_left = false, eats_right = false;  // white space beside it belongs to it
    bool whole_word = false;                     // it counts only where no word goes on beside it
  };

  // How a vocabulary is set up beside its tokens.
  struct Setup {
    // [vocabulary] what each token stands for; those of control tokens are cleared
    std::vector<std::string> bytes;
    std::vector<TokenId> prefix, suffix;  // that frame a text where add_special is asked for
    bool strips_leading_space = false;
    absl::flat_hash_map<TokenId, SpecialTraits> traits;  // of special tokens that have any
    // Those that are searched for; absent: all control and user-defined tokens of the vocabulary.
    std::optional<SpecialTokens> special;
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

  // Encodes valid UTF-8 without special tokens; `at_start` of the whole text. REQUIRES: fragment is not
  // empty.
  virtual absl::Status EncodeFragment(std::string_view fragment, bool at_start,
                                      std::vector<TokenId>& ids) const = 0;

  // A special token of a text, and the white space that belongs to it.
  struct Special {
    size_t begin, end;
    TokenId id;
  };
  // Those of `text` among `tokens`, as their traits allow, from left to right. `control_limits`: as SpecialTokens::At takes
  // them, by byte; empty: no control tokens.
  std::vector<Special> FindSpecial(const SpecialTokens& tokens, std::string_view text,
                                   absl::Span<const size_t> control_limits) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  SpecialTraits TraitsOf(TokenId id) const;

  const Vocabulary vocabulary_;
  const SpecialTokens special_;
  std::vector<std::string> bytes_;
  const std::vector<TokenId> prefix_, suffix_;
  const bool strips_leading_space_;
  const absl::flat_hash_map<TokenId, SpecialTraits> traits_;
};

// A key that is true or false; `or_default` where absent.
absl::StatusOr<bool> FlagOr(const Metadata& metadata, std::string_view key, bool or_default);

// Beside the keys of GGUF: tokens that stand in front of every text where special tokens are asked for, whatever
// add_bos_token says; an array of ids.
inline constexpr char kTokensInFrontKey[] = "ropeway.tokens_in_front";

// How the special tokens of a file made from a folder stand in a text: arrays of ids.
inline constexpr char kEatsLeftKey[] = "ropeway.tokens_that_eat_left";
inline constexpr char kEatsRightKey[] = "ropeway.tokens_that_eat_right";
inline constexpr char kWholeWordKey[] = "ropeway.tokens_that_are_words";

// The add_bos_token and add_eos_token keys, as prefix and suffix, and the traits of special tokens; `add_bos`
// is the default of the first.
absl::Status ReadSpecialKeys(const Metadata& metadata, const Vocabulary& vocabulary, bool add_bos,
                             TextTokenizer::Setup& setup);

// A character without a token: its bytes where the vocabulary has them; else one unknown token for a run of such.
void AppendUnknown(const Vocabulary& vocabulary, std::string_view character, bool after_unknown,
                   std::vector<TokenId>& ids);

// Bytes that token `id` stands for where spaces are spelt U+2581 and bytes <0xNN>.
std::string SentencePieceBytes(const Vocabulary& vocabulary, TokenId id);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_TEXT_TOKENIZER_H_
