// Tells contents apart, as fast as memory is read: 128 bits in which any change of a byte shows. No help against
// somebody who makes contents that agree on purpose; siphash.h is.
//
// Pure functions; thread-safe. The numbers are kept in files: other ones are another version of those.
#ifndef ROPEWAY_ENGINE_BASE_CONTENT_DIGEST_H_
#define ROPEWAY_ENGINE_BASE_CONTENT_DIGEST_H_

#include <array>
#include <cstdint>

#include "absl/types/span.h"

namespace ropeway {

using ContentDigest = std::array<uint64_t, 2>;

ContentDigest DigestOf(absl::Span<const uint8_t> bytes);

// Of words as they lie in memory, such as digests of parts.
inline ContentDigest DigestOf(absl::Span<const uint64_t> words) {
  return DigestOf(
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(words.data()), words.size() * sizeof(uint64_t)));
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_CONTENT_DIGEST_H_
