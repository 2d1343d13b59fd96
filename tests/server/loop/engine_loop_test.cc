#include "server/loop/engine_loop.h"

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "engine/base/exhaustion.h"
#include "engine/base/retry_hint.h"
#include "tests/testing/await.h"
#include "tests/testing/byte_tokenizer.h"
#include "tests/testing/fake_executor.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::Await;
using ::ropeway::testing::ByteTokenizer;
using ::ropeway::testing::FakeExecutor;
using ::ropeway::testing::IsOk;
using ::ropeway::testing::kPatience;
using ::ropeway::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr ExecutorLimits kLimits = {.num_pages = 64,
                                    .max_tokens_per_step = 64,
                                    .max_rows_per_step = 16,
                                    .max_model_len = 512,
                                    .vocab_size = ByteTokenizer::kVocabSize};

struct CountingObserver final : EngineObserver {
  void SetEngine(const EngineGauges&) override {}
  void OnStep(absl::Duration, int32_t batch_tokens, int32_t) override { tokens += batch_tokens, ++steps; }
  void OnStepFailed(const absl::Status&) override { ++failed_steps; }
  void OnPreemptions(int32_t count) override { preemptions += count; }
  void OnEvictions(int32_t) override {}
  void OnDeadlineRefusals(int32_t count) override { deadline_refusals += count; }
  void SetStepCosts(absl::Span<const StepCost> costs, double) override {
    cost_terms = static_cast<int>(costs.size());
  }
  void OnFirstToken(absl::Duration) override { ++first_tokens; }
  void OnSiblingToken() override { ++sibling_tokens; }
  void OnNextToken(absl::Duration) override { ++next_tokens; }
  void OnRequestEnd(const RequestOutcome& outcome) override {
    absl::MutexLock lock(&mutex);
    ++ends[absl::StrCat(outcome.finish_reason, " ", absl::StatusCodeToString(outcome.code))];
  }
  int NumEnds(const std::string& reason_and_code) {
    absl::MutexLock lock(&mutex);
    return ends[reason_and_code];
  }

  std::atomic<int> tokens = 0, steps = 0, failed_steps = 0, preemptions = 0, first_tokens = 0,
                   sibling_tokens = 0, next_tokens = 0, deadline_refusals = 0, cost_terms = 0;
  absl::Mutex mutex;
  std::map<std::string, int> ends ABSL_GUARDED_BY(mutex);
};

// What a client got, all chunks joined.
struct Answer {
  std::map<int32_t, StreamChunk> samples;
  RequestEnd end;
  const std::string& text(int32_t sample = 0) { return samples[sample].text; }
  FinishReason reason(int32_t sample = 0) { return samples[sample].finish.value().reason; }
};

// A client that waits for its chunks.
class Client {
 public:
  explicit Client(const StreamLimits& limits = {}) : stream_(std::make_shared<TokenStream>(limits)) {
    stream_->SetReady([signal = signal_] { signal->Set(); });
  }

  const std::shared_ptr<TokenStream>& stream() const { return stream_; }

  StreamChunk Next() {
    while (true) {
      if (std::optional<StreamChunk> chunk = stream_->Pop()) return *std::move(chunk);
      if (signal_->Wait()) continue;
      ADD_FAILURE() << "the stream says nothing";
      return {.end = RequestEnd{.status = absl::DeadlineExceededError("the stream says nothing")}};
    }
  }

  Answer ReadAll() {
    Answer answer;
    while (true) {
      StreamChunk chunk = Next();
      StreamChunk& sample = answer.samples[chunk.sample];
      EXPECT_TRUE(!sample.finish.has_value() || chunk.token_ids.empty());
      sample.text += chunk.text;
      sample.token_ids.insert(sample.token_ids.end(), chunk.token_ids.begin(), chunk.token_ids.end());
      if (chunk.finish.has_value()) sample.finish = chunk.finish;
      if (!chunk.end.has_value()) continue;
      answer.end = *chunk.end;
      return answer;
    }
  }

