#include "engine/kv/prefix_index.h"

#include <vector>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

constexpr PrefixSalt kSalt = {1, 2};

std::vector<TokenId> Page(TokenId first) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < kPageTokens; ++i) tokens.push_back(first + i);
  return tokens;
}

TEST(ExtendPrefixTest, DependsOnAllThatIsInThePrefix) {
  const PrefixKey first = ExtendPrefix(kSalt, kSalt, Page(0));
  EXPECT_EQ(first, ExtendPrefix(kSalt, kSalt, Page(0)));
  EXPECT_NE(first, ExtendPrefix({1, 3}, {1, 3}, Page(0)));
  EXPECT_NE(ExtendPrefix(kSalt, first, Page(16)), ExtendPrefix(kSalt, kSalt, Page(16)));
  for (int i = 0; i < kPageTokens; ++i) {
    std::vector<TokenId> other = Page(0);
    ++other[i];
    EXPECT_NE(first, ExtendPrefix(kSalt, kSalt, other)) << i;
  }
}

TEST(PrefixIndexTest, FindsWhatWasInserted) {
  PrefixIndex index(4);
  const PrefixKey key = ExtendPrefix(kSalt, kSalt, Page(0)), other = ExtendPrefix(kSalt, key, Page(0));
  EXPECT_EQ(index.Find(key), std::nullopt);
  EXPECT_TRUE(index.Insert(key, 3));
  EXPECT_FALSE(index.Insert(key, 2)) << "the first one stays";
  EXPECT_TRUE(index.Insert(other, 2));
  EXPECT_EQ(index.Find(key), 3);
  EXPECT_EQ(index.Find(other), 2);
  EXPECT_EQ(index.size(), 2);
  index.CheckInvariants();
  index.Erase(3);
  index.Erase(3);
  index.Erase(0);
  EXPECT_EQ(index.Find(key), std::nullopt);
  EXPECT_EQ(index.Find(other), 2);
  EXPECT_FALSE(index.Contains(3));
  EXPECT_TRUE(index.Contains(2));
  index.CheckInvariants();
}

}  // namespace
}  // namespace ropeway
