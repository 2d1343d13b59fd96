#include "engine/base/content_digest.h"

#include <algorithm>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

std::vector<uint8_t> Bytes(size_t count) {
  std::vector<uint8_t> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<uint8_t>(i * 37 + i / 256);
  return bytes;
}

TEST(ContentDigest, ShowsEveryChangeOfABit) {
  for (const size_t count : {1, 7, 63, 64, 65, 200}) {
    std::vector<uint8_t> bytes = Bytes(count);
    std::set<ContentDigest> seen = {DigestOf(bytes)};
    for (size_t i = 0; i < count; ++i)
      for (int bit = 0; bit < 8; ++bit) {
        bytes[i] ^= static_cast<uint8_t>(1 << bit);
        EXPECT_TRUE(seen.insert(DigestOf(bytes)).second) << count << ": bit " << bit << " of byte " << i;
        bytes[i] ^= static_cast<uint8_t>(1 << bit);
      }
    EXPECT_EQ(DigestOf(bytes), *seen.find(DigestOf(bytes)));
  }
}

// Signs of numbers that lie a stripe apart, and zeros at the end, are what weak digests mix up.
TEST(ContentDigest, ShowsChangesThatGoTogether) {
  std::set<ContentDigest> seen;
  for (size_t first = 0; first < 24; ++first)
    for (size_t second = first + 1; second < 24; ++second) {
      std::vector<uint8_t> bytes = Bytes(24 * 8);
      bytes[first * 8 + 7] ^= 0x80;
      bytes[second * 8 + 7] ^= 0x80;
      EXPECT_TRUE(seen.insert(DigestOf(bytes)).second) << first << ", " << second;
    }
  for (size_t zeros = 0; zeros < 200; ++zeros)
    EXPECT_TRUE(seen.insert(DigestOf(std::vector<uint8_t>(zeros))).second) << zeros;
}

TEST(ContentDigest, ShowsAnotherOrder) {
  std::vector<uint8_t> bytes = Bytes(1024), swapped = bytes;
  std::swap_ranges(swapped.begin(), swapped.begin() + 64, swapped.begin() + 128);
  EXPECT_NE(DigestOf(bytes), DigestOf(swapped));
}

// Files hold these numbers: who changes them changes the version of those files.
TEST(ContentDigest, GivesTheNumbersThatFilesHold) { EXPECT_EQ(DigestOf(Bytes(100)), (ContentDigest{7769228942187569871u, 13245474481393121677u})); }

}  // namespace
}  // namespace ropeway
