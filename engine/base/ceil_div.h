// How many units hold a number of things.
#ifndef ROPEWAY_ENGINE_BASE_CEIL_DIV_H_
#define ROPEWAY_ENGINE_BASE_CEIL_DIV_H_

#include <type_traits>

namespace ropeway {

// a / b, rounded up. REQUIRES: a >= 0, b > 0, and their sum is representable.
template <typename T>
constexpr T CeilDiv(T a, std::type_identity_t<T> b) {
  return (a + b - 1) / b;
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_CEIL_DIV_H_
