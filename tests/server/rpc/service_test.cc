// The service over real gRPC, with an engine that says what the test tells it to say.
#include "server/rpc/service.h"

#include <cmath>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "grpcpp/grpcpp.h"
#include "prometheus/text_serializer.h"
#include "proto/google/rpc/error_details.pb.h"
#include "proto/google/rpc/status.pb.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "server/front/convert_chunk.h"
#include "server/rpc/rpc_server.h"
#include "server/rpc/status_map.h"
#include "tests/server/front/manual_engine.h"
#include "tests/server/front/test_model.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::server::testing::MakeTestModel;
using ::ropeway::server::testing::ManualEngine;
using ::ropeway::testing::ByteTokenizer;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ServiceTest : public ::testing::Test {
 protected:
  ServiceTest() {
    service_ = MakeRopewayService(context_);
    auto server = RpcServer::Start({.address = "127.0.0.1:0", .max_request_bytes = 1 << 20}, *service_);
    EXPECT_OK(server);
    server_ = *std::move(server);
    channel_ =
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()), grpc::InsecureChannelCredentials());
    stub_ = v1::Ropeway::NewStub(channel_);
    Serve();
  }

  ~ServiceTest() override { server_->Shutdown(absl::ZeroDuration()); }

  void Serve() {
    context_.engine = &handle_;
    health_.StartServing();
    server_->SetServing();
  }

  static v1::GenerateRequest Request(const std::string& text = "hi") {
    v1::GenerateRequest request;
    request.mutable_text()->set_text(text);
    return request;
  }

  // The last chunk of a request of one sample.
  static StreamChunk Last(const std::string& text, SampleEnd finish, absl::Status status = absl::OkStatus()) {
    return {.text = text,
            .finish = std::move(finish),
            .end = RequestEnd{.status = std::move(status),
                              .prompt_tokens = 3,
                              .completion_tokens = 6,
                              .receipt = {.queue = absl::Milliseconds(1),
                                          .prefill = absl::Milliseconds(2),
                                          .decode = absl::Milliseconds(3),
                                          .cached_tokens = 1,
                                          .recomputed_tokens = 2,
                                          .preemptions = 3}}};
  }
  static StreamChunk LastOfLength(const std::string& text = "a") {
    return Last(text, {.reason = FinishReason::kLength});
  }
  static StreamChunk LastOfCancelled() {
    return Last("", {.reason = FinishReason::kCancelled}, absl::CancelledError("the request was cancelled"));
  }

  // All messages of a stream until its end.
  static std::vector<v1::GenerateChunk> ReadAll(grpc::ClientReader<v1::GenerateChunk>& reader) {
    std::vector<v1::GenerateChunk> chunks;
    for (v1::GenerateChunk chunk; reader.Read(&chunk);) chunks.push_back(chunk);
    return chunks;
  }

  static v1::GenerateResponse Merge(const std::vector<v1::GenerateChunk>& chunks) {
    v1::GenerateResponse response;
    for (const v1::GenerateChunk& chunk : chunks) MergeChunk(chunk, response);
    return response;
  }

  const RealClock clock_;
  Health health_;
  const Log log_{LogLevel::kError};
  Metrics metrics_{"bytes"};
  Admission admission_{{.max_requests = 4}};
  RequestRegistry requests_;
  Mailbox mailbox_{64};
  ManualEngine engine_{mailbox_};
  const ServedModel model_ = MakeTestModel();
  const EngineHandle handle_ = {
      .model = model_, .limits = {.max_model_len = 100}, .stream = {}, .mailbox = mailbox_};
  WorkerPool preparing_{1, 64};
  WorkerPool delivering_{1, SIZE_MAX};
  const PrefixSalts prefix_salts_{PrefixCache::kOff, ""};
  FrontContext context_ = {.clock = clock_,
                           .health = health_,
                           .log = log_,
                           .metrics = metrics_,
                           .admission = admission_,
                           .requests = requests_,
                           .preparing = preparing_,
                           .delivering = delivering_,
                           .prefix_salts = prefix_salts_,
                           .version = "1.2.3"};
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Ropeway::Stub> stub_;
};

