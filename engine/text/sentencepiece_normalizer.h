// What SentencePiece makes of a text before it looks for tokens: replacements by its table, the longest key first; spaces
// taken off both ends and runs of them made one, where the model asks for it; a space in front, where it asks for that;
// every space spelt U+2581.
//
// Immutable after it was read; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_SENTENCEPIECE_NORMALIZER_H_
#define ROPEWAY_ENGINE_TEXT_SENTENCEPIECE_NORMALIZER_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/metadata.h"
#include "engine/text/charsmap.h"

namespace ropeway {

inline constexpr char kCharsmapKey[] = "tokenizer.ggml.precompiled_charsmap";
inline constexpr char kExtraSpacesKey[] = "tokenizer.ggml.remove_extra_whitespaces";
inline constexpr char kSpacePrefixKey[] = "tokenizer.ggml.add_space_prefix";

class SentencePieceNormalizer {
 public:
  // As the keys say. INVALID_ARGUMENT for one that is wrong.
  static absl::StatusOr<SentencePieceNormalizer> Read(const Metadata& metadata);

  bool adds_prefix() const { return adds_prefix_; }

  // "" for a text of which nothing is left. RESOURCE_EXHAUSTED as CheckGrowth says. REQUIRES: valid UTF-8.
  absl::StatusOr<std::string> Apply(std::string_view text) const;

 private:
  SentencePieceNormalizer() = default;
  // What the beginning of `text` becomes, and how many bytes of it that is.
  Charsmap::Match Next(std::string_view text) const;

  std::optional<Charsmap> charsmap_;
  bool adds_prefix_ = true;
  bool removes_extra_spaces_ = false;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_SENTENCEPIECE_NORMALIZER_H_
