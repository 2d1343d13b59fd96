#include "engine/text/sentencepiece_normalizer.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/base/utf8.h"
#include "engine/text/normalize.h"
#include "engine/text/text_tokenizer.h"

namespace ropeway {
namespace {

constexpr absl::string_view kSpace = "\u2581";

// GGUF files have bytes as an array of numbers, with or without a sign.
absl::StatusOr<Charsmap> ReadCharsmap(const Metadata& metadata) {
  const auto invalid = [](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat("metadata key '", kCharsmapKey, "' ", what));
  };
  ASSIGN_OR_RETURN(const std::vector<int64_t>* numbers, metadata.GetInts(kCharsmapKey));
  std::string bytes;
  for (const int64_t number : *numbers) {
    if (number < -128 || number > 255) return invalid(absl::StrCat("must hold bytes, holds ", number));
    bytes += static_cast<char>(number);
  }
  absl::StatusOr<Charsmap> charsmap = Charsmap::Read(bytes);
  if (!charsmap.ok()) return invalid(std::string(charsmap.status().message()));
  return charsmap;
}

size_t LeadingSpaces(std::string_view text) {
  const size_t first = text.find_first_not_of(' ');
  return first == std::string_view::npos ? text.size() : first;
}

}  // namespace

absl::StatusOr<SentencePieceNormalizer> SentencePieceNormalizer::Read(const Metadata& metadata) {
  SentencePieceNormalizer normalizer;
  ASSIGN_OR_RETURN(normalizer.adds_prefix_, FlagOr(metadata, kSpacePrefixKey, true));
  ASSIGN_OR_RETURN(normalizer.removes_extra_spaces_, FlagOr(metadata, kExtraSpacesKey, false));
  if (metadata.Has(kCharsmapKey)) {
    ASSIGN_OR_RETURN(normalizer.charsmap_, ReadCharsmap(metadata));
  }
  return normalizer;
}

Charsmap::Match SentencePieceNormalizer::Next(std::string_view text) const {
  if (charsmap_.has_value())
    if (const std::optional<Charsmap::Match> match = charsmap_->Longest(text)) return *match;
  const size_t bytes = Utf8Length(text[0]);
  return {bytes, text.substr(0, bytes)};
}

absl::StatusOr<std::string> SentencePieceNormalizer::Apply(std::string_view text) const {
  std::string out;
  bool after_space = removes_extra_spaces_;  // so that none begins the text
  for (size_t i = 0; i < text.size();) {
    const Charsmap::Match next = Next(text.substr(i));
    i += next.bytes;
    const std::string_view piece = next.replacement.substr(after_space ? LeadingSpaces(next.replacement) : 0);
    out += piece;
    if (!piece.empty()) after_space = removes_extra_spaces_ && piece.back() == ' ';
    RETURN_IF_ERROR(CheckGrowth(text.size(), out.size()));
  }
  if (text.empty()) return out;
  std::string spelt = SpellSpaces(adds_prefix_ ? absl::StrCat(" ", out) : out);
  // The space in front, too, where nothing stands behind it.
  while (removes_extra_spaces_ && absl::EndsWith(spelt, kSpace)) spelt.resize(spelt.size() - kSpace.size());
  return spelt;
}

}  // namespace ropeway
