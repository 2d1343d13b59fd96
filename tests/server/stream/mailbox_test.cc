#include "server/stream/mailbox.h"

#include <memory>
#include <thread>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Mailbox::Submission SubmissionOf(RequestId id) {
  return {.request = {.id = id}, .stream = std::make_shared<TokenStream>()};
}

std::vector<RequestId> IdsOf(const Mailbox::Commands& commands) {
  std::vector<RequestId> ids;
  for (const Mailbox::Submission& submission : commands.submissions) ids.push_back(submission.request.id);
  return ids;
}

TEST(MailboxTest, GivesCommandsOnceAndInOrder) {
  Mailbox mailbox(10);
  ASSERT_OK(mailbox.TrySubmit(SubmissionOf(1)));
  ASSERT_OK(mailbox.TrySubmit(SubmissionOf(2)));
  mailbox.Cancel(1, absl::CancelledError("gone"));
  const Mailbox::Commands commands = mailbox.Take(absl::ZeroDuration());
  EXPECT_THAT(IdsOf(commands), ElementsAre(1, 2));
  ASSERT_EQ(commands.cancellations.size(), 1);
  EXPECT_EQ(commands.cancellations[0].id, 1);
  EXPECT_EQ(commands.cancellations[0].status, absl::CancelledError("gone"));
  EXPECT_FALSE(commands.draining);
  const Mailbox::Commands nothing = mailbox.Take(absl::ZeroDuration());
  EXPECT_THAT(IdsOf(nothing), IsEmpty());
  EXPECT_THAT(nothing.cancellations, IsEmpty());
}

TEST(MailboxTest, IsBoundedUntilItIsEmptied) {
  Mailbox mailbox(2);
  ASSERT_OK(mailbox.TrySubmit(SubmissionOf(1)));
  ASSERT_OK(mailbox.TrySubmit(SubmissionOf(2)));
  EXPECT_THAT(mailbox.TrySubmit(SubmissionOf(3)),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("2 requests")));
  mailbox.Take(absl::ZeroDuration());
  EXPECT_OK(mailbox.TrySubmit(SubmissionOf(3)));
}

// A flood of them holds up no step for long; at the end nobody is left without an answer.
TEST(MailboxTest, GivesAFewInquiriesAtATimeAndTheRestAtTheEnd) {
  Mailbox mailbox(100);
  for (int i = 0; i < 100; ++i) ASSERT_OK(mailbox.TryAsk({.request = {.id = static_cast<RequestId>(i)}}));
  EXPECT_THAT(mailbox.TryAsk({}), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("100 requests")));
  for (RequestId first : {0, 16, 32}) {
    const Mailbox::Commands commands = mailbox.Take(absl::InfiniteDuration());  // does not wait
    ASSERT_EQ(commands.inquiries.size(), 16);
    EXPECT_EQ(commands.inquiries[0].request.id, first);
  }
  mailbox.Stop();
  EXPECT_THAT(mailbox.TryAsk({}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("shutting")));
  EXPECT_EQ(mailbox.Take(absl::ZeroDuration()).inquiries.size(), 52);
}

TEST(MailboxTest, RefusesNewWorkWhileDraining) {
  Mailbox mailbox(2);
  ASSERT_OK(mailbox.TrySubmit(SubmissionOf(1)));
  mailbox.Drain();
  EXPECT_THAT(mailbox.TrySubmit(SubmissionOf(2)),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("shutting")));
  const Mailbox::Commands commands = mailbox.Take(absl::ZeroDuration());
  EXPECT_THAT(IdsOf(commands), ElementsAre(1));
  EXPECT_TRUE(commands.draining);
  EXPECT_FALSE(commands.stopping);
  mailbox.Stop();
  EXPECT_TRUE(mailbox.Take(absl::ZeroDuration()).stopping);
  EXPECT_TRUE(mailbox.Take(absl::ZeroDuration()).stopping) << "for good";
}

TEST(MailboxTest, EveryKindOfNewsEndsAWait) {
  Mailbox mailbox(2);
  const std::vector<void (*)(Mailbox&)> news = {
      [](Mailbox& box) { EXPECT_OK(box.TrySubmit(SubmissionOf(1))); },
      [](Mailbox& box) { box.Cancel(1, absl::CancelledError("gone")); }, [](Mailbox& box) { box.Wake(); },
      [](Mailbox& box) { box.Drain(); }, [](Mailbox& box) { box.Stop(); }};
  for (const auto tell : news) {
    std::thread teller([&] { tell(mailbox); });
    mailbox.Take(absl::InfiniteDuration());
    teller.join();
  }
}

}  // namespace
}  // namespace ropeway::server