 private:
  // Shared with the stream's callback, which may still be on its way out when the client is gone.
  class Signal {
   public:
    void Set() {
      absl::MutexLock lock(&mutex_);
      set_ = true;
    }
    bool Wait() {
      absl::MutexLock lock(&mutex_);
      const bool was_set = mutex_.AwaitWithTimeout(absl::Condition(&set_), kPatience);
      set_ = false;
      return was_set;
    }

   private:
    absl::Mutex mutex_;
    bool set_ ABSL_GUARDED_BY(mutex_) = false;
  };

  const std::shared_ptr<TokenStream> stream_;
  const std::shared_ptr<Signal> signal_ = std::make_shared<Signal>();
};

// An engine whose model answers every prompt with the bytes of `script`, again and again with `endless`, else
// followed by an end token. By steps in flight.
class EngineLoopTest : public ::testing::TestWithParam<int32_t> {
 protected:
  static ExecutorLimits Limits() {
    ExecutorLimits limits = kLimits;
    limits.max_steps_in_flight = GetParam();
    return limits;
  }
  // Steps, and rows of one token in them, that come to nothing after an end that only the host finds.
  static int32_t late() { return GetParam() - 1; }

  void Start(std::string script, bool endless = false, LoopOptions options = {}) {
    executor_.SetChooser([script = std::move(script), endless](const SampleRow& row) -> TokenId {
      if (!endless && row.step >= script.size()) return ByteTokenizer::kEos;
      return static_cast<unsigned char>(script[row.step % script.size()]);
    });
    loop_ = std::make_unique<EngineLoop>(
        options, EngineLoop::Dependencies{
                     .executor = executor_,
                     .tokenizer = tokenizer_,
                     .clock = clock_,
                     .mailbox = mailbox_,
                     .observer = observer_,
                     .on_lost = [this] { ++losses_; },
                     .on_warning = [this](const std::string& what) { warnings_.push_back(what); }});
  }

  ValidRequest Request(int32_t max_tokens = 100) {
    return {.id = next_id_++,
            .prompt = {'a', 'b', 'c'},
            .max_tokens = max_tokens,
            .stop_token_ids = {ByteTokenizer::kEos},
            .arrival = clock_.Now()};
  }

  RequestId Submit(ValidRequest request, const Client& client) {
    const RequestId id = request.id;
    EXPECT_OK(mailbox_.TrySubmit({.request = std::move(request), .stream = client.stream()}));
    return id;
  }

  Answer Ask(ValidRequest request) {
    Client client;
    Submit(std::move(request), client);
    return client.ReadAll();
  }

  SimulatedClock clock_;
  ByteTokenizer tokenizer_;
  FakeExecutor executor_{Limits()};
  Mailbox mailbox_{100};
  CountingObserver observer_;
  std::atomic<int> losses_ = 0;
  std::vector<std::string> warnings_;
  std::unique_ptr<EngineLoop> loop_;
  RequestId next_id_ = 1;
};

TEST_P(EngineLoopTest, StreamsTextUntilTheEndToken) {
  Start("grüße");
  Answer answer = Ask(Request());
  EXPECT_EQ(answer.text(), "grüße");
  EXPECT_EQ(answer.samples[0].token_ids.size(), 8);
  EXPECT_EQ(answer.reason(), FinishReason::kStop);
  EXPECT_EQ(answer.samples[0].finish->stop_token, ByteTokenizer::kEos);
  EXPECT_OK(answer.end.status);
  EXPECT_EQ(answer.end.prompt_tokens, 3);
  EXPECT_EQ(answer.end.completion_tokens, 8);
  EXPECT_EQ(loop_->stats().used_pages, 0);
  loop_->Stop();
  EXPECT_EQ(observer_.steps, 8 + late());
  EXPECT_EQ(observer_.tokens, 3 + 7 + late());
  EXPECT_EQ(observer_.first_tokens, 1);
  EXPECT_EQ(observer_.next_tokens, 7);
  EXPECT_EQ(observer_.NumEnds("stop OK"), 1);
}

