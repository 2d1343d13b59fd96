// Integers and floats as Python has them, save that integers end at 127 bits.
//
// All functions are pure.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_NUMBER_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_NUMBER_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/numeric/int128.h"

namespace ropeway::jinja {

using Integer = absl::int128;

// nullopt where the result needs more than 127 bits. REQUIRES: divisor != 0; exponent >= 0.
std::optional<Integer> Add(Integer left, Integer right);
std::optional<Integer> Subtract(Integer left, Integer right);
std::optional<Integer> Multiply(Integer left, Integer right);
std::optional<Integer> Power(Integer base, Integer exponent);
Integer FloorDivide(Integer dividend, Integer divisor);
Integer FloorModulo(Integer dividend, Integer divisor);  // takes the sign of the divisor
double FloorModulo(double dividend, double divisor);

// Exact, unlike comparing after a conversion; unordered for NaN.
std::partial_ordering Compare(Integer left, double right);

// Digits of `base` (2 to 36) with an optional sign; nullopt for anything else or more than 127 bits.
std::optional<Integer> ParseInteger(std::string_view text, int base = 10);
// The integer nearest to zero from `value`; nullopt for NaN and beyond 127 bits.
std::optional<Integer> Truncate(double value);
// Decimal notation, "inf" and "nan"; nullopt for anything else.
std::optional<double> ParseDouble(std::string_view text);

// Clamped to the range of int64_t: for indices, counts and widths.
int64_t Clamp64(Integer value);

std::string ToString(Integer value, int base = 10);  // lower-case digits
// The shortest text that reads back as `value`, as repr() writes it: "1.0", "1e-05", "1e+16", "inf", "nan".
std::string ToString(double value);

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_NUMBER_H_
