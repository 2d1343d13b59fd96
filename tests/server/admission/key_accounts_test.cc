#include "server/admission/key_accounts.h"

#include <random>
#include <utility>
#include <vector>

#include "server/admission/admission.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1'000'000);

class KeyAccountsTest : public ::testing::Test {
 protected:
  absl::StatusOr<KeyAccounts::Place> Enter(const KeyLimits& limits, const KeyAccounts::Cost& cost = {},
                                           absl::Time now = kStart, int name = 0,
                                           absl::string_view key = "k") {
    return accounts_.Enter(key, limits, cost, now, [this, name] { turns_.push_back(name); });
  }

  std::vector<int> turns_;
  KeyAccounts accounts_;
};

TEST_F(KeyAccountsTest, WithoutLimitsNobodyWaits) {
  std::vector<KeyAccounts::Place> places;
  for (int i = 0; i < 100; ++i) {
    ASSERT_OK_AND_ASSIGN(KeyAccounts::Place place, Enter({}, {.tokens = 1'000'000, .kv_pages = 1'000'000}));
    EXPECT_TRUE(place.has_turn());
    places.push_back(std::move(place));
  }
  EXPECT_EQ(accounts_.waiting(), 0);
}

TEST_F(KeyAccountsTest, BeyondRunningTheyWaitInTheirOrderAndBeyondQueuedTheyAreRefused) {
  const KeyLimits limits = {.running = 2, .queued = 2};
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place a, Enter(limits));
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place b, Enter(limits));
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place c, Enter(limits, {}, kStart, 3));
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place d, Enter(limits, {}, kStart, 4));
  EXPECT_TRUE(a.has_turn() && b.has_turn());
  EXPECT_FALSE(c.has_turn() || d.has_turn());
  EXPECT_EQ(accounts_.waiting(), 2);
  const absl::Status refused = Enter(limits).status();
  EXPECT_THAT(refused,
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("2 requests running and 2 waiting")));
  EXPECT_TRUE(RetryHint(refused));
  EXPECT_OK(Enter(limits, {}, kStart, 0, "other")) << "keys are apart";
  EXPECT_TRUE(turns_.empty());
  EXPECT_EQ(accounts_.CheckEnter("k", limits, {}, kStart), refused);
  b.Release();
  EXPECT_OK(accounts_.CheckEnter("k", limits, {}, kStart)) << "one may wait again, and nothing was taken";
  EXPECT_OK(accounts_.CheckEnter("k", limits, {}, kStart));
  EXPECT_EQ(turns_, std::vector<int>({3}));
  b.Release();
  EXPECT_EQ(turns_, std::vector<int>({3}));
  c = {};
  EXPECT_EQ(turns_, std::vector<int>({3, 4}));
  EXPECT_EQ(accounts_.waiting(), 0);
}

TEST_F(KeyAccountsTest, WhoGoesWhileWaitingLetsOthersCloserAndTakesNoTurn) {
  const KeyLimits limits = {.running = 1, .queued = 2};
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place a, Enter(limits));
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place b, Enter(limits, {}, kStart, 2));
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place c, Enter(limits, {}, kStart, 3));
  b.Release();
  EXPECT_TRUE(turns_.empty());
  a.Release();
  EXPECT_EQ(turns_, std::vector<int>({3}));
}

TEST_F(KeyAccountsTest, PagesAreNotGivenTwiceAndALargeRequestIsNotOvertaken) {
  const KeyLimits limits = {.kv_pages = 10};
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place a, Enter(limits, {.kv_pages = 6}));
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place b, Enter(limits, {.kv_pages = 8}, kStart, 2));
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place c, Enter(limits, {.kv_pages = 1}, kStart, 3));
  EXPECT_FALSE(b.has_turn() || c.has_turn());
  EXPECT_THAT(Enter(limits, {.kv_pages = 11}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("at most 10 KV pages, all that the key has; need 11")));
  a.Release();
  EXPECT_EQ(turns_, std::vector<int>({2, 3}));
}

// Nor of those that wait behind one that does not fit yet, when room for them is made.
TEST_F(KeyAccountsTest, ARequestThatWaitsIsNotOvertakenByASmallerOne) {
  const KeyLimits limits = {.kv_pages = 10};
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place a, Enter(limits, {.kv_pages = 6}));
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place b, Enter(limits, {.kv_pages = 3}));
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place large, Enter(limits, {.kv_pages = 8}, kStart, 1));
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place small, Enter(limits, {.kv_pages = 2}, kStart, 2));
  b.Release();  // room for the small one alone
  EXPECT_TRUE(turns_.empty());
  a.Release();
  EXPECT_EQ(turns_, std::vector<int>({1, 2}));
}

// Times of several threads may come in another order than they were taken in.
TEST_F(KeyAccountsTest, AnEarlierTimeRefillsNothingTwice) {
  const KeyLimits limits = {.tokens_per_minute = 60};
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place all, Enter(limits, {.tokens = 60}));
  EXPECT_FALSE(accounts_.CheckEnter("k", limits, {.tokens = 11}, kStart + absl::Seconds(10)).ok());
  EXPECT_FALSE(accounts_.CheckEnter("k", limits, {.tokens = 11}, kStart).ok());
  EXPECT_FALSE(accounts_.CheckEnter("k", limits, {.tokens = 11}, kStart + absl::Seconds(10)).ok());
  EXPECT_OK(accounts_.CheckEnter("k", limits, {.tokens = 10}, kStart + absl::Seconds(10)));
}