TEST_F(ServiceTest, AStreamCarriesDeltasAndEndsWithUsageAndReceipt) {
  grpc::ClientContext call;
  v1::GenerateRequest request = Request();
  request.mutable_sampling()->set_seed(99);
  const auto reader = stub_->Generate(&call, request);
  engine_.WaitForRequest();
  engine_.SayText("Par");
  v1::GenerateChunk first;
  ASSERT_TRUE(reader->Read(&first)) << "text arrives before the end";
  EXPECT_FALSE(first.request_id().empty());
  EXPECT_FALSE(first.has_usage());
  engine_.SayText("is");
  StreamChunk last = Last("", {.reason = FinishReason::kStop, .stop_token = ByteTokenizer::kEos});
  last.token_ids = {ByteTokenizer::kEos};
  engine_.Say(last);
  std::vector<v1::GenerateChunk> chunks = ReadAll(*reader);
  EXPECT_TRUE(reader->Finish().ok());
  ASSERT_FALSE(chunks.empty());
  EXPECT_TRUE(chunks.back().request_id().empty()) << "only the first message names the request";
  chunks.insert(chunks.begin(), first);
  const v1::GenerateResponse all = Merge(chunks);
  ASSERT_EQ(all.samples_size(), 1);
  EXPECT_EQ(all.samples(0).text(), "Paris");
  EXPECT_THAT(all.samples(0).token_ids(), ElementsAre('P', 'a', 'r', 'i', 's', ByteTokenizer::kEos));
  EXPECT_EQ(all.samples(0).finish().reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(all.samples(0).finish().stop_token_id(), ByteTokenizer::kEos);
  EXPECT_EQ(all.usage().prompt_tokens(), 3);
  EXPECT_EQ(all.usage().completion_tokens(), 6);
  EXPECT_EQ(all.receipt().queue_ms(), 1);
  EXPECT_EQ(all.receipt().prefill_ms(), 2);
  EXPECT_EQ(all.receipt().decode_ms(), 3);
  EXPECT_EQ(all.receipt().cached_tokens(), 1);
  EXPECT_EQ(all.receipt().recomputed_tokens(), 2);
  EXPECT_EQ(all.receipt().preemptions(), 3);
  EXPECT_EQ(all.receipt().seed(), 99);
}

TEST_F(ServiceTest, AUnaryCallAnswersOnceWithEverySample) {
  v1::GenerateRequest request = Request();
  request.set_request_id("mine");
  request.mutable_output()->set_num_samples(2);
  request.mutable_output()->set_echo(true);
  request.mutable_output()->set_logprobs(1);
  request.mutable_output()->set_prompt_logprobs(0);
  std::thread engine([this] {
    engine_.WaitForRequest();
    engine_.Say({.sample = 1,
                 .text = "b",
                 .token_ids = {'b'},
                 .logprobs = {{.chosen = -1, .top = {{'c', -0.5f}}}},
                 .finish = SampleEnd{.reason = FinishReason::kStop, .stop_string = "END"}});
    StreamChunk last = LastOfLength("a");
    last.prompt_logprobs = {{.chosen = -3}, {.chosen = -4}};
    engine_.Say(last);
  });
  grpc::ClientContext call;
  v1::GenerateResponse response;
  const grpc::Status status = stub_->GenerateUnary(&call, request, &response);
  engine.join();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.request_id(), "mine");
  EXPECT_EQ(response.prompt().text(), "<bos>hi");
  EXPECT_THAT(response.prompt().token_ids(), ElementsAre(ByteTokenizer::kBos, 'h', 'i'));
  ASSERT_EQ(response.samples_size(), 2);
  EXPECT_EQ(response.samples(0).text(), "a");
  EXPECT_EQ(response.samples(1).text(), "b");
  EXPECT_EQ(response.samples(1).logprobs(0).chosen().token(), "b");
  EXPECT_EQ(response.samples(1).logprobs(0).top(0).token_id(), 'c');
  EXPECT_EQ(response.samples(1).logprobs(0).top(0).logprob(), -0.5f);
  EXPECT_EQ(response.samples(1).finish().stop_string(), "END");
  ASSERT_EQ(response.prompt().logprobs_size(), 2);
  EXPECT_EQ(response.prompt().logprobs(1).chosen().token_id(), 'i');
  EXPECT_EQ(response.prompt().logprobs(1).chosen().logprob(), -4);
  EXPECT_EQ(response.usage().completion_tokens(), 6);
  EXPECT_EQ(admission_.live_requests(), 0);
}

TEST_F(ServiceTest, CancellingReachesTheEngineAndFreesThePermit) {
  grpc::ClientContext call;
  const auto reader = stub_->Generate(&call, Request());
  const RequestId id = engine_.WaitForRequest().id;
  call.TryCancel();
  engine_.WaitForCancel(id);
  EXPECT_EQ(admission_.live_requests(), 1) << "the engine has not let go yet";
  engine_.Say(LastOfCancelled());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  server_->Shutdown(absl::InfiniteDuration());
  EXPECT_EQ(admission_.live_requests(), 0);
}

