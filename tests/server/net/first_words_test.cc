#include "server/net/first_words.h"

#include <string>

#include "gtest/gtest.h"

namespace ropeway::server {
namespace {

TEST(FirstWordsTest, OfHttp2AreItsPreface) {
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  for (size_t size = 0; size < preface.size(); ++size)
    EXPECT_FALSE(HasFirstWords(preface.substr(0, size), false)) << size;
  EXPECT_TRUE(HasFirstWords(preface, false));
  EXPECT_TRUE(HasFirstWords(preface + "more", false));
  EXPECT_TRUE(HasFirstWords("G", false)) << "what becomes no preface is for others to answer";
  EXPECT_TRUE(HasFirstWords("PRI * HTTP/1", false));
}

TEST(FirstWordsTest, OfTlsAreItsFirstRecord) {
  std::string record = {22, 3, 1, 1, 2};
  record += std::string(256 + 2, 'x');
  for (size_t size = 0; size < record.size(); ++size)
    EXPECT_FALSE(HasFirstWords(record.substr(0, size), true)) << size;
  EXPECT_TRUE(HasFirstWords(record, true));
  EXPECT_TRUE(HasFirstWords(record + "more", true));
  EXPECT_TRUE(HasFirstWords("P", true));
  EXPECT_TRUE(HasFirstWords(std::string({21}), true));
}

TEST(FirstWordsTest, NeverAskForMoreThanIsLookedAt) {
  std::string record = {22, 3, 1, static_cast<char>(0xFF), static_cast<char>(0xFF)};
  record.resize(kMaxFirstWordsBytes - 1, 'x');
  EXPECT_FALSE(HasFirstWords(record, true));
  EXPECT_TRUE(HasFirstWords(record + "x", true));
}

}  // namespace
}  // namespace ropeway::server
