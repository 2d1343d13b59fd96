// Splits a text into pieces that tokens never cross, as the models' own tokenizers do.
//
// Immutable after it was made; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_PRE_TOKENIZER_H_
#define ROPEWAY_ENGINE_TEXT_PRE_TOKENIZER_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/regex.h"

namespace ropeway {

// What else the name of a pre-tokenizer implies, since files do not say it.
struct PreTokenizerTraits {
  bool nfc = false;            // texts are brought into Unicode's normal form C first
  bool ignore_merges = false;  // a piece that is a token is taken whole
  bool add_bos = false;        // where the file does not say
};

class PreTokenizer {
 public:
  // By the value of tokenizer.ggml.pre. UNIMPLEMENTED for an unknown name, listing those that are known.
  static absl::StatusOr<PreTokenizer> Make(std::string_view name);

  static std::vector<std::string> Names();

  const PreTokenizerTraits& traits() const { return traits_; }

  // Pieces of `text`, in order and without gaps. REQUIRES: valid UTF-8.
  absl::Status Split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  PreTokenizer() = default;

  PreTokenizerTraits traits_;
  std::vector<Regex> stages_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_PRE_TOKENIZER_H_
