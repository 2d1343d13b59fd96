#include "engine/text/text_tokenizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/status_macros.h"
#include "engine/base/utf8.h"
#include "engine/text/white_space.h"

namespace ropeway {
namespace {

// A text in pieces as one, and where control tokens may be read.
struct Joined {
  std::string text;
  std::vector<size_t> trusted_until;  // [text.size()] end of the trusted run that a byte lies in; 0 for none
};

absl::StatusOr<Joined> Join(absl::Span<const TextSegment> segments, bool parse_special) {
  Joined joined;
  for (const TextSegment& segment : segments) joined.text += segment.text;
  if (const size_t bad = FindInvalidUtf8(joined.text); bad != std::string_view::npos)
    return absl::InvalidArgumentError(absl::StrCat("text must be valid UTF-8, is not at byte ", bad));
  joined.trusted_until.assign(joined.text.size(), 0);
  if (!parse_special) return joined;
  size_t end = joined.text.size(), run_end = 0;
  for (size_t i = segments.size(); i-- > 0;) {
    const size_t begin = end - segments[i].text.size();
    if (begin == end) continue;
    if (!segments[i].trusted) {
      run_end = 0;
    } else {
      if (run_end == 0) run_end = end;
      std::fill(joined.trusted_until.begin() + begin, joined.trusted_until.begin() + end, run_end);
    }
    end = begin;
  }
  return joined;
}

// What UTS #18 calls a word: alphabetic characters, marks, digits, and what joins them.
bool IsWord(std::string_view code_point) {
  utf8proc_int32_t value = 0;
  utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(code_point.data()),
                   static_cast<utf8proc_ssize_t>(code_point.size()), &value);
  const utf8proc_category_t category = utf8proc_category(value);
  if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) return true;
  if (category == UTF8PROC_CATEGORY_PC) return true;
  // Signs that are alphabetic, which are letters in circles and squares, and the two joiners.
  constexpr std::pair<utf8proc_int32_t, utf8proc_int32_t> kMore[] = {
      {0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}, {0x200C, 0x200D}};
  return std::any_of(std::begin(kMore), std::end(kMore),
                     [value](const auto& range) { return value >= range.first && value <= range.second; });
}

bool BeginsWithWord(std::string_view text) {
  return !text.empty() && IsWord(text.substr(0, Utf8Length(text[0])));
}

bool EndsInWord(std::string_view text) {
  size_t last = text.size();
  while (last > 0 && (static_cast<unsigned char>(text[--last]) & 0xC0) == 0x80) {
  }
  return !text.empty() && IsWord(text.substr(last));
}

absl::StatusOr<std::vector<TokenId>> IdsUnder(const Metadata& metadata, const char* key, int32_t size) {
  ASSIGN_OR_RETURN(const std::vector<int64_t>* values, metadata.GetInts(key));
  std::vector<TokenId> ids;
  for (const int64_t id : *values) {
    if (id < 0 || id >= size)
      return absl::InvalidArgumentError(
          absl::StrCat("metadata key '", key, "' must hold ids in [0, ", size, "), holds ", id));
    ids.push_back(static_cast<TokenId>(id));
  }
  return ids;
}

}  // namespace

TextTokenizer::TextTokenizer(Vocabulary vocabulary, Setup setup)
    : vocabulary_(std::move(vocabulary)),
      special_(setup.special.has_value() ? *std::move(setup.special) : SpecialTokens(vocabulary_)),
      bytes_(std::move(setup.bytes)),
      prefix_(std::move(setup.prefix)),
      suffix_(std::move(setup.suffix)),
      strips_leading_space_(setup.strips_leading_space),
      traits_(std::move(setup.traits)) {
  for (TokenId id = 0; id < vocabulary_.size(); ++id)
    if (IsControl(id) || vocabulary_.type(id) == TokenType::kUnknown) bytes_[id].clear();
}

TextTokenizer::SpecialTraits TextTokenizer::TraitsOf(TokenId id) const {
  const auto found = traits_.find(id);
  return found == traits_.end() ? SpecialTraits() : found->second;
}

