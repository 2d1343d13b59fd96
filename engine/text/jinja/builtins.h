// The tables of what a template can call by name.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_BUILTINS_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_BUILTINS_H_

#include <string_view>

#include "engine/text/jinja/value.h"

namespace ropeway::jinja {

struct NamedNative {
  std::string_view name;
  Native native;
};

// Null when there is none of that name.
Native FindFilter(std::string_view name);
Native FindTest(std::string_view name);
Native FindFunction(std::string_view name);  // range, namespace, raise_exception, ...
Native FindStringMethod(std::string_view name);
Native FindListMethod(std::string_view name);
Native FindTupleMethod(std::string_view name);
Native FindDictMethod(std::string_view name);
Native FindLoopMethod(std::string_view name);

// Filters and functions that Jinja has and this interpreter has not: no published template uses them, and a
// template that does is refused when it is parsed.
bool IsMissingFilter(std::string_view name);
bool IsMissingFunction(std::string_view name);

// Searches a table.
template <size_t N>
Native FindNative(const NamedNative (&table)[N], std::string_view name) {
  for (const NamedNative& entry : table) {
    if (entry.name == name) return entry.native;
  }
  return nullptr;
}

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_BUILTINS_H_
