#include "engine/text/text_tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/status_macros.h"
#include "engine/text/utf8.h"
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

}  // namespace

TextTokenizer::TextTokenizer(Vocabulary vocabulary, Setup setup)
    : vocabulary_(std::move(vocabulary)),
      special_(vocabulary_),
      bytes_(std::move(setup.bytes)),
      add_bos_(setup.add_bos && vocabulary_.bos() != kNoToken),
      add_eos_(setup.add_eos && vocabulary_.eos() != kNoToken),
      strips_leading_space_(setup.strips_leading_space),
      control_eats_space_(setup.control_eats_space) {
  for (TokenId id = 0; id < vocabulary_.size(); ++id)
    if (IsControl(id) || vocabulary_.type(id) == TokenType::kUnknown) bytes_[id].clear();
}

// Phi-3's tokens for turns do; those for the beginning, the unknown and the end of a text do not.
bool TextTokenizer::EatsSpace(TokenId id) const {
  if (!control_eats_space_) return false;
  const std::string& text = vocabulary_.text(id);
  return text != "<unk>" && text != "<s>" && text != "<|endoftext|>";
}

absl::StatusOr<std::vector<TokenId>> TextTokenizer::Encode(absl::Span<const TextSegment> segments,
                                                           const EncodeOptions& options) const {
  ASSIGN_OR_RETURN(const Joined joined, Join(segments, options.parse_special));
  const std::string_view text = joined.text;
  std::vector<TokenId> ids;
  if (options.add_special && add_bos_) ids.push_back(bos_id());
  size_t start = 0;  // of the fragment that is not encoded yet
  for (size_t i = 0; i < text.size();) {
    const SpecialTokens::Match match = special_.At(text, i, joined.trusted_until[i]);
    if (match.bytes == 0) {
      ++i;
      continue;
    }
    if (start < i) RETURN_IF_ERROR(EncodeFragment(text.substr(start, i - start), ids));
    ids.push_back(match.id);
    i += match.bytes;
    if (EatsSpace(match.id)) i += LeadingWhiteSpace(text.substr(i));
    start = i;
  }
  if (start < text.size()) RETURN_IF_ERROR(EncodeFragment(text.substr(start), ids));
  if (options.add_special && add_eos_) ids.push_back(eos_id());
  return ids;
}

absl::StatusOr<bool> FlagOr(const Metadata& metadata, std::string_view key, bool or_default) {
  return ValueOr<bool>(metadata.GetBool(key), or_default);
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
