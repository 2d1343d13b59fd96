// Whom the service refuses, with which words, and when to come again.
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "tests/server/rpc/service_fixture.h"
#include "tests/testing/await.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::Await;
using ::testing::HasSubstr;

TEST_F(ServiceTest, AFullMailboxRefusesWithARetryHintAndFreesThePermit) {
  Mailbox full(0);
  const EngineHandle handle = {
      .model = front_.model, .limits = front_.engine.limits, .stream = {}, .mailbox = full};
  front_.context.engine = &handle;
  grpc::ClientContext call;
  const grpc::Status status = stub_->Generate(&call, Request())->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  ExpectRetryInOneSecond(call, status);
  server_->Shutdown(absl::InfiniteDuration());
  EXPECT_EQ(front_.admission.live_requests(), 0);
}

TEST_F(ServiceTest, AFullServerRefusesWithARetryHint) {
  std::vector<std::unique_ptr<grpc::ClientContext>> calls;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateChunk>>> readers;
  for (size_t i = 0; i < 4; ++i) {
    calls.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(stub_->Generate(calls.back().get(), Request()));
    engine_.WaitForRequest(i);
  }
  grpc::ClientContext call;
  const auto refused = stub_->Generate(&call, Request());
  const grpc::Status status = refused->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("full with 4 requests"));
  ExpectRetryInOneSecond(call, status);
  for (size_t i = 0; i < 4; ++i) engine_.Say(LastOfLength(), i);
  for (const auto& reader : readers) ReadAll(*reader);
}