TEST_P(EngineLoopTest, AStopStringEndsASampleAndIsNotDelivered) {
  Start("one STOP two", /*endless=*/true);
  ValidRequest request = Request();
  request.stop_strings = {"STOP"};
  Answer answer = Ask(request);
  EXPECT_EQ(answer.text(), "one ");
  EXPECT_EQ(answer.samples[0].token_ids.size(), 8);
  EXPECT_EQ(answer.reason(), FinishReason::kStop);
  EXPECT_EQ(answer.samples[0].finish->stop_string, "STOP");
  EXPECT_OK(answer.end.status);
  EXPECT_EQ(loop_->stats().used_pages, 0);

  request.id = next_id_++;
  request.include_stop_string = true;
  EXPECT_EQ(Ask(request).text(), "one STOP");

  // It counts, too, when it comes with the last token that is allowed.
  request.id = next_id_++;
  request.max_tokens = 8;
  EXPECT_EQ(Ask(request).reason(), FinishReason::kStop);
}

TEST_P(EngineLoopTest, WhatWasHeldBackIsDeliveredAtTheEnd) {
  Start("one ST");
  ValidRequest request = Request(/*max_tokens=*/6);
  request.stop_strings = {"STOP"};
  Answer answer = Ask(request);
  EXPECT_EQ(answer.text(), "one ST");
  EXPECT_EQ(answer.reason(), FinishReason::kLength);
  EXPECT_EQ(observer_.NumEnds("length OK"), 1);
}

TEST_P(EngineLoopTest, SamplesEndOnTheirOwn) {
  Start("text");
  ValidRequest request = Request(/*max_tokens=*/3);
  request.num_samples = 3;
  Answer answer = Ask(request);
  ASSERT_EQ(answer.samples.size(), 3);
  for (int32_t s = 0; s < 3; ++s) EXPECT_EQ(answer.text(s), "tex");
  EXPECT_EQ(answer.end.prompt_tokens, 3);
  EXPECT_EQ(answer.end.completion_tokens, 9);
  EXPECT_EQ(loop_->stats().used_pages, 0);
  EXPECT_EQ(observer_.first_tokens, 1) << "the first token of a request, not of a sample";
  EXPECT_EQ(observer_.sibling_tokens, 2);
  EXPECT_EQ(observer_.next_tokens, 6);
}

TEST_P(EngineLoopTest, CancellingFreesThePages) {
  Start("x", /*endless=*/true);
  Client client;
  const RequestId id = Submit(Request(/*max_tokens=*/500), client);
  EXPECT_EQ(client.Next().text[0], 'x');
  EXPECT_GT(loop_->stats().used_pages, 0);
  mailbox_.Cancel(id, absl::CancelledError("the client has gone"));
  const Answer answer = client.ReadAll();
  EXPECT_THAT(answer.end.status, StatusIs(absl::StatusCode::kCancelled, HasSubstr("the client has gone")));
  EXPECT_EQ(loop_->stats().used_pages, 0);
  EXPECT_EQ(loop_->stats().running, 0);
  EXPECT_EQ(observer_.NumEnds("abort CANCELLED"), 1);
}

TEST_P(EngineLoopTest, AClientThatGivesUpAtItsDeadlineIsCountedAsLate) {
  Start("x", /*endless=*/true);
  Client client;
  const RequestId id = Submit(Request(/*max_tokens=*/500), client);
  EXPECT_EQ(client.Next().text[0], 'x');
  mailbox_.Cancel(id, absl::DeadlineExceededError("the deadline of the call expired"));
  const Answer answer = client.ReadAll();
  EXPECT_THAT(answer.end.status, StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("expired")));
  EXPECT_EQ(observer_.NumEnds("deadline DEADLINE_EXCEEDED"), 1);
}

