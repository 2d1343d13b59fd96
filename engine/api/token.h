// The type of a token id.
#ifndef ROPEWAY_ENGINE_API_TOKEN_H_
#define ROPEWAY_ENGINE_API_TOKEN_H_

#include <cstdint>

namespace ropeway {

using TokenId = int32_t;
inline constexpr TokenId kNoToken = -1;

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_API_TOKEN_H_
