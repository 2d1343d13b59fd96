// Operations on texts that methods and filters share. Pieces of a text keep where they came from.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_TEXT_OPERATIONS_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_TEXT_OPERATIONS_H_

#include <cstdint>
#include <vector>

#include "engine/text/jinja/str.h"
#include "engine/text/jinja/value.h"

namespace ropeway::jinja {

// Up to `count` occurrences of `old`, all with a negative count. An empty `old` stands between code points.
Str Replace(const Str& text, const Str& old, const Str& replacement, int64_t count, Budget& budget);

// At most `max_splits` cuts, all with a negative number. REQUIRES: a separator that is not empty.
std::vector<Str> SplitAt(const Str& text, const Str& separator, int64_t max_splits, bool from_right,
                         Budget& budget);
// At runs of white space; no part is empty.
std::vector<Str> SplitAtSpace(const Str& text, int64_t max_splits, bool from_right, Budget& budget);
// At line ends as str.splitlines() knows them.
std::vector<Str> SplitLines(const Str& text, bool keep_ends, Budget& budget);

// `text` with `left` and `right` times `fill` around it.
Str Pad(const Str& text, const Str& fill, int64_t left, int64_t right, Budget& budget);

std::vector<Value> AsValues(const std::vector<Str>& texts, bool markup);

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_TEXT_OPERATIONS_H_