TEST_P(EngineLoopTest, TheDeadlineEndsARequest) {
  executor_.SetOnCollect([this](int32_t) { clock_.Advance(absl::Seconds(1)); });
  Start("x", /*endless=*/true);
  ValidRequest request = Request(/*max_tokens=*/500);
  request.deadline = clock_.Now() + absl::Seconds(10);
  Answer answer = Ask(request);
  EXPECT_THAT(answer.end.status, StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("deadline")));
  EXPECT_EQ(answer.reason(), FinishReason::kDeadline);
  EXPECT_EQ(answer.text(), std::string(10, 'x')) << "what came before is delivered";
  EXPECT_EQ(answer.end.receipt.prefill + answer.end.receipt.decode, absl::Seconds(10));
}

// A thousand tokens of prompts a second.
TEST_P(EngineLoopTest, ADeadlineThatCannotBeMetIsRefusedAndInquiriesAreAnswered) {
  executor_.SetOnCollect([this](int32_t num_tokens) { clock_.Advance(absl::Milliseconds(num_tokens)); });
  Start("x", /*endless=*/true);
  for (int i = 0; i < 3; ++i) {
    ValidRequest seen = Request(/*max_tokens=*/20);
    seen.prompt.assign(200, 'w');
    Ask(seen);
  }
  EXPECT_EQ(observer_.cost_terms, 6);
  ValidRequest request = Request(/*max_tokens=*/20);
  request.prompt.assign(400, 'y');
  request.deadline = clock_.Now() + absl::Milliseconds(50);
  const ValidRequest inquired = request;
  const Answer answer = Ask(request);
  EXPECT_THAT(answer.end.status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("cannot be met")));
  EXPECT_TRUE(RetryHint(answer.end.status).has_value());
  EXPECT_TRUE(answer.end.refused);
  EXPECT_EQ(answer.end.receipt.computed_tokens, 0);
  EXPECT_EQ(observer_.deadline_refusals, 1);

  absl::Notification answered;
  absl::StatusOr<Forecast> forecast;
  ASSERT_OK(mailbox_.TryAsk({.request = inquired, .answer = [&](absl::StatusOr<Forecast> said) {
                               forecast = std::move(said);
                               answered.Notify();
                             }}));
  ASSERT_TRUE(answered.WaitForNotificationWithTimeout(kPatience));
  ASSERT_OK(forecast);
  EXPECT_THAT(forecast->refusal, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("cannot be met")));
  ASSERT_TRUE(forecast->times.has_value());
  EXPECT_GT(forecast->times->first_token, absl::Milliseconds(300));
  EXPECT_LT(forecast->times->first_token, absl::Milliseconds(550));
}

// Nobody waits for ever for an answer.
TEST_P(EngineLoopTest, InquiriesAreAnsweredWhenTheEngineStops) {
  Start("x");
  loop_->Stop();
  EXPECT_THAT(mailbox_.TryAsk({.request = Request(1), .answer = [](absl::StatusOr<Forecast>) {}}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("shutting down")));
}

TEST_P(EngineLoopTest, ASlowReaderPausesItsOwnRequestOnly) {
  Start("0123456789", /*endless=*/true);
  Client slow({.pause_bytes = 100, .resume_bytes = 20, .max_bytes = 1000});
  Submit(Request(/*max_tokens=*/300), slow);
  EXPECT_EQ(Ask(Request(/*max_tokens=*/400)).text().size(), 400);
  EXPECT_FALSE(slow.stream()->MayResume());
  EXPECT_GT(loop_->stats().used_pages, 0) << "a paused request keeps its pages";
  EXPECT_LT(loop_->stats().used_pages, 5) << "but is not computed";
  Answer answer = slow.ReadAll();
  EXPECT_EQ(answer.text().size(), 300);
  EXPECT_OK(answer.end.status);
}

TEST_P(EngineLoopTest, AReaderThatIsSlowForTooLongLosesItsRequest) {
  Start("0123456789", /*endless=*/true, {.slow_reader_timeout = absl::Seconds(5)});
  Client slow({.pause_bytes = 100, .resume_bytes = 20, .max_bytes = 1000});
  Submit(Request(/*max_tokens=*/300), slow);
  EXPECT_EQ(Ask(Request(/*max_tokens=*/400)).text().size(), 400);
  clock_.Advance(absl::Seconds(6));
  mailbox_.Wake();
  ASSERT_TRUE(Await([&] { return loop_->stats().used_pages == 0; }));
  Answer answer = slow.ReadAll();
  EXPECT_THAT(answer.end.status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("not read")));
  EXPECT_EQ(answer.text().size(), 20 + late()) << "with four bytes per token id, 20 tokens are 100 bytes";
}

