#include "engine/base/siphash.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

constexpr Hash128 kKey = {0x0706050403020100, 0x0f0e0d0c0b0a0908};

std::string Hex(const Hash128& hash) {
  return absl::BytesToHexString({reinterpret_cast<const char*>(hash.data()), sizeof hash});
}

// Of messages 00 01 02 ..., as OpenSSL computes them.
TEST(SipHashTest, AgreesWithAnother) {
  EXPECT_EQ(Hex(SipHash128(kKey, {})), "a3817f04ba25a8e66df67214c7550293");
  EXPECT_EQ(Hex(SipHash128(kKey, {0x0706050403020100})), "3b62a9ba6258f5610f83e264f31497b4");
  EXPECT_EQ(Hex(SipHash128(kKey, {0x0706050403020100, 0x0f0e0d0c0b0a0908, 0x1716151413121110})),
            "2db479ae78bd50d8882a8a178a6132ad");
}

TEST(SipHashTest, DependsOnTheKey) { EXPECT_NE(SipHash128(kKey, {1}), SipHash128({kKey[0], 0}, {1})); }

}  // namespace
}  // namespace ropeway
