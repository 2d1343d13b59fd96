// Values as text: str(), repr() and JSON, as Python writes them.
//
// What came from a request stays untrusted in the result, escapes included; punctuation around it is trusted.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_PRINT_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_PRINT_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/text/jinja/value.h"

namespace ropeway::jinja {

// str(): a text as it is, anything else as repr().
Str ToText(const Value& value, Budget& budget);
void AppendRepr(const Value& value, StrBuilder& out);
Str Repr(const Value& value, Budget& budget);

struct JsonFormat {
  bool ensure_ascii = false;
  std::optional<Str> indent;  // of one level; without it all stands on one line
  Str item_separator;
  Str key_separator;
  bool sort_keys = false;
};

// json.dumps(); a TypeError for what JSON cannot say.
absl::StatusOr<Str> ToJson(const Value& value, const JsonFormat& format, Budget& budget);

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_PRINT_H_
