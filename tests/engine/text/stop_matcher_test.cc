#include "engine/text/stop_matcher.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

TEST(StopMatcherTest, HoldsBackWhatMayBeginAMatchAndReleasesWhatDoesNot) {
  StopMatcher matcher({"STOP"});
  EXPECT_EQ(matcher.Push("go ST"), "go ");
  EXPECT_EQ(matcher.Push("E"), "STE");
  EXPECT_EQ(matcher.Push("PS"), "P");
  EXPECT_EQ(matcher.matched(), nullptr);
  EXPECT_EQ(matcher.Flush(), "S");
}

TEST(StopMatcherTest, AMatchAcrossPiecesIsCutOffWithAllAfterIt) {
  StopMatcher matcher({"\n\nUser:"});
  EXPECT_EQ(matcher.Push("Paris.\n"), "Paris.");
  EXPECT_EQ(matcher.Push("\nUs"), "");
  EXPECT_EQ(matcher.Push("er: and more"), "");
  ASSERT_NE(matcher.matched(), nullptr);
  EXPECT_EQ(*matcher.matched(), "\n\nUser:");
  EXPECT_EQ(matcher.Push("after"), "");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcherTest, OverlappingBeginningsAreNotLost) {
  StopMatcher matcher({"aab"});
  EXPECT_EQ(matcher.Push("aaab"), "a");
  EXPECT_NE(matcher.matched(), nullptr);
}

TEST(StopMatcherTest, TheMatchThatEndsFirstWinsAndTheLongestOfThose) {
  StopMatcher first({"abcdef", "cd"});
  EXPECT_EQ(first.Push("abcdef"), "ab");
  EXPECT_EQ(*first.matched(), "cd");
  StopMatcher longest({"d", "bcd", "cd"});
  EXPECT_EQ(longest.Push("abcd"), "a");
  EXPECT_EQ(*longest.matched(), "bcd");
}

TEST(StopMatcherTest, TheMatchItselfMayBeWanted) {
  StopMatcher matcher({"</answer>"}, /*include_match=*/true);
  EXPECT_EQ(matcher.Push("42</ans"), "42");
  EXPECT_EQ(matcher.Push("wer> more"), "</answer>");
  EXPECT_EQ(*matcher.matched(), "</answer>");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcherTest, WithoutStopStringsNothingIsHeld) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.Push("text"), "text");
  EXPECT_EQ(matcher.Flush(), "");
}

// The plain way: after each byte, look whether a stop string ends there.
std::string Expected(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(StopMatcherTest, RandomTextsInRandomPiecesAgreeWithTheSpecification) {
  constexpr int kSeed = 7;
  std::mt19937 random(kSeed);
  const auto text_of = [&](int length) {
    std::string text;
    for (int i = 0; i < length; ++i) text.push_back("ab"[random() % 2]);
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    const std::string text = text_of(40);
    std::vector<std::string> stops;
    for (int i = random() % 3; i >= 0; --i) {
      // Long ones are met where they are taken from the text.
      const bool is_long = random() % 2 == 0;
      stops.push_back(is_long ? text.substr(random() % 20, 6 + random() % 14) : text_of(2 + random() % 5));
    }
    StopMatcher matcher(stops);
    std::string got;
    for (size_t at = 0; at < text.size();) {
      const size_t length = 1 + random() % 4;
      got += matcher.Push(text.substr(at, length));
      ASSERT_EQ(Expected(text, stops).compare(0, got.size(), got), 0) << "let out too much";
      at += length;
    }
    got += matcher.Flush();
    ASSERT_EQ(got, Expected(text, stops)) << "seed " << kSeed << " round " << round << " text " << text;
  }
}

}  // namespace
}  // namespace ropeway
