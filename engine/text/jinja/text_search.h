// Searching in texts, in linear time whatever the texts are.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_TEXT_SEARCH_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_TEXT_SEARCH_H_

#include <cstddef>
#include <string_view>

namespace ropeway::jinja {

// The first occurrence of `part` at or after `from`; npos when there is none. An empty part is found at once.
size_t FindText(std::string_view text, std::string_view part, size_t from = 0);
// The last occurrence that ends at or before `end`.
size_t FindLastText(std::string_view text, std::string_view part, size_t end = std::string_view::npos);

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_TEXT_SEARCH_H_