TEST_P(EngineLoopTest, AStreamThatOverflowsLosesItsRequest) {
  Start("0123456789", /*endless=*/true);
  Client slow({.pause_bytes = 1000, .resume_bytes = 20, .max_bytes = 100});
  Submit(Request(/*max_tokens=*/300), slow);
  Ask(Request(/*max_tokens=*/400));
  Answer answer = slow.ReadAll();
  EXPECT_THAT(answer.end.status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("not read")));
  EXPECT_EQ(answer.reason(), FinishReason::kCancelled);
}

TEST_P(EngineLoopTest, AFailedStepEndsItsRequestsAndTheLoopLivesOn) {
  executor_.FailNextStep(absl::InternalError("the device is on fire"));
  Start("text");
  Answer answer = Ask(Request());
  EXPECT_THAT(answer.end.status, StatusIs(absl::StatusCode::kInternal, HasSubstr("on fire")));
  EXPECT_EQ(answer.reason(), FinishReason::kError);
  EXPECT_EQ(observer_.failed_steps, 1);
  EXPECT_EQ(losses_, 0);
  EXPECT_EQ(Ask(Request()).text(), "text");
  EXPECT_EQ(loop_->stats().used_pages, 0);
}

TEST_P(EngineLoopTest, AStepWithoutMemoryEndsItsRequestsAndTheLoopLivesOn) {
  std::atomic<bool> has_memory = false;
  executor_.SetOnStep([&](const StepPlan&) {
    if (!has_memory) throw OutOfMemory(123);
  });
  Start("text");
  EXPECT_THAT(Ask(Request()).end.status,
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("out of memory: 123 bytes")));
  EXPECT_EQ(observer_.failed_steps, 1);
  EXPECT_EQ(losses_, 0);
  has_memory = true;
  EXPECT_EQ(Ask(Request()).text(), "text");
  EXPECT_EQ(loop_->stats().used_pages, 0);
}

TEST_P(EngineLoopTest, WarningsOfTheExecutorArePassedOn) {
  executor_.WarnNextStep("slower from now on");
  Start("text");
  EXPECT_EQ(Ask(Request()).text(), "text");
  EXPECT_THAT(warnings_, ElementsAre("slower from now on"));
}

TEST_P(EngineLoopTest, ALostExecutorIsToldOnceAndEveryRequestStillEnds) {
  Start("text");
  EXPECT_EQ(Ask(Request()).text(), "text");
  EXPECT_EQ(losses_, 0);
  ASSERT_TRUE(Await([&] { return observer_.steps == 5 + late(); }));  // nothing is in flight any more
  executor_.Lose(absl::InternalError("the device fell off the bus"));
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(Ask(Request()).end.status, StatusIs(absl::StatusCode::kInternal, HasSubstr("off the bus")));
    EXPECT_EQ(losses_, 1);
  }
  loop_->Stop();
  EXPECT_EQ(observer_.failed_steps, 3 * GetParam());
  EXPECT_EQ(loop_->stats().used_pages, 0);
}

// The device goes while it computes one step and has the next.
TEST_P(EngineLoopTest, ALossInMidstreamEndsEveryRequestOnce) {
  int steps = 0;
  executor_.SetOnStep([&](const StepPlan&) {
    if (++steps == 40) executor_.Lose(absl::InternalError("the device fell off the bus"));
  });
  Start("x", /*endless=*/true);
  std::vector<Client> clients(5);
  for (Client& client : clients) Submit(Request(/*max_tokens=*/500), client);
  for (Client& client : clients)
    EXPECT_THAT(client.ReadAll().end.status, StatusIs(absl::StatusCode::kInternal, HasSubstr("off the bus")));
  EXPECT_EQ(losses_, 1);
  mailbox_.Drain();
  EXPECT_TRUE(loop_->WaitUntilDrained(kPatience));
  EXPECT_EQ(observer_.NumEnds("error INTERNAL"), 5);
  EXPECT_EQ(loop_->stats().used_pages, 0);
}