absl::StatusOr<std::vector<TokenId>> TextTokenizer::Encode(absl::Span<const TextSegment> segments,
                                                           const EncodeOptions& options) const {
  ASSIGN_OR_RETURN(const Joined joined, Join(segments, options.parse_special));
  const std::string_view text = joined.text;
  std::vector<TokenId> ids;
  if (options.add_special) ids = prefix_;
  size_t start = 0;  // of the fragment that is not encoded yet
  const auto encode_until = [&](size_t end) -> absl::Status {
    if (start >= end) return absl::OkStatus();
    return EncodeFragment(text.substr(start, end - start), start == 0, ids);
  };
  for (const Special& special : FindSpecial(special_, text, joined.trusted_until)) {
    RETURN_IF_ERROR(encode_until(special.begin));
    ids.push_back(special.id);
    start = special.end;
  }
  RETURN_IF_ERROR(encode_until(text.size()));
  if (options.add_special) ids.insert(ids.end(), suffix_.begin(), suffix_.end());
  return ids;
}

std::vector<TextTokenizer::Special> TextTokenizer::FindSpecial(
    const SpecialTokens& tokens, std::string_view text, absl::Span<const size_t> control_limits) const {
  std::vector<Special> found;
  size_t start = 0;  // behind the one before
  for (size_t i = 0; i < text.size();) {
    const SpecialTokens::Match match = tokens.At(text, i, control_limits.empty() ? 0 : control_limits[i]);
    if (match.bytes == 0) {
      ++i;
      continue;
    }
    const size_t end = i + match.bytes;
    const SpecialTraits traits = TraitsOf(match.id);
    if (traits.whole_word && (EndsInWord(text.substr(0, i)) || BeginsWithWord(text.substr(end)))) {
      i = end;
      continue;
    }
    const size_t eaten =
        traits.eats_left && i > start ? TrailingWhiteSpace(text.substr(start, i - start)) : 0;
    const size_t begin = i - eaten;
    start = i = end + (traits.eats_right ? LeadingWhiteSpace(text.substr(end)) : 0);
    found.push_back({begin, start, match.id});
  }
  return found;
}

absl::Status ReadSpecialKeys(const Metadata& metadata, const Vocabulary& vocabulary, bool add_bos,
                             TextTokenizer::Setup& setup) {
  ASSIGN_OR_RETURN(const bool bos, FlagOr(metadata, "tokenizer.ggml.add_bos_token", add_bos));
  ASSIGN_OR_RETURN(const bool eos, FlagOr(metadata, "tokenizer.ggml.add_eos_token", false));
  if (bos && vocabulary.bos() != kNoToken) setup.prefix = {vocabulary.bos()};
  if (eos && vocabulary.eos() != kNoToken) setup.suffix = {vocabulary.eos()};
  if (metadata.Has(kTokensInFrontKey)) {
    ASSIGN_OR_RETURN(setup.prefix, IdsUnder(metadata, kTokensInFrontKey, vocabulary.size()));
  }
  using Traits = TextTokenizer::SpecialTraits;
  constexpr std::pair<const char*, bool Traits::*> kTraits[] = {{kEatsLeftKey, &Traits::eats_left},
                                                                {kEatsRightKey, &Traits::eats_right},
                                                                {kWholeWordKey, &Traits::whole_word}};
  for (const auto& [key, trait] : kTraits) {
    if (!metadata.Has(key)) continue;
    ASSIGN_OR_RETURN(const std::vector<TokenId> ids, IdsUnder(metadata, key, vocabulary.size()));
    for (const TokenId id : ids) setup.traits[id].*trait = true;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> FlagOr(const Metadata& metadata, std::string_view key, bool or_default) {
  return ValueOr<bool>(metadata.GetBool(key), or_default);
}

void AppendUnknown(const Vocabulary& vocabulary, std::string_view character, bool after_unknown,
                   std::vector<TokenId>& ids) {
  const bool has_bytes = std::all_of(character.begin(), character.end(), [&](char byte) {
    return vocabulary.byte_token(static_cast<uint8_t>(byte)) != kNoToken;
  });
  if (has_bytes) {
    for (char byte : character) ids.push_back(vocabulary.byte_token(static_cast<uint8_t>(byte)));
  } else if (!after_unknown && vocabulary.unknown() != kNoToken) {
    ids.push_back(vocabulary.unknown());
  }
}

std::string SentencePieceBytes(const Vocabulary& vocabulary, TokenId id) {
  const std::string& text = vocabulary.text(id);
  switch (vocabulary.type(id)) {
    case TokenType::kByte:
      for (int byte = 0; byte < 256; ++byte)
        if (vocabulary.byte_token(static_cast<uint8_t>(byte)) == id)
          return std::string(1, static_cast<char>(byte));
      return text;
    case TokenType::kUserDefined:
    case TokenType::kControl:
      return text;
    default:
      return absl::StrReplaceAll(text, {{"\u2581", " "}});
  }
}

}  // namespace ropeway
