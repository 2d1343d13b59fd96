// A tokenizer for tests whose ids can be read: every byte is a token, and a few control tokens follow. What the
// vocabulary of a model has beyond them are tokens without a text.
#ifndef ROPEWAY_TESTS_TESTING_BYTE_TOKENIZER_H_
#define ROPEWAY_TESTS_TESTING_BYTE_TOKENIZER_H_

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/text/tokenizer.h"

namespace ropeway::testing {

class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr TokenId kBos = 256, kEos = 257, kTurnStart = 258, kTurnEnd = 259;
  static constexpr int32_t kVocabSize = 260;

  explicit ByteTokenizer(int32_t vocab_size = kVocabSize) : vocab_size_(vocab_size) {
    for (int i = 0; i < 256; ++i) bytes_[i] = static_cast<char>(i);
  }

  using Tokenizer::Encode;
  absl::StatusOr<std::vector<TokenId>> Encode(absl::Span<const TextSegment> segments,
                                              const EncodeOptions& options) const override {
    std::vector<TokenId> ids;
    if (options.add_special) ids.push_back(kBos);
    for (const TextSegment& segment : segments) Append(segment, options, ids);
    return ids;
  }

  std::string_view TokenBytes(TokenId id) const override {
    return id < 256 ? std::string_view(&bytes_[id], 1) : std::string_view();
  }
  std::string_view TokenText(TokenId id) const override {
    return IsControl(id) ? kControlTexts[id - 256] : TokenBytes(id);
  }
  int32_t vocab_size() const override { return vocab_size_; }
  bool IsControl(TokenId id) const override { return id >= 256 && id < kVocabSize; }
  bool IsEndOfGeneration(TokenId id) const override { return id == kEos || id == kTurnEnd; }
  TokenId bos_id() const override { return kBos; }
  TokenId eos_id() const override { return kEos; }
  bool strips_leading_space() const override { return false; }

 private:
  static constexpr std::string_view kControlTexts[] = {"<bos>", "<eos>", "<|im_start|>", "<|im_end|>"};

  static void Append(const TextSegment& segment, const EncodeOptions& options, std::vector<TokenId>& ids) {
    for (size_t at = 0; at < segment.text.size();) {
      TokenId found = kNoToken;
      for (TokenId id = 256; id < kVocabSize && options.parse_special && segment.trusted; ++id) {
        if (std::string_view(segment.text).substr(at).starts_with(kControlTexts[id - 256])) found = id;
      }
      if (found == kNoToken) found = static_cast<unsigned char>(segment.text[at]);
      ids.push_back(found);
      at += found < 256 ? 1 : kControlTexts[found - 256].size();
    }
  }

  const int32_t vocab_size_;  // at least kVocabSize
  std::array<char, 256> bytes_;
};

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_BYTE_TOKENIZER_H_
