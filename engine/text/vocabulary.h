// The tokens of a model file and what they are, as the tokenizer.ggml.* keys say.
//
// Immutable after it was read; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_VOCABULARY_H_
#define ROPEWAY_ENGINE_TEXT_VOCABULARY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "engine/api/token.h"
#include "engine/base/metadata.h"

namespace ropeway {

// As files number them.
enum class TokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// A key beside those of GGUF: tokens that end a generation.
inline constexpr char kEndTokensKey[] = "ropeway.tokens_that_end";

// The byte that "<0x0A>" stands for; nullopt for any other spelling.
std::optional<uint8_t> ByteOf(std::string_view text);

// What a vocabulary is made from, by token id.
struct VocabularyParts {
  std::string model, pre, model_name;
  std::vector<std::string> tokens;
  std::vector<TokenType> types;  // [tokens], or empty: all normal
  std::vector<float> scores;     // [tokens], or empty: all 0
  TokenId bos = kNoToken, eos = kNoToken, unknown = kNoToken;
  std::vector<TokenId> end_of_generation;  // beside eos and the spellings that are known
  std::vector<TokenId> beside_the_model;   // found where they are spelt, never made of pieces
};

class Vocabulary {
 public:
  // From the tokenizer.ggml.* keys of a model file.
  static absl::StatusOr<Vocabulary> Read(const Metadata& metadata);
  // REQUIRES: types and scores fit the tokens, and ids are in range. INVALID_ARGUMENT for a token that is too
  // long or no UTF-8.
  static absl::StatusOr<Vocabulary> Make(VocabularyParts parts);

  Vocabulary(Vocabulary&&) = default;

  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }
  const std::string& text(TokenId id) const { return tokens_[id]; }
  TokenType type(TokenId id) const { return types_[id]; }
  float score(TokenId id) const { return scores_[id]; }

  // A row that only pads the embedding matrix: "[PAD<its own id>]".
  bool IsFiller(TokenId id) const;

  // The token spelt `text`, whatever its type, the first of equals; kNoToken when there is none.
  TokenId Find(std::string_view text) const;

  // The token <0xNN> of a byte; kNoToken when there is none.
  TokenId byte_token(uint8_t byte) const { return byte_tokens_[byte]; }

  const std::string& model() const { return model_; }            // tokenizer.ggml.model
  const std::string& pre() const { return pre_; }                // tokenizer.ggml.pre; empty when absent
  const std::string& model_name() const { return model_name_; }  // general.name; empty when absent
  TokenId bos() const { return bos_; }
  TokenId eos() const { return eos_; }
  TokenId unknown() const { return unknown_; }
  bool IsEndOfGeneration(TokenId id) const;

  // Whether the model that makes tokens of pieces of text does not know the token.
  bool IsBesideTheModel(TokenId id) const { return beside_the_model_.contains(id); }

 private:
  Vocabulary() = default;
  absl::Status IndexTokens();
  void FindEnds();

  std::string model_, pre_, model_name_;
  std::vector<std::string> tokens_;
  std::vector<TokenType> types_;                        // [size]
  std::vector<float> scores_;                           // [size]
  absl::flat_hash_map<std::string_view, TokenId> ids_;  // keys point into tokens_, whose strings never move
  std::vector<TokenId> byte_tokens_ = std::vector<TokenId>(256, kNoToken);
  TokenId bos_ = kNoToken, eos_ = kNoToken, unknown_ = kNoToken;
  std::vector<TokenId> end_of_generation_;  // ascending
  absl::flat_hash_set<TokenId> beside_the_model_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_VOCABULARY_H_
