// The engine's side of a mailbox in the hands of a test: it keeps what is submitted and says only what it is
// told to say. What does not come in the patience of tests fails the test, and it goes on.
//
// Not thread-safe; one thread plays the engine.
#ifndef ROPEWAY_TESTS_SERVER_FRONT_MANUAL_ENGINE_H_
#define ROPEWAY_TESTS_SERVER_FRONT_MANUAL_ENGINE_H_

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/stream/mailbox.h"
#include "server/stream/token_stream.h"
#include "tests/testing/patience.h"

namespace ropeway::server::testing {

class ManualEngine {
 public:
  explicit ManualEngine(Mailbox& mailbox) : mailbox_(mailbox) {}

  // Waits until request number `index`, in order of submission, is there.
  const ValidRequest& WaitForRequest(size_t index = 0) {
    const bool came = TakeUntil([&] { return submissions_.size() > index; });
    EXPECT_TRUE(came) << "request " << index << " does not come";
    return came ? submissions_[index].request : none_;
  }

  // Why the request is to end.
  absl::Status WaitForCancel(RequestId id) {
    EXPECT_TRUE(TakeUntil([&] { return cancelled_.contains(id); }))
        << "request " << id << " is not cancelled";
    return cancelled_[id];
  }

  // What inquiries are answered from now on.
  void SetForecast(absl::StatusOr<Forecast> forecast) { forecast_ = std::move(forecast); }

  // Waits until a request was asked about, and answers.
  const ValidRequest& AnswerInquiry() {
    inquired_.reset();
    const bool came = TakeUntil([&] { return inquired_.has_value(); });
    EXPECT_TRUE(came) << "nothing is asked";
    return came ? *inquired_ : none_;
  }

  size_t num_requests() {
    Take(absl::ZeroDuration());
    return submissions_.size();
  }

  void Say(StreamChunk chunk, size_t index = 0) {
    ASSERT_LT(index, submissions_.size());
    submissions_[index].stream->Push(std::move(chunk));
  }

  // Says `text`, a token for each byte.
  void SayText(const std::string& text, size_t index = 0) {
    for (const char c : text) {
      Say({.text = std::string(1, c), .token_ids = {static_cast<unsigned char>(c)}}, index);
    }
  }

 private:
  template <typename Condition>
  bool TakeUntil(const Condition& done) {
    for (const absl::Time end = absl::Now() + ::ropeway::testing::kPatience; !done() && absl::Now() < end;)
      Take(end - absl::Now());
    return done();
  }

  void Take(absl::Duration patience) {
    Mailbox::Commands commands = mailbox_.Take(patience);
    for (Mailbox::Submission& submission : commands.submissions)
      submissions_.push_back(std::move(submission));
    for (Mailbox::Inquiry& inquiry : commands.inquiries) {
      inquired_ = std::move(inquiry.request);
      inquiry.answer(forecast_);
    }
    for (Mailbox::Cancellation& cancellation : commands.cancellations)
      cancelled_[cancellation.id] = std::move(cancellation.status);
  }

  Mailbox& mailbox_;
  const ValidRequest none_{};
  std::vector<Mailbox::Submission> submissions_;
  std::map<RequestId, absl::Status> cancelled_;
  std::optional<ValidRequest> inquired_;
  absl::StatusOr<Forecast> forecast_ = Forecast();
};

}  // namespace ropeway::server::testing

#endif  // ROPEWAY_TESTS_SERVER_FRONT_MANUAL_ENGINE_H_
