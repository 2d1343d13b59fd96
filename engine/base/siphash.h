// SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012): a hash under a secret key, for which
// nobody without the key finds two messages that agree.
//
// Pure functions; thread-safe.
#ifndef ROPEWAY_ENGINE_BASE_SIPHASH_H_
#define ROPEWAY_ENGINE_BASE_SIPHASH_H_

#include <array>
#include <cstdint>

#include "absl/types/span.h"

namespace ropeway {

using Hash128 = std::array<uint64_t, 2>;

// Of the little-endian bytes of `words`, so that the result is that of the published function.
Hash128 SipHash128(const Hash128& key, absl::Span<const uint64_t> words);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_SIPHASH_H_
