#include "engine/text/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"

namespace ropeway {

StopMatcher::StopMatcher(const std::vector<std::string>& stop_strings, bool include_match)
    : include_match_(include_match) {
  patterns_.reserve(stop_strings.size());  // matched_ points into it
  for (const std::string& text : stop_strings) {
    ROPEWAY_CHECK(!text.empty());
    Pattern pattern = {.text = text, .fallback = std::vector<size_t>(text.size() + 1, 0)};
    for (size_t i = 1, border = 0; i < text.size(); ++i) {
      while (border > 0 && text[i] != text[border]) border = pattern.fallback[border];
      if (text[i] == text[border]) ++border;
      pattern.fallback[i + 1] = border;
    }
    patterns_.push_back(std::move(pattern));
  }
}

void StopMatcher::Pattern::Advance(char c) {
  while (matched > 0 && text[matched] != c) matched = fallback[matched];
  if (text[matched] == c) ++matched;
}

std::string StopMatcher::Push(absl::string_view text) {
  if (matched_ != nullptr) return "";
  std::string certain = std::exchange(held_, "");
  size_t longest = 0;
  for (const Pattern& pattern : patterns_) longest = std::max(longest, pattern.matched);
  for (const char c : text) {
    certain.push_back(c);
    longest = 0;
    const Pattern* met = nullptr;
    for (Pattern& pattern : patterns_) {
      pattern.Advance(c);
      longest = std::max(longest, pattern.matched);
      const bool whole = pattern.matched == pattern.text.size();
      if (whole && (met == nullptr || pattern.text.size() > met->text.size())) met = &pattern;
    }
    if (met != nullptr) {
      matched_ = &met->text;
      if (!include_match_) certain.resize(certain.size() - met->text.size());
      return certain;
    }
  }
  held_ = certain.substr(certain.size() - longest);
  certain.resize(certain.size() - longest);
  return certain;
}

std::string StopMatcher::Flush() { return std::exchange(held_, ""); }

}  // namespace ropeway
