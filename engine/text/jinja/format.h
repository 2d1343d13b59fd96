// Python's two ways to fill a text with values: 'a %s' % x and 'a {}'.format(x).
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_FORMAT_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_FORMAT_H_

#include "absl/status/statusor.h"
#include "engine/text/jinja/value.h"

namespace ropeway::jinja {

// `values` is a tuple, a mapping (for %(name)s), or one value. An error where they do not fit the format.
absl::StatusOr<Value> FormatPercent(const Str& format, const Value& values, Budget& budget);

// str.format().
absl::StatusOr<Value> FormatBraces(const Str& format, const Arguments& arguments, Budget& budget);

// How a value is laid out in a field; what both ways share.
struct FieldFormat {
  Str fill;                // one code point; a space when empty
  char align = 0;          // '<', '>', '^', '=' (between sign and digits), or 0 for the type's own
  char sign = '-';         // '-', '+' or ' '
  bool alternate = false;  // 0x, 0o, 0b in front
  char grouping = 0;       // ',' or '_' between thousands
  int64_t width = 0;
  int64_t precision = -1;  // -1 when not given
  char type = 0;           // 0 when not given
};

// `text` cut to the precision and padded to the width; texts stand left.
Str FormatText(const Str& text, const FieldFormat& field, Budget& budget);
// A number in the notation of field.type; an error for a type that does not fit.
absl::StatusOr<Str> FormatNumber(const Value& number, const FieldFormat& field, Budget& budget);

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_FORMAT_H_