TEST_F(ServiceTest, ADeadlineReachesTheEngineForUnaryCallsToo) {
  std::thread engine([this] {
    const ValidRequest& request = engine_.WaitForRequest();
    EXPECT_LT(request.deadline, absl::InfiniteFuture());
    engine_.WaitForCancel(request.id);
    engine_.Say(Last("", {.reason = FinishReason::kDeadline}, absl::DeadlineExceededError("expired")));
  });
  grpc::ClientContext call;
  call.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(50)));
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
  engine_.WaitForCancel(id);
  engine_.Say(LastOfCancelled());
  const std::vector<v1::GenerateChunk> chunks = ReadAll(*reader);
  ASSERT_FALSE(chunks.empty());
  EXPECT_TRUE(chunks.back().has_usage());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServiceTest, ARequestIdIsUniqueAmongTheLiving) {
  v1::GenerateRequest request = Request();
  request.set_request_id("twice");
  grpc::ClientContext first_call;
  const auto first = stub_->Generate(&first_call, request);
  engine_.WaitForRequest();
  grpc::ClientContext second_call;
  const auto second = stub_->Generate(&second_call, request);
  EXPECT_EQ(second->Finish().error_code(), grpc::StatusCode::ALREADY_EXISTS);
  engine_.Say(LastOfLength());
  EXPECT_TRUE((ReadAll(*first), first->Finish()).ok());
}

// Both ways of telling a client when to come again say the same.
void ExpectRetryInOneSecond(const grpc::ClientContext& call, const grpc::Status& status) {
  EXPECT_EQ(call.GetServerTrailingMetadata().count(kRetryMetadataKey), 1);
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(details.message(), status.error_message());
  google::rpc::RetryInfo retry;
  ASSERT_EQ(details.details_size(), 1);
  EXPECT_EQ(details.details(0).type_url(), "type.googleapis.com/google.rpc.RetryInfo");
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
}

TEST_F(ServiceTest, AFullMailboxRefusesWithARetryHintAndFreesThePermit) {
  Mailbox full(0);
  const EngineHandle handle = {.model = model_, .limits = handle_.limits, .stream = {}, .mailbox = full};
  context_.engine = &handle;
  grpc::ClientContext call;
  const grpc::Status status = stub_->Generate(&call, Request())->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  ExpectRetryInOneSecond(call, status);
  server_->Shutdown(absl::InfiniteDuration());
  EXPECT_EQ(admission_.live_requests(), 0);
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
  ASSERT_TRUE(preparing_.TryPost([&] { prepare.WaitForNotification(); }));
  std::vector<std::unique_ptr<grpc::ClientContext>> calls;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateChunk>>> readers;
  const auto ask = [&](const std::string& text) {
    calls.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(stub_->Generate(calls.back().get(), Request(text)));
    while (admission_.live_requests() < static_cast<int32_t>(readers.size())) std::this_thread::yield();
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
  EXPECT_EQ(admission_.live_requests(), 0);
}

double CallsOf(const Metrics& metrics, const std::string& method, const std::string& code) {
  const std::string text = prometheus::TextSerializer().Serialize(metrics.Collect());
  const std::string series = absl::StrCat("code=\"", code, "\",method=\"", method, "\"} ");
  const size_t found = text.find(series);
  return found == std::string::npos ? 0 : std::stod(text.substr(found + series.size()));
}

// The preparing worker is busy until the deadlines have passed.
TEST_F(ServiceTest, WhatNobodyWaitsForIsNotPrepared) {
  const auto expire = [&](const std::function<void(grpc::ClientContext&)>& ask) {
    absl::Notification free;
    ASSERT_TRUE(preparing_.TryPost([&] { free.WaitForNotification(); }));
    grpc::ClientContext call;
    call.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(20)));
    ask(call);
    free.Notify();
    absl::Notification done;
    ASSERT_TRUE(preparing_.TryPost([&] { done.Notify(); }));
    done.WaitForNotification();
  };
  const absl::Time end = absl::Now() + absl::Seconds(30);
  // It is bad, which would be found if it were looked at.
  while (CallsOf(metrics_, "Generate", "DEADLINE_EXCEEDED") == 0 && absl::Now() < end)
    expire([&](grpc::ClientContext& call) { stub_->Generate(&call, Request(""))->Finish(); });
  EXPECT_GT(CallsOf(metrics_, "Generate", "DEADLINE_EXCEEDED"), 0);
  // The server hears of an expired deadline a moment after the client, so that not each attempt tells.
  while (CallsOf(metrics_, "Tokenize", "CANCELLED") == 0 && absl::Now() < end)
    expire([&](grpc::ClientContext& call) {
      v1::TokenizeRequest request;
      request.mutable_text()->set_text("hi");
      v1::TokenizeResponse response;
      stub_->Tokenize(&call, request, &response);
    });
  EXPECT_GT(CallsOf(metrics_, "Tokenize", "CANCELLED"), 0);
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
  EXPECT_EQ(admission_.live_requests(), 0);
}

