#include "engine/text/jinja/text_search.h"

#include <string.h>  // memmem

#include <algorithm>
#include <string>

namespace ropeway::jinja {

size_t FindText(std::string_view text, std::string_view part, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (part.empty()) return from;
  // The standard library's find() may take quadratic time.
  const void* found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t FindLastText(std::string_view text, std::string_view part, size_t end) {
  end = std::min(end, text.size());
  const std::string reversed_text(text.rend() - static_cast<ptrdiff_t>(end), text.rend());
  const std::string reversed_part(part.rbegin(), part.rend());
  const size_t found = FindText(reversed_text, reversed_part);
  return found == std::string_view::npos ? found : end - found - part.size();
}

}  // namespace ropeway::jinja
