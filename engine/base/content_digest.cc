#include "engine/base/content_digest.h"

#include <cstring>

namespace ropeway {
namespace {

// Lanes take pairs of words in turn, so that multiplications overlap.
constexpr size_t kLanes = 4;
constexpr size_t kPair = 2 * sizeof(uint64_t), kStripe = kLanes * kPair;

// Parts of the golden ratio, and of the square roots of 2, 3 and 5.
constexpr uint64_t kSecrets[kLanes] = {0x9E3779B97F4A7C15, 0x6A09E667F3BCC909, 0xBB67AE8584CAA73B,
                                       0x3C6EF372FE94F82B};

// Both halves of the product of 128 bits: every bit of either factor changes bits all over it, which a product of
// 64 bits and rotations do not: there a flipped sign here and another there may come to nothing.
uint64_t Fold(uint64_t x, uint64_t y) {
  const auto product = static_cast<unsigned __int128>(x) * y;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

void AbsorbStripe(const uint8_t* bytes, uint64_t (&lanes)[kLanes]) {
  for (size_t i = 0; i < kLanes; ++i) {
    uint64_t pair[2];
    std::memcpy(pair, bytes + i * kPair, kPair);
    lanes[i] = Fold(pair[0] ^ kSecrets[i], pair[1] ^ lanes[i]);
  }
}

}  // namespace

ContentDigest DigestOf(absl::Span<const uint8_t> bytes) {
  uint64_t lanes[kLanes];
  for (size_t i = 0; i < kLanes; ++i) lanes[i] = ~kSecrets[i];
  const size_t whole = bytes.size() / kStripe * kStripe;
  for (size_t at = 0; at < whole; at += kStripe) AbsorbStripe(bytes.data() + at, lanes);
  uint8_t rest[kStripe] = {};
  if (bytes.size() > whole) std::memcpy(rest, bytes.data() + whole, bytes.size() - whole);
  AbsorbStripe(rest, lanes);
  // The length tells zeros that were there from those that were not.
  ContentDigest digest = {bytes.size(), ~static_cast<uint64_t>(bytes.size())};
  for (size_t i = 0; i < kLanes; ++i) {
    digest[0] = Fold(digest[0] ^ lanes[i], kSecrets[0]);
    digest[1] = Fold(digest[1] ^ lanes[i], kSecrets[1]);
  }
  return digest;
}

}  // namespace ropeway
