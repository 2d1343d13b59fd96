#include "server/keys/api_key.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace ropeway::server {
namespace {

TEST(ApiKeyTest, NewOnesAreReadAgainAndAreNeverTheSame) {
  const ApiKey key = NewApiKey(), other = NewApiKey();
  const auto read = ParseApiKey(key.Text());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->id, key.id);
  EXPECT_EQ(read->secret, key.secret);
  EXPECT_NE(key.id, other.id);
  EXPECT_NE(key.secret, other.secret);
}

TEST(ApiKeyTest, WhatIsNoKeyIsNoKey) {
  const std::string id(16, 'a'), secret(64, '0');
  EXPECT_TRUE(ParseApiKey(absl::StrCat("rk_", id, "_", secret)));
  for (const std::string& text :
       {std::string(), std::string("rk_"), absl::StrCat("rk_", id), absl::StrCat("rk_", id, "_"),
        absl::StrCat(id, "_", secret), absl::StrCat("rk_", id, "_", secret, "0"),
        absl::StrCat("rk_", id, "-", secret), absl::StrCat("rk_", id, "_", secret.substr(1)),
        absl::StrCat("rk_", std::string(16, 'A'), "_", secret),
        absl::StrCat("rk_", id, "_", std::string(64, 'g')), absl::StrCat(" rk_", id, "_", secret),
        absl::StrCat("RK_", id, "_", secret)})
    EXPECT_FALSE(ParseApiKey(text)) << text;
}

TEST(ApiKeyTest, HashesHaveSaltsOfTheirOwnAndDoNotHoldTheSecret) {
  const ApiKey key = NewApiKey();
  const KeyHash one = HashApiKey(key), two = HashApiKey(key);
  EXPECT_NE(one.salt, two.salt);
  EXPECT_NE(one.digest, two.digest);
  EXPECT_EQ(DigestOf(one.salt, key.secret), one.digest);
  EXPECT_NE(DigestOf(one.salt, NewApiKey().secret), one.digest);
  EXPECT_EQ(one.Text().find(key.secret), std::string::npos);
  EXPECT_EQ(ParseKeyHash(one.Text()), one);
  EXPECT_FALSE(ParseKeyHash(key.Text()));
  EXPECT_FALSE(ParseKeyHash(one.Text() + "0"));
  EXPECT_FALSE(ParseKeyHash(one.Text() + ":"));
  EXPECT_FALSE(ParseKeyHash(one.Text() + ":0"));
  EXPECT_FALSE(ParseKeyHash(one.Text().substr(1)));
}

// HMAC-SHA-256 as RFC 4231 has it, case 2, with its key filled up with zeros to the length of a salt, which HMAC
// does by itself.
TEST(ApiKeyTest, DigestsAreHmacSha256) {
  const std::array<uint8_t, 16> salt = {'J', 'e', 'f', 'e'};
  const std::array<uint8_t, 32> expected = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24,
                                            0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27,
                                            0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
  EXPECT_EQ(DigestOf(salt, "what do ya want for nothing?"), expected);
}

}  // namespace
}  // namespace ropeway::server
