// How a tokenizer.json cuts a text into pieces that tokens never cross.
#ifndef ROPEWAY_ENGINE_TEXT_HF_PRE_TOKENIZERS_H_
#define ROPEWAY_ENGINE_TEXT_HF_PRE_TOKENIZERS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/hf/json_fields.h"

namespace ropeway::hf {

struct Piece {
  std::string text;
  bool at_start = false;  // of the whole input
};

// Replaces pieces by finer or changed ones, none of them empty. Thread-safe.
using PieceSplitter = std::function<absl::Status(std::vector<Piece>& pieces)>;

// The field "pre_tokenizer" of `document`; null where there is none. UNIMPLEMENTED for a kind that is not
// known.
absl::StatusOr<PieceSplitter> ReadPreTokenizer(const JsonFields& document);

}  // namespace ropeway::hf

#endif  // ROPEWAY_ENGINE_TEXT_HF_PRE_TOKENIZERS_H_
