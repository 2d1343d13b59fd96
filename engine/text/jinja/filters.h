// The filters, by what they work on.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_FILTERS_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_FILTERS_H_

#include <string_view>

#include "engine/text/jinja/value.h"

namespace ropeway::jinja {

// Null when there is none of that name.
Native FindTextFilter(std::string_view name);
Native FindListFilter(std::string_view name);    // of lists and mappings
Native FindMarkupFilter(std::string_view name);  // of web pages
Native FindValueFilter(std::string_view name);   // of numbers and any value

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_FILTERS_H_