// The preparing worker is kept busy, so that requests have arrived but none was tokenized.
TEST_F(ServiceTest, AFullServerRefusesOnArrivalBeforeAnythingIsPrepared) {
  absl::Notification prepare;
  ASSERT_TRUE(front_.preparing.TryPost([&] { prepare.WaitForNotification(); }));
  std::vector<std::unique_ptr<grpc::ClientContext>> calls;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateChunk>>> readers;
  const auto ask = [&](const std::string& text) {
    calls.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(stub_->Generate(calls.back().get(), Request(text)));
    EXPECT_TRUE(
        Await([&] { return front_.admission.live_requests() == static_cast<int32_t>(readers.size()); }));
  };
  for (int i = 0; i < 3; ++i) ask("hi");
  ask("");  // is found to be bad only when it is prepared
  grpc::ClientContext call;
  const grpc::Status stream = stub_->Generate(&call, Request())->Finish();
  EXPECT_THAT(stream.error_message(), HasSubstr("full with 4 requests"));
  ExpectRetryInOneSecond(call, stream);
  grpc::ClientContext unary_call;
  v1::GenerateResponse response;
  const grpc::Status unary = stub_->GenerateUnary(&unary_call, Request(), &response);
  EXPECT_EQ(unary.error_message(), stream.error_message());
  ExpectRetryInOneSecond(unary_call, unary);
  EXPECT_EQ(engine_.num_requests(), 0);

  prepare.Notify();
  EXPECT_EQ(readers[3]->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  engine_.WaitForRequest(2);
  for (size_t i = 0; i < 3; ++i) engine_.Say(LastOfLength(), i);
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE((ReadAll(*readers[i]), readers[i]->Finish()).ok());
  server_->Shutdown(absl::InfiniteDuration());
  EXPECT_EQ(front_.admission.live_requests(), 0);
}

TEST_F(ServiceTest, BadInputIsRefusedByNameAndNeverReachesTheEngine) {
  v1::GenerateRequest bad = Request();
  bad.mutable_sampling()->set_temperature(-1);
  grpc::ClientContext call;
  const grpc::Status status = stub_->Generate(&call, bad)->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "sampling.temperature must be in [0, 100], is -1");

  grpc::ClientContext utf8_call;
  v1::GenerateResponse response;
  const grpc::Status utf8 = stub_->GenerateUnary(&utf8_call, Request("\xff"), &response);
  EXPECT_EQ(utf8.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(utf8.error_message(), "text.text must be valid UTF-8");
  EXPECT_EQ(engine_.num_requests(), 0);
}

// A way to spoil a request, and what the answer says about it.
struct Fault {
  std::function<void(v1::GenerateRequest&)> spoil;
  std::string message;
};

std::vector<Fault> Faults() {
  using Request = v1::GenerateRequest;
  return {
      {[](Request& r) { r.mutable_sampling()->set_temperature(NAN); },
       "sampling.temperature must be in [0, 100]"},
      {[](Request& r) { r.mutable_sampling()->set_top_p(0); }, "sampling.top_p must be in (0, 1], is 0"},
      {[](Request& r) { r.mutable_sampling()->set_top_k(-1); }, "sampling.top_k"},
      {[](Request& r) { r.mutable_sampling()->set_min_p(1); }, "sampling.min_p"},
      {[](Request& r) { r.mutable_sampling()->set_repetition_penalty(0); }, "sampling.repetition_penalty"},
      {[](Request& r) { r.mutable_sampling()->set_presence_penalty(3); }, "sampling.presence_penalty"},
      {[](Request& r) { (*r.mutable_sampling()->mutable_logit_bias())[99999] = 1; },
       "sampling.logit_bias key must be in [0, "},
      {[](Request& r) { (*r.mutable_sampling()->mutable_logit_bias())[1] = -101; },
       "sampling.logit_bias[1] must be in [-100, 100], is -101"},
      {[](Request& r) {
         for (int i = 0; i < 10000; ++i) r.mutable_stopping()->add_strings("x");
       },
       "stopping.strings must have at most 16 entries, has 10000"},
      {[](Request& r) { r.mutable_stopping()->add_strings(""); }, "stopping.strings[0] must have [1, "},
      {[](Request& r) { r.mutable_stopping()->add_strings("ab\xff"); },
       "stopping.strings must be valid UTF-8"},
      {[](Request& r) { r.mutable_stopping()->set_max_tokens(0); }, "stopping.max_tokens must be in [1, "},
      {[](Request& r) { r.mutable_stopping()->set_min_tokens(-1); }, "stopping.min_tokens"},
      {[](Request& r) { r.mutable_output()->set_num_samples(0); },
       "output.num_samples must be in [1, 16], is 0"},
      {[](Request& r) { r.mutable_output()->set_logprobs(-1); }, "output.logprobs must be in [0, 20], is -1"},
      {[](Request& r) { r.set_priority(101); }, "priority must be in [-100, 100], is 101"},
      {[](Request& r) { r.mutable_tokens(); }, "must not be empty"},
      {[](Request& r) { r.mutable_tokens()->add_ids(-1); }, "tokens.ids[0] must be in [0, "},
      {[](Request& r) { r.mutable_text()->set_text(std::string(101, 'a')); },
       "the prompt must be at most 99 tokens"},
      {[](Request& r) { r.mutable_chat(); }, "chat.messages must not be empty"},
      {[](Request& r) { r.mutable_chat()->add_messages()->set_role("pirate"); }, "is \"pirate\""},
      {[](Request& r) {
         v1::ChatMessage& message = *r.mutable_chat()->add_messages();
         message.set_role("user");
         message.set_text("raise");
       },
       "refused by the template"},
  };
}

TEST_F(ServiceTest, EveryFaultIsNamedToStreamsAndUnaryCalls) {
  for (const Fault& fault : Faults()) {
    v1::GenerateRequest request = Request();
    fault.spoil(request);
    grpc::ClientContext stream_call;
    const grpc::Status stream = stub_->Generate(&stream_call, request)->Finish();
    EXPECT_EQ(stream.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << fault.message;
    EXPECT_THAT(stream.error_message(), HasSubstr(fault.message));
    grpc::ClientContext unary_call;
    v1::GenerateResponse response;
    const grpc::Status unary = stub_->GenerateUnary(&unary_call, request, &response);
    EXPECT_EQ(unary.error_message(), stream.error_message());
  }
  EXPECT_EQ(engine_.num_requests(), 0);
  EXPECT_EQ(front_.admission.live_requests(), 0);
}

TEST_F(ServiceTest, ARequestThatIsTooLargeIsRefusedByNameAndCounted) {
  const std::string large(2 * kMaxRequestBytes, 'a');
  const auto expect_refused = [&](const grpc::Status& status, const std::string& method) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_THAT(status.error_message(), HasSubstr("the request must be at most 1048576 bytes, is 2097"));
    EXPECT_EQ(CallsOf(front_.metrics, method, "INVALID_ARGUMENT"), 1) << method;
  };
  grpc::ClientContext stream, unary, tokenize_call, render_call;
  expect_refused(stub_->Generate(&stream, Request(large))->Finish(), "Generate");
  v1::GenerateResponse response;
  expect_refused(stub_->GenerateUnary(&unary, Request(large), &response), "GenerateUnary");
  v1::TokenizeRequest tokenize;
  tokenize.mutable_text()->set_text(large);
  v1::TokenizeResponse tokens;
  expect_refused(stub_->Tokenize(&tokenize_call, tokenize, &tokens), "Tokenize");
  v1::RenderChatRequest render;
  render.mutable_chat()->set_tools_json(large);
  v1::RenderChatResponse text;
  expect_refused(stub_->RenderChat(&render_call, render, &text), "RenderChat");
  EXPECT_EQ(engine_.num_requests(), 0);
}

TEST_F(ServiceTest, DrainingRefusesNewRequestsAndFinishesLivingOnes) {
  grpc::ClientContext call;
  const auto living = stub_->Generate(&call, Request());
  engine_.WaitForRequest();
  front_.health.StartDraining();
  front_.admission.StartDraining();
  grpc::ClientContext late_call;
  const grpc::Status refused = stub_->Generate(&late_call, Request())->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  ExpectRetryInOneSecond(late_call, refused);
  engine_.Say(LastOfLength());
  EXPECT_EQ(Merge(ReadAll(*living)).samples(0).text(), "a");
  EXPECT_TRUE(living->Finish().ok());
}

TEST_F(ServiceTest, WhileTheModelLoadsCallsAreUnavailableButServerInfoAnswers) {
  front_.context.engine = nullptr;
  grpc::ClientContext call;
  const grpc::Status status = stub_->Generate(&call, Request())->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  ExpectRetryInOneSecond(call, status);
  v1::GetModelInfoResponse model;
  grpc::ClientContext model_call;
  const grpc::Status model_status = stub_->GetModelInfo(&model_call, {}, &model);
  EXPECT_EQ(model_status.error_code(), grpc::StatusCode::UNAVAILABLE);
  ExpectRetryInOneSecond(model_call, model_status);
  v1::GetServerInfoResponse server;
  grpc::ClientContext server_call;
  EXPECT_TRUE(stub_->GetServerInfo(&server_call, {}, &server).ok());
}

}  // namespace
}  // namespace ropeway::server
