// What the service answers.
#include "server/rpc/service.h"

#include <limits>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/rpc/service_fixture.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::ByteTokenizer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

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
  EXPECT_EQ(front_.admission.live_requests(), 0);
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

  front_.metrics.SetEngine(
      {.running = 1, .waiting = 2, .used_pages = 3, .cached_pages = 4, .prefix_pages = 6, .total_pages = 10});
  front_.metrics.OnEvictions(7);
  front_.metrics.OnRequestEnd({.finish_reason = "stop", .prompt_tokens = 40, .cached_tokens = 32});
  v1::GetServerInfoResponse server;
  grpc::ClientContext server_call;
  ASSERT_TRUE(stub_->GetServerInfo(&server_call, {}, &server).ok());
  EXPECT_EQ(server.version(), "1.2.3");
  EXPECT_EQ(server.state(), v1::SERVER_STATE_SERVING);
  EXPECT_EQ(server.free_pages(), 7);
  EXPECT_EQ(server.limits().max_prompt_tokens(), 99);
  EXPECT_EQ(server.prefix_cache().scope(), "off");
  EXPECT_EQ(server.prefix_cache().pages(), 6);
  EXPECT_EQ(server.prefix_cache().idle_pages(), 4);
  EXPECT_EQ(server.prefix_cache().queried_tokens(), 40);
  EXPECT_EQ(server.prefix_cache().hit_tokens(), 32);
  EXPECT_EQ(server.prefix_cache().evicted_pages(), 7);
}

TEST_F(ServiceTest, EstimatesAreConvertedAskedAndTold) {
  v1::EstimateRequest request;
  *request.mutable_request() = Request("hello");
  request.mutable_request()->mutable_stopping()->set_max_tokens(8);
  request.set_deadline_ms(2000);
  engine_.SetForecast(Forecast{.pages = 1,
                               .cached_tokens = 3,
                               .expected_tokens = 8,
                               .times = ExpectedTimes{.first_token = absl::Milliseconds(20),
                                                      .next_token = absl::Milliseconds(5),
                                                      .end = absl::Milliseconds(55)}});
  v1::EstimateResponse estimate;
  grpc::Status status;
  std::thread asking([&] {
    grpc::ClientContext call;
    status = stub_->Estimate(&call, request, &estimate);
  });
  const ValidRequest asked = engine_.AnswerInquiry();
  asking.join();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(asked.prompt.size(), 6);  // a token before each text, and one for each byte
  EXPECT_EQ(asked.max_tokens, 8);
  EXPECT_EQ(asked.deadline - asked.arrival, absl::Seconds(2));
  EXPECT_EQ(estimate.prompt_tokens(), 6);
  EXPECT_EQ(estimate.cached_tokens(), 3);
  EXPECT_EQ(estimate.pages(), 1);
  EXPECT_EQ(estimate.expected_tokens(), 8);
  EXPECT_TRUE(estimate.admitted());
  EXPECT_EQ(estimate.refusal(), "");
  EXPECT_FALSE(estimate.has_retry_after_ms());
  EXPECT_EQ(estimate.first_token_ms(), 20);
  EXPECT_EQ(estimate.end_ms(), 55);
  EXPECT_EQ(front_.admission.live_requests(), 0);
  EXPECT_EQ(CallsOf(front_.metrics, "Estimate", "OK"), 1);
}

TEST_F(ServiceTest, EstimatesTellWhyARequestWouldBeRefused) {
  std::vector<Admission::Permit> others;
  for (int i = 0; i < 4; ++i) {
    ASSERT_OK_AND_ASSIGN(others.emplace_back(), front_.admission.TryEnter("another"));
  }
  v1::EstimateRequest request;
  *request.mutable_request() = Request("hello");
  const auto ask = [&](const absl::StatusOr<Forecast>& forecast) {
    engine_.SetForecast(forecast);
    v1::EstimateResponse estimate;
    std::thread asking([&] {
      grpc::ClientContext call;
      EXPECT_TRUE(stub_->Estimate(&call, request, &estimate).ok());
    });
    engine_.AnswerInquiry();
    asking.join();
    return estimate;
  };
  const v1::EstimateResponse full = ask(Forecast());
  EXPECT_FALSE(full.admitted());
  EXPECT_THAT(full.refusal(), HasSubstr("full with 4 requests"));
  EXPECT_EQ(full.retry_after_ms(), 1000);
  EXPECT_FALSE(full.has_first_token_ms());
  others.clear();
  const v1::EstimateResponse late =
      ask(Forecast{.refusal = ExhaustedError("the deadline cannot be met", absl::Milliseconds(250))});
  EXPECT_FALSE(late.admitted());
  EXPECT_THAT(late.refusal(), HasSubstr("cannot be met"));
  EXPECT_EQ(late.retry_after_ms(), 250);
}

TEST_F(ServiceTest, EstimatesRefuseWhatGenerateWould) {
  const auto refusal = [&](const v1::EstimateRequest& request) {
    grpc::ClientContext call;
    v1::EstimateResponse estimate;
    const grpc::Status status = stub_->Estimate(&call, request, &estimate);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  v1::EstimateRequest request;
  EXPECT_EQ(refusal(request), "request must be set");
  *request.mutable_request() = Request("");
  EXPECT_THAT(refusal(request), HasSubstr("text.text must not be empty"));
  *request.mutable_request() = Request("hello");
  for (const double bad :
       {0.0, -1.0, 1e13, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    request.set_deadline_ms(bad);
    EXPECT_THAT(refusal(request), HasSubstr("deadline_ms must be in (0, 1e12], is"));
  }
  request.set_deadline_ms(1000000000000.125);
  EXPECT_THAT(refusal(request), HasSubstr("deadline_ms must be in (0, 1e12], is 1000000000000.125"));
  request.clear_deadline_ms();
  request.mutable_request()->mutable_sampling()->set_top_p(2);
  EXPECT_THAT(refusal(request), HasSubstr("sampling.top_p must be in (0, 1], is 2"));
}

TEST_F(ServiceTest, EveryMethodIsCountedFromZero) {
  std::set<std::string> methods;
  for (const prometheus::MetricFamily& family : front_.metrics.Collect()) {
    if (family.name != "ropeway_calls_total") continue;
    for (const prometheus::ClientMetric& metric : family.metric) {
      for (const prometheus::ClientMetric::Label& label : metric.label)
        if (label.name == "method") methods.insert(label.value);
    }
  }
  EXPECT_THAT(methods, ElementsAre("Abort", "Detokenize", "Estimate", "Generate", "GenerateUnary",
                                   "GetModelInfo", "GetServerInfo", "RenderChat", "Tokenize"));
}

}  // namespace
}  // namespace ropeway::server
