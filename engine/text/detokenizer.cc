#include "engine/text/detokenizer.h"

#include <utility>

#include "engine/base/check.h"
#include "engine/base/utf8.h"

namespace ropeway {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

}  // namespace

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool at_start)
    : tokenizer_(tokenizer), at_start_(at_start) {}

std::string Detokenizer::Push(TokenId id) {
  ROPEWAY_DCHECK(id >= 0 && id < tokenizer_.vocab_size());
  const std::string_view bytes = tokenizer_.TokenBytes(id);
  pending_.append(bytes);
  if (at_start_ && !pending_.empty()) {
    if (tokenizer_.strips_leading_space() && pending_[0] == ' ') pending_.erase(0, 1);
    at_start_ = false;
  }
  std::string shown;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Step step = NextUtf8(rest);
    if (step.kind == Utf8Step::kIncomplete) break;
    shown.append(step.kind == Utf8Step::kCodePoint ? rest.substr(0, step.bytes) : kReplacement);
    rest.remove_prefix(step.bytes);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return shown;
}

std::string Detokenizer::Flush() {
  // What is pending is one maximal prefix of a code point.
  return std::exchange(pending_, {}).empty() ? std::string() : std::string(kReplacement);
}

}  // namespace ropeway
