// Turns a stream of token ids into text that can be shown at once: never half a code point.
//
// Not thread-safe: one object per stream.
#ifndef ROPEWAY_ENGINE_TEXT_DETOKENIZER_H_
#define ROPEWAY_ENGINE_TEXT_DETOKENIZER_H_

#include <string>

#include "engine/api/token.h"
#include "engine/text/tokenizer.h"

namespace ropeway {

class Detokenizer {
 public:
  // `tokenizer` outlives this object. With `at_start`, a leading space that SentencePiece adds to texts is
  // taken off.
  explicit Detokenizer(const Tokenizer& tokenizer, bool at_start = false);

  // The text that became certain with `id`; empty while a code point is incomplete. Bytes that can no longer
  // become valid UTF-8 are shown as U+FFFD. REQUIRES: 0 <= id < vocab_size().
  std::string Push(TokenId id);

  // What the end of the stream adds: U+FFFD for an incomplete code point.
  std::string Flush();

 private:
  const Tokenizer& tokenizer_;
  bool at_start_;
  std::string pending_;  // bytes of an incomplete code point
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_DETOKENIZER_H_
