// Numbers in messages, as they were given.
#ifndef ROPEWAY_ENGINE_BASE_DECIMALS_H_
#define ROPEWAY_ENGINE_BASE_DECIMALS_H_

#include <charconv>
#include <string>

namespace ropeway {

// The shortest decimals that read back as the same number: the float after 1 is "1.0000001" and not "1".
// "nan", "inf" and "-inf" for what is no number.
template <typename T>
std::string Decimals(T number) {
  char digits[64];
  return std::string(digits, std::to_chars(digits, digits + sizeof(digits), number).ptr);
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_DECIMALS_H_
