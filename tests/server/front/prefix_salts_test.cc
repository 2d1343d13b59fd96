#include "server/front/prefix_salts.h"

#include "gtest/gtest.h"

namespace ropeway::server {
namespace {

constexpr char kSecret[] = "0123456789abcdef";

TEST(PrefixSaltsTest, KeepsTenantsApart) {
  const PrefixSalts salts(PrefixCache::kTenant, kSecret);
  EXPECT_TRUE(salts.Of("a").has_value());
  EXPECT_EQ(salts.Of("a"), salts.Of("a"));
  EXPECT_NE(salts.Of("a"), salts.Of("b"));
  EXPECT_NE(salts.Of("a"), salts.Of(""));
  EXPECT_EQ(salts.Of("a"), PrefixSalts(PrefixCache::kTenant, kSecret).Of("a"));
  EXPECT_NE(salts.Of("a"), PrefixSalts(PrefixCache::kTenant, "another, as long").Of("a"));
}

// The first 16 bytes of HMAC-SHA-256(secret, "tenant:a"), as Python's hmac module computes it.
TEST(PrefixSaltsTest, AgreesWithAnother) {
  const PrefixSalt expected = {0x7611a30449be11ce, 0x5bf3d9ec9ea95ed4};
  EXPECT_EQ(PrefixSalts(PrefixCache::kTenant, kSecret).Of("a"), expected);
}

TEST(PrefixSaltsTest, SharesBetweenAllWhereAskedTo) {
  const PrefixSalts salts(PrefixCache::kShared, kSecret);
  EXPECT_EQ(salts.Of("a"), salts.Of("b"));
  EXPECT_NE(salts.Of("shared"), PrefixSalts(PrefixCache::kTenant, kSecret).Of("shared"));
}

// Keys that were turned in different ways are not the same.
TEST(PrefixSaltsTest, KeepsRotationsApart) {
  for (const PrefixCache scope : {PrefixCache::kTenant, PrefixCache::kShared}) {
    const PrefixSalts salts(scope, kSecret);
    EXPECT_EQ(salts.Of("a", {1.5, 0}), salts.Of("a", {1.5, 0}));
    EXPECT_NE(salts.Of("a", {1.5, 0}), salts.Of("a", {1.5, 1}));
    EXPECT_NE(salts.Of("a", {1.5}), salts.Of("a", {1.5, 0}));
    EXPECT_NE(salts.Of("a", {0}), salts.Of("a"));
  }
}

TEST(PrefixSaltsTest, GivesNoneWhereOff) {
  EXPECT_EQ(PrefixSalts(PrefixCache::kOff, kSecret).Of("a"), std::nullopt);
}

TEST(PrefixSaltsTest, MakesASecretOfItsOwn) {
  EXPECT_NE(PrefixSalts(PrefixCache::kTenant, "").Of("a"), PrefixSalts(PrefixCache::kTenant, "").Of("a"));
}

}  // namespace
}  // namespace ropeway::server
