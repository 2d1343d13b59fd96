// How calls end: by their clients, their deadlines, the engine, or since nobody reads.
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "tests/server/rpc/service_fixture.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

TEST_F(ServiceTest, CancellingReachesTheEngineAndFreesThePermit) {
  grpc::ClientContext call;
  const auto reader = stub_->Generate(&call, Request());
  const RequestId id = engine_.WaitForRequest().id;
  call.TryCancel();
  EXPECT_EQ(engine_.WaitForCancel(id).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(front_.admission.live_requests(), 1) << "the engine has not let go yet";
  engine_.Say(LastOfCancelled());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  server_->Shutdown(absl::InfiniteDuration());
  EXPECT_EQ(front_.admission.live_requests(), 0);
}

TEST_F(ServiceTest, ADeadlineReachesTheEngineForUnaryCallsToo) {
  std::thread engine([this] {
    const ValidRequest& request = engine_.WaitForRequest();
    EXPECT_GT(request.deadline, clock_.Now());
    EXPECT_LT(request.deadline, clock_.Now() + absl::Seconds(1));
    EXPECT_EQ(engine_.WaitForCancel(request.id).code(), absl::StatusCode::kDeadlineExceeded);
    engine_.Say(Last("", {.reason = FinishReason::kDeadline}, absl::DeadlineExceededError("expired")));
  });
  grpc::ClientContext call;
  call.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(500)));
  v1::GenerateResponse response;
  EXPECT_EQ(stub_->GenerateUnary(&call, Request(), &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  engine.join();
}

TEST_F(ServiceTest, TheEnginesErrorEndsTheCall) {
  grpc::ClientContext call;
  const auto reader = stub_->Generate(&call, Request());
  engine_.WaitForRequest();
  engine_.Say(Last("", {.reason = FinishReason::kError}, absl::InternalError("the device is lost")));
  const std::vector<v1::GenerateChunk> chunks = ReadAll(*reader);
  ASSERT_EQ(chunks.size(), 1);
  EXPECT_EQ(chunks[0].finish().reason(), v1::FINISH_REASON_ERROR);
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(status.error_message(), "the device is lost");
}

// By that clients tell a server that gives up from a connection that is lost; other ends of a stream promise nothing.
TEST_F(ServiceTest, AnAnswerThatIsBrokenOffSaysWhenToComeAgain) {
  const absl::Status ends[] = {absl::UnavailableError("the server is shutting down"),
                               absl::ResourceExhaustedError("the stream was not read fast enough")};
  for (size_t i = 0; i < 2; ++i) {
    grpc::ClientContext call;
    const auto reader = stub_->Generate(&call, Request());
    engine_.WaitForRequest(i);
    engine_.Say({.text = "a", .token_ids = {7}}, i);
    v1::GenerateChunk chunk;
    ASSERT_TRUE(reader->Read(&chunk));
    engine_.Say(Last("", {.reason = FinishReason::kCancelled}, ends[i]), i);
    ReadAll(*reader);
    const grpc::Status status = reader->Finish();
    EXPECT_EQ(status.error_message(), ends[i].message());
    if (absl::IsUnavailable(ends[i])) {
      ExpectRetryInOneSecond(call, status);
    } else {
      EXPECT_EQ(call.GetServerTrailingMetadata().count(kRetryMetadataKey), 0);
    }
  }
}

TEST_F(ServiceTest, AbortEndsARequestOfTheSameTenantOnly) {
  v1::GenerateRequest request = Request();
  request.set_request_id("r1");
  request.set_tenant("team");
  grpc::ClientContext call;
  const auto reader = stub_->Generate(&call, request);
  const RequestId id = engine_.WaitForRequest().id;

  v1::AbortRequest abort;
  v1::AbortResponse answer;
  abort.set_request_id("r1");
  grpc::ClientContext other_tenant;
  ASSERT_TRUE(stub_->Abort(&other_tenant, abort, &answer).ok());
  EXPECT_FALSE(answer.found());
  abort.set_tenant("team");
  grpc::ClientContext same_tenant;
  ASSERT_TRUE(stub_->Abort(&same_tenant, abort, &answer).ok());
  EXPECT_TRUE(answer.found());
  EXPECT_EQ(engine_.WaitForCancel(id).code(), absl::StatusCode::kCancelled);
  engine_.Say(LastOfCancelled());
  const std::vector<v1::GenerateChunk> chunks = ReadAll(*reader);
  ASSERT_FALSE(chunks.empty());
  EXPECT_TRUE(chunks.back().has_usage());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

// The preparing worker is busy until the deadlines have passed.
TEST_F(ServiceTest, WhatNobodyWaitsForIsNotPrepared) {
  const auto expire = [&](const std::function<void(grpc::ClientContext&)>& ask) {
    absl::Notification free;
    ASSERT_TRUE(front_.preparing.TryPost([&] { free.WaitForNotification(); }));
    grpc::ClientContext call;
    call.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(20)));
    ask(call);
    free.Notify();
    absl::Notification done;
    ASSERT_TRUE(front_.preparing.TryPost([&] { done.Notify(); }));
    done.WaitForNotification();
  };
  const absl::Time end = absl::Now() + absl::Seconds(30);
  // It is bad, which would be found if it were looked at.
  while (CallsOf(front_.metrics, "Generate", "DEADLINE_EXCEEDED") == 0 && absl::Now() < end)
    expire([&](grpc::ClientContext& call) { stub_->Generate(&call, Request(""))->Finish(); });
  EXPECT_GT(CallsOf(front_.metrics, "Generate", "DEADLINE_EXCEEDED"), 0);
  // The server hears of an expired deadline a moment after the client, so that not each attempt tells.
  while (CallsOf(front_.metrics, "Tokenize", "DEADLINE_EXCEEDED") == 0 && absl::Now() < end)
    expire([&](grpc::ClientContext& call) {
      v1::TokenizeRequest request;
      request.mutable_text()->set_text("hi");
      v1::TokenizeResponse response;
      stub_->Tokenize(&call, request, &response);
    });
  EXPECT_GT(CallsOf(front_.metrics, "Tokenize", "DEADLINE_EXCEEDED"), 0);
}