TEST_F(ServiceTest, AnExpiredDeadlineAndATooLargeMessageReachNothing) {
  grpc::ClientContext late;
  late.set_deadline(absl::ToChronoTime(absl::Now() - absl::Seconds(1)));
  EXPECT_EQ(stub_->Generate(&late, Request())->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  grpc::ClientContext large;
  const grpc::Status status = stub_->Generate(&large, Request(std::string(2 << 20, 'a')))->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(engine_.num_requests(), 0);
}

TEST_F(ServiceTest, DrainingRefusesNewRequestsAndFinishesLivingOnes) {
  grpc::ClientContext call;
  const auto living = stub_->Generate(&call, Request());
  engine_.WaitForRequest();
  health_.StartDraining();
  admission_.StartDraining();
  grpc::ClientContext late_call;
  EXPECT_EQ(stub_->Generate(&late_call, Request())->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  engine_.Say(LastOfLength());
  EXPECT_EQ(Merge(ReadAll(*living)).samples(0).text(), "a");
  EXPECT_TRUE(living->Finish().ok());
}

TEST_F(ServiceTest, TextsAreTokenizedRenderedAndDetokenized) {
  v1::TokenizeRequest tokenize;
  tokenize.mutable_text()->set_text("ä");
  v1::TokenizeResponse tokens;
  grpc::ClientContext tokenize_call;
  ASSERT_TRUE(stub_->Tokenize(&tokenize_call, tokenize, &tokens).ok());
  EXPECT_THAT(tokens.ids(), ElementsAre(ByteTokenizer::kBos, 0xC3, 0xA4));
  EXPECT_THAT(tokens.tokens(), ElementsAre("<bos>", "\xC3", "\xA4"));

  v1::DetokenizeRequest detokenize;
  for (const int32_t id : tokens.ids()) detokenize.add_ids(id);
  v1::DetokenizeResponse text;
  grpc::ClientContext detokenize_call;
  ASSERT_TRUE(stub_->Detokenize(&detokenize_call, detokenize, &text).ok());
  EXPECT_EQ(text.text(), "ä");

  v1::RenderChatRequest render;
  render.mutable_chat()->add_messages()->set_role("user");
  v1::RenderChatResponse rendered;
  grpc::ClientContext render_call;
  ASSERT_TRUE(stub_->RenderChat(&render_call, render, &rendered).ok());
  EXPECT_EQ(rendered.text(), "<|im_start|>user\n<|im_end|><|im_start|>assistant\n");
}

TEST_F(ServiceTest, TellsAboutTheModelAndTheServer) {
  v1::GetModelInfoResponse model;
  grpc::ClientContext model_call;
  ASSERT_TRUE(stub_->GetModelInfo(&model_call, {}, &model).ok());
  EXPECT_EQ(model.name(), "bytes");
  EXPECT_EQ(model.vocab_size(), ByteTokenizer::kVocabSize);
  EXPECT_EQ(model.max_model_len(), 100);
  EXPECT_THAT(model.end_token_ids(), ElementsAre(ByteTokenizer::kEos, ByteTokenizer::kTurnEnd));

  metrics_.SetEngine({.running = 1, .waiting = 2, .used_pages = 3, .total_pages = 10});
  v1::GetServerInfoResponse server;
  grpc::ClientContext server_call;
  ASSERT_TRUE(stub_->GetServerInfo(&server_call, {}, &server).ok());
  EXPECT_EQ(server.version(), "1.2.3");
  EXPECT_EQ(server.state(), v1::SERVER_STATE_SERVING);
  EXPECT_EQ(server.free_pages(), 7);
  EXPECT_EQ(server.limits().max_prompt_tokens(), 99);
}

TEST_F(ServiceTest, EveryMethodIsCountedFromZero) {
  std::set<std::string> methods;
  for (const prometheus::MetricFamily& family : metrics_.Collect()) {
    if (family.name != "ropeway_calls_total") continue;
    for (const prometheus::ClientMetric& metric : family.metric) {
      for (const prometheus::ClientMetric::Label& label : metric.label)
        if (label.name == "method") methods.insert(label.value);
    }
  }
  EXPECT_THAT(methods, ElementsAre("Abort", "Detokenize", "Generate", "GenerateUnary", "GetModelInfo",
                                   "GetServerInfo", "RenderChat", "Tokenize"));
}

TEST_F(ServiceTest, WhileTheModelLoadsCallsAreUnavailableButServerInfoAnswers) {
  context_.engine = nullptr;
  grpc::ClientContext call;
  EXPECT_EQ(stub_->Generate(&call, Request())->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  v1::GetModelInfoResponse model;
  grpc::ClientContext model_call;
  EXPECT_EQ(stub_->GetModelInfo(&model_call, {}, &model).error_code(), grpc::StatusCode::UNAVAILABLE);
  v1::GetServerInfoResponse server;
  grpc::ClientContext server_call;
  EXPECT_TRUE(stub_->GetServerInfo(&server_call, {}, &server).ok());
}

}  // namespace
}  // namespace ropeway::server