TEST_P(EngineLoopTest, WhatTheSchedulerDoesNotTakeEndsAtOnce) {
  Start("text");
  const Answer answer = Ask(Request(/*max_tokens=*/1000));
  EXPECT_THAT(answer.end.status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_tokens")));
}

TEST_P(EngineLoopTest, ALivingIdIsNotTakenTwice) {
  Start("x", /*endless=*/true);
  Client first;
  const ValidRequest request = Request(/*max_tokens=*/500);
  Submit(request, first);
  first.Next();
  EXPECT_THAT(Ask(request).end.status, StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("lives")));
  EXPECT_EQ(first.ReadAll().end.completion_tokens, 500);
}

TEST_P(EngineLoopTest, DrainingRefusesNewWorkAndFinishesWhatRuns) {
  absl::Notification go_on;
  executor_.SetOnStep([&](const StepPlan&) { go_on.WaitForNotification(); });
  Start("text");
  Client client;
  Submit(Request(), client);
  mailbox_.Drain();
  EXPECT_THAT(mailbox_.TrySubmit({.request = Request(), .stream = Client().stream()}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("shutting down")));
  EXPECT_FALSE(loop_->WaitUntilDrained(absl::ZeroDuration()));
  go_on.Notify();
  EXPECT_EQ(client.ReadAll().text(), "text");
  EXPECT_TRUE(loop_->WaitUntilDrained(absl::InfiniteDuration()));
}

TEST_P(EngineLoopTest, StoppingEndsEveryRequest) {
  Start("x", /*endless=*/true);
  Client running;
  Submit(Request(/*max_tokens=*/500), running);
  running.Next();
  loop_->Stop();
  EXPECT_THAT(running.ReadAll().end.status,
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("shutting down")));
  EXPECT_EQ(loop_->stats().used_pages, 0);
  EXPECT_TRUE(loop_->WaitUntilDrained(absl::ZeroDuration()));
}

// Clients of several threads come, cancel and go away at once; each gets exactly one end, and no page is
// lost.
TEST_P(EngineLoopTest, ManyClientsAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kRequestsEach = 60;
  Start("some words ", /*endless=*/true);
  std::atomic<RequestId> next_id = 1;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRequestsEach; ++i) {
        Client client({.pause_bytes = 64, .resume_bytes = 16, .max_bytes = 4096});
        ValidRequest request = {.id = next_id++, .prompt = std::vector<TokenId>(1 + i, 'p')};
        request.max_tokens = 1 + (i * 7 + t) % 90;
        request.num_samples = 1 + i % 3;
        request.tenant = std::to_string(t);
        const RequestId id = Submit(request, client);
        if (i % 4 == 1) mailbox_.Cancel(id, absl::CancelledError("the client has gone"));
        if (i % 4 == 2 && !client.Next().end.has_value())
          mailbox_.Cancel(id, absl::CancelledError("the client has gone"));
        if (i % 4 == 2) continue;  // goes away without reading the end
        const Answer answer = client.ReadAll();
        EXPECT_TRUE(i % 4 == 1 || answer.end.completion_tokens == request.max_tokens * request.num_samples);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  mailbox_.Drain();
  EXPECT_TRUE(loop_->WaitUntilDrained(absl::InfiniteDuration()));
  EXPECT_EQ(loop_->stats().used_pages, 0);
  EXPECT_EQ(observer_.NumEnds("abort CANCELLED") + observer_.NumEnds("length OK"), kThreads * kRequestsEach);
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineLoopTest, ::testing::Range(1, kMaxStepsInFlight + 1));

}  // namespace
}  // namespace ropeway::server