// Whichever comes first, the engine's clock or the client's.
TEST_F(ServiceTest, DeadlinesThatPassAreCountedAsSuch) {
  constexpr int kCalls = 10;
  for (int i = 0; i < kCalls; ++i) {
    grpc::ClientContext call;
    call.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(300)));
    const auto reader = stub_->Generate(&call, Request());
    const RequestId id = engine_.WaitForRequest(i).id;
    engine_.Say({.text = "a", .token_ids = {'a'}}, i);
    const absl::Status why = engine_.WaitForCancel(id);
    EXPECT_THAT(why, StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("deadline")));
    engine_.Say(Last("", {.reason = FinishReason::kDeadline}, why), i);
    ReadAll(*reader);
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  server_->Shutdown(absl::InfiniteDuration());
  EXPECT_EQ(CallsOf(front_.metrics, "Generate", "DEADLINE_EXCEEDED"), kCalls);
  EXPECT_EQ(CallsOf(front_.metrics, "Generate", "CANCELLED"), 0);
}

// The window of a stream takes what the client asked for and has not read; behind it, a write waits.
TEST_F(ServiceTest, AClientThatReadsNothingLosesTheCallAndItsPlaceBefore) {
  grpc::ClientContext call;
  const auto reader = stub_->Generate(&call, Request());
  const RequestId id = engine_.WaitForRequest().id;
  SayMuch();
  EXPECT_THAT(engine_.WaitForCancel(id),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("not read for")));
  engine_.Say(Last("", {.reason = FinishReason::kCancelled}, absl::ResourceExhaustedError("not read")));
  ReadAll(*reader);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  server_->Shutdown(absl::InfiniteDuration());
  EXPECT_EQ(CallsOf(front_.metrics, "Generate", "RESOURCE_EXHAUSTED"), 1);
}

TEST_F(ServiceTest, ThePlaceIsFreeWhenTheEngineIsDoneThoughTheClientReadsNothing) {
  grpc::ClientContext call;
  v1::GenerateRequest request = Request();
  request.set_request_id("unread");
  const auto reader = stub_->Generate(&call, request);
  engine_.WaitForRequest();
  SayMuch();
  engine_.Say(LastOfLength());
  const absl::Time end = absl::Now() + absl::Seconds(10);
  while (front_.admission.live_requests() > 0 && absl::Now() < end) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(front_.admission.live_requests(), 0);
  EXPECT_EQ(front_.admission.open_calls(), 1);
  grpc::ClientContext other;
  const auto again = stub_->Generate(&other, request);  // the name is free, too
  engine_.WaitForRequest(1);
  engine_.Say(LastOfLength(), 1);
  EXPECT_TRUE((ReadAll(*again), again->Finish()).ok());
  EXPECT_TRUE((ReadAll(*reader), reader->Finish()).ok()) << "whoever reads in time gets it all";
}

TEST_F(ServiceTest, AnExpiredDeadlineReachesNothing) {
  grpc::ClientContext late;
  late.set_deadline(absl::ToChronoTime(absl::Now() - absl::Seconds(1)));
  EXPECT_EQ(stub_->Generate(&late, Request())->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(engine_.num_requests(), 0);
}

}  // namespace
}  // namespace ropeway::server
