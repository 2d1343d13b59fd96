#include "engine/text/white_space.h"

namespace ropeway {
namespace {

constexpr std::string_view kWideSpaces[] = {
    "\u0085", "\u00A0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006",
    "\u2007", "\u2008", "\u2009", "\u200A", "\u2028", "\u2029", "\u202F", "\u205F", "\u3000",
};

size_t SpaceAt(std::string_view text) {
  if (text.empty()) return 0;
  if (text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r')) return 1;
  for (std::string_view space : kWideSpaces)
    if (text.substr(0, space.size()) == space) return space.size();
  return 0;
}

}  // namespace

size_t LeadingWhiteSpace(std::string_view text) {
  size_t bytes = 0;
  while (const size_t step = SpaceAt(text.substr(bytes))) bytes += step;
  return bytes;
}

size_t TrailingWhiteSpace(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (SpaceAt(text.substr(begin, end - begin)) != end - begin) break;
    end = begin;
  }
  return text.size() - end;
}

}  // namespace ropeway
