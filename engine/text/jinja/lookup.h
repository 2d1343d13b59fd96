// Attributes, items and slices of values, with Jinja's fallbacks and its sandbox.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_LOOKUP_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_LOOKUP_H_

#include "absl/status/statusor.h"
#include "engine/text/jinja/value.h"

namespace ropeway::jinja {

// object.name: a method or attribute first, then a key. Undefined when there is neither; an error when
// `object` is undefined itself.
absl::StatusOr<Value> GetAttribute(const Value& object, const Str& name, Budget& budget);

// object[index]: a key or position first, then an attribute.
absl::StatusOr<Value> GetItem(const Value& object, const Value& index, Budget& budget);

// object[start:stop:step]; None stands for an end that was left out.
absl::StatusOr<Value> GetSlice(const Value& object, const Value& start, const Value& stop, const Value& step,
                               Budget& budget);

// The index or dotted path of map(attribute=...) and the like: "a.b.0", or an integer.
absl::StatusOr<Value> GetPath(const Value& object, const Value& path, Budget& budget);

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_LOOKUP_H_
