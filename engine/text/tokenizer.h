// Text to token ids and back, as a model file's vocabulary defines it.
//
// Thread-safe: a Tokenizer is immutable after it was made.
#ifndef ROPEWAY_ENGINE_TEXT_TOKENIZER_H_
#define ROPEWAY_ENGINE_TEXT_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/api/token.h"
#include "engine/base/metadata.h"

namespace ropeway {

// A piece of a rendered prompt. What a user wrote is never read as control tokens; what the template wrote
// is.
struct TextSegment {
  std::string text;
  bool trusted = false;
};

struct EncodeOptions {
  bool parse_special = false;  // read control tokens spelt in the text (in trusted segments only) as one id
  bool add_special = true;     // add BOS and EOS where the vocabulary asks for them
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // `text` is valid UTF-8 (INVALID_ARGUMENT otherwise, with the offset of the first bad byte). Time grows
  // nearly linearly with its length.
  absl::StatusOr<std::vector<TokenId>> Encode(std::string_view text, const EncodeOptions& options) const;

  // Encodes the concatenation of `segments` as if it was one text, but reads control tokens only where they
  // lie wholly in trusted segments.
  virtual absl::StatusOr<std::vector<TokenId>> Encode(absl::Span<const TextSegment> segments,
                                                      const EncodeOptions& options) const = 0;

  // The bytes that `id` stands for inside a text; empty for control and unknown ids. REQUIRES: 0 <= id <
  // vocab_size().
  virtual std::string_view TokenBytes(TokenId id) const = 0;

  // The spelling of `id` in the vocabulary ("<|im_end|>"), control tokens included. REQUIRES: as TokenBytes.
  virtual std::string_view TokenText(TokenId id) const = 0;

  virtual int32_t vocab_size() const = 0;
  virtual bool IsControl(TokenId id) const = 0;
  virtual bool IsEndOfGeneration(TokenId id) const = 0;  // EOS, end of turn and their kin
  virtual TokenId bos_id() const = 0;                    // kNoToken where there is none, as for the others
  virtual TokenId eos_id() const = 0;
  // SentencePiece vocabularies put a space before the first word, which decoding takes off again.
  virtual bool strips_leading_space() const = 0;
};

// Reads the tokenizer.ggml.* keys. UNIMPLEMENTED for a model or pre-tokenizer that is not supported, naming
// those that are; INVALID_ARGUMENT for a vocabulary that contradicts itself.
absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeTokenizer(const Metadata& metadata);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_TOKENIZER_H_
