// Finds stop strings in text that comes in pieces, and holds back what may be the beginning of one.
//
// Not thread-safe. The result does not depend on how the text is cut: the match that ends first wins, the
// longest among those that end together.
#ifndef ROPEWAY_ENGINE_TEXT_STOP_MATCHER_H_
#define ROPEWAY_ENGINE_TEXT_STOP_MATCHER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace ropeway {

class StopMatcher {
 public:
  // REQUIRES: none of `stop_strings` is empty. With `include_match`, the text ends after the match, not
  // before it.
  explicit StopMatcher(const std::vector<std::string>& stop_strings, bool include_match = false);
  StopMatcher(const StopMatcher&) = delete;
  StopMatcher& operator=(const StopMatcher&) = delete;

  // The text that is now known to lie before any match. Nothing after a match.
  std::string Push(absl::string_view text);

  // The end of the text: what was held back.
  std::string Flush();

  // The stop string that was met; null where none was.
  const std::string* matched() const { return matched_; }

 private:
  // Knuth, Morris and Pratt: how much of `text` the end of the input matches, updated byte by byte.
  struct Pattern {
    std::string text;
    std::vector<size_t> fallback;  // of each prefix, its longest proper border
    size_t matched = 0;
    void Advance(char c);
  };

  const bool include_match_;
  std::vector<Pattern> patterns_;
  std::string held_;  // the end of the input that may begin a match
  const std::string* matched_ = nullptr;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_STOP_MATCHER_H_