TEST_F(KeyAccountsTest, TokensComeBackByTheMinuteAndWhatIsSparedAtOnce) {
  const KeyLimits limits = {.tokens_per_minute = 600};
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place a, Enter(limits, {.tokens = 600}));
  const absl::Status refused = Enter(limits, {.tokens = 100}).status();
  EXPECT_THAT(refused,
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("for this minute are spent")));
  EXPECT_EQ(RetryHint(refused), absl::Seconds(10));
  EXPECT_OK(Enter(limits, {.tokens = 100}, kStart + absl::Seconds(10)));
  EXPECT_FALSE(Enter(limits, {.tokens = 1}, kStart + absl::Seconds(10)).ok());
  a.Release(/*spent_tokens=*/450);
  a.Release(/*spent_tokens=*/0);  // of no effect
  EXPECT_OK(Enter(limits, {.tokens = 150}, kStart + absl::Seconds(10)));
  EXPECT_FALSE(Enter(limits, {.tokens = 1}, kStart + absl::Seconds(10)).ok());
  EXPECT_THAT(Enter(limits, {.tokens = 601}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 600 tokens")));
  EXPECT_OK(Enter(limits, {.tokens = 600}, kStart + absl::Hours(1))) << "never more than a minute's";
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place rest, Enter(limits, {.tokens = 600}, kStart + absl::Hours(2)));
  rest.Release(/*spent_tokens=*/700);  // more than was charged costs no more
  EXPECT_FALSE(Enter(limits, {.tokens = 1}, kStart + absl::Hours(2)).ok());
}

TEST_F(KeyAccountsTest, WhoComesWhenTheHintSaysGetsIn) {
  for (int64_t rate = 1; rate <= 500; ++rate)
    for (const int64_t tokens : {int64_t{1}, rate / 3, rate / 2 + 1, rate}) {
      if (tokens == 0) continue;
      KeyAccounts accounts;
      const KeyLimits limits = {.tokens_per_minute = rate};
      ASSERT_OK_AND_ASSIGN(KeyAccounts::Place all,
                           accounts.Enter("k", limits, {.tokens = rate}, kStart, nullptr));
      const auto hint = RetryHint(accounts.CheckEnter("k", limits, {.tokens = tokens}, kStart));
      ASSERT_TRUE(hint) << rate;
      ASSERT_OK(accounts.CheckEnter("k", limits, {.tokens = tokens}, kStart + *hint))
          << rate << " " << tokens;
    }
}

TEST_F(KeyAccountsTest, WithoutAWordAllTokensAreSpent) {
  const KeyLimits limits = {.tokens_per_minute = 600};
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place place, Enter(limits, {.tokens = 600}));
  place.Release();
  EXPECT_FALSE(Enter(limits, {.tokens = 1}).ok());
}

TEST_F(KeyAccountsTest, LimitsAreThoseOfToday) {
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place a, Enter({.running = 2}));
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place b, Enter({.running = 1}, {}, kStart, 2));
  EXPECT_FALSE(b.has_turn());
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place c, Enter({}, {}, kStart, 3));
  EXPECT_FALSE(c.has_turn()) << "who waits comes first";
  a.Release();
  EXPECT_EQ(turns_, std::vector<int>({2, 3}));
}

// What was taken under larger limits than those of today runs alone, rather than never.
TEST_F(KeyAccountsTest, FewerPagesThanARequestThatWaitsHoldNobodyForGood) {
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place a, Enter({.kv_pages = 10}, {.kv_pages = 6}));
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place b, Enter({.kv_pages = 10}, {.kv_pages = 8}, kStart, 2));
  ASSERT_OK_AND_ASSIGN(KeyAccounts::Place c, Enter({.kv_pages = 7}, {.kv_pages = 1}, kStart, 3));
  EXPECT_FALSE(b.has_turn() || c.has_turn());
  a.Release();
  EXPECT_EQ(turns_, std::vector<int>({2}));
  b.Release();
  EXPECT_EQ(turns_, std::vector<int>({2, 3}));
}

// Random traffic of three keys: never more running or pages than allowed, and everybody gets a turn.
TEST_F(KeyAccountsTest, KeepsItsLimitsUnderAnyTraffic) {
  std::mt19937 random(7);
  const KeyLimits limits = {.running = 3, .queued = 5, .kv_pages = 20};
  struct Request {
    KeyAccounts::Place place;
    int64_t pages;
    int key;
    std::shared_ptr<bool> turn;
  };
  std::vector<Request> living;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0) {
      const int key = static_cast<int>(random() % 3);
      const int64_t pages = static_cast<int64_t>(1 + random() % 20);
      const auto turn = std::make_shared<bool>(false);
      auto place = accounts_.Enter(std::string(1, static_cast<char>('a' + key)), limits, {.kv_pages = pages},
                                   kStart, [turn] { *turn = true; });
      if (!place.ok()) continue;
      *turn = *turn || place->has_turn();
      living.push_back({*std::move(place), pages, key, turn});
    } else if (!living.empty()) {
      std::swap(living[random() % living.size()], living.back());
      living.pop_back();
    }
    for (int key = 0; key < 3; ++key) {
      int64_t running = 0, waiting = 0, pages = 0;
      for (const Request& request : living) {
        if (request.key != key) continue;
        (*request.turn ? running : waiting) += 1;
        if (*request.turn) pages += request.pages;
      }
      ASSERT_LE(running, 3);
      ASSERT_LE(waiting, 5);
      ASSERT_LE(pages, 20);
      ASSERT_TRUE(waiting == 0 || running > 0) << "nobody waits for nothing";
    }
  }
  living.clear();
  EXPECT_EQ(accounts_.waiting(), 0);
}

}  // namespace
}  // namespace ropeway::server
