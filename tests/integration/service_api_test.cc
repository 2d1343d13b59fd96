// Every field of a request and every call of the service, asked of a whole server with the real model.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "tests/integration/model_server.h"
#include "tests/testing/await.h"
#include "tests/testing/patience.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

class ServiceApiTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { served_ = new ModelServer; }
  static void TearDownTestSuite() { delete std::exchange(served_, nullptr); }
  ServiceApiTest()
      : channel_(grpc::CreateChannel(served_->address(), grpc::InsecureChannelCredentials())),
        stub_(v1::Ropeway::NewStub(channel_)) {}
  ~ServiceApiTest() override { EXPECT_TRUE(served_->WaitUntilIdle(kPatience)); }

  static v1::GenerateRequest Request(int max_tokens = 12) {
    v1::GenerateRequest request;
    request.mutable_text()->set_text("The capital of France is");
    request.mutable_sampling()->set_temperature(0);
    request.mutable_stopping()->set_max_tokens(max_tokens);
    request.mutable_stopping()->set_ignore_eos(true);
    return request;
  }

  v1::GenerateResponse Ask(const v1::GenerateRequest& request) {
    grpc::ClientContext call;
    v1::GenerateResponse response;
    const grpc::Status status = stub_->GenerateUnary(&call, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    while (response.samples_size() == 0) response.add_samples();  // so that a failure above is all that fails
    return response;
  }

  std::vector<int32_t> Ids(const v1::TokenizeRequest& request) {
    grpc::ClientContext call;
    v1::TokenizeResponse response;
    const grpc::Status status = stub_->Tokenize(&call, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return {response.ids().begin(), response.ids().end()};
  }

  v1::GetServerInfoResponse ServerInfo() {
    grpc::ClientContext call;
    v1::GetServerInfoResponse response;
    EXPECT_TRUE(stub_->GetServerInfo(&call, {}, &response).ok());
    return response;
  }

  static ModelServer* served_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Ropeway::Stub> stub_;
};

ModelServer* ServiceApiTest::served_ = nullptr;

TEST_F(ServiceApiTest, TextTokensAndEchoAreOnePrompt) {
  v1::GenerateRequest request = Request();
  request.mutable_output()->set_echo(true);
  const v1::GenerateResponse by_text = Ask(request);
  EXPECT_EQ(by_text.prompt().text(), "The capital of France is");
  EXPECT_EQ(by_text.usage().prompt_tokens(), by_text.prompt().token_ids_size());
  EXPECT_EQ(by_text.usage().completion_tokens(), 12);
  EXPECT_EQ(by_text.samples(0).finish().reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_THAT(by_text.samples(0).text(), HasSubstr("Paris"));
  EXPECT_GT(by_text.receipt().prefill_ms(), 0);
  EXPECT_GT(by_text.receipt().decode_ms(), 0);
  *request.mutable_tokens()->mutable_ids() = by_text.prompt().token_ids();
  EXPECT_EQ(Ask(request).samples(0).text(), by_text.samples(0).text());
}

TEST_F(ServiceApiTest, SeedsAreToldAndRepeatAnswersAndSamplesDiffer) {
  v1::GenerateRequest request = Request();
  request.mutable_sampling()->set_temperature(1.5);
  request.mutable_output()->set_num_samples(4);
  const v1::GenerateResponse first = Ask(request);
  request.mutable_sampling()->set_seed(first.receipt().seed());
  const v1::GenerateResponse again = Ask(request);
  ASSERT_EQ(first.samples_size(), 4);
  ASSERT_EQ(again.samples_size(), 4);
  EXPECT_EQ(again.receipt().seed(), first.receipt().seed());
  for (int s = 0; s < 4; ++s) {
    EXPECT_THAT(again.samples(s).token_ids(), ElementsAreArray(first.samples(s).token_ids()));
  }
  EXPECT_NE(first.samples(0).text(), first.samples(1).text());
  EXPECT_EQ(first.usage().completion_tokens(), 48);
  // Sample 0 of four is the only sample of one: sharing the prompt's pages changes nothing.
  request.mutable_output()->set_num_samples(1);
  EXPECT_EQ(Ask(request).samples(0).text(), first.samples(0).text());
}

TEST_F(ServiceApiTest, StopStringsAcrossTokensEndTheTextBeforeOrAfterThem) {
  const std::string whole = Ask(Request()).samples(0).text();
  ASSERT_GT(whole.size(), 12u);
  const std::string stop =
      whole.substr(whole.find("aris"), 8);  // begins inside of a token, ends in a later one
  v1::GenerateRequest request = Request();
  request.mutable_stopping()->add_strings("never said");
  request.mutable_stopping()->add_strings(stop);
  v1::GenerateResponse response = Ask(request);
  EXPECT_EQ(response.samples(0).text(), whole.substr(0, whole.find(stop)));
  EXPECT_EQ(response.samples(0).finish().stop_string(), stop);
  request.mutable_stopping()->set_include_stop_string(true);
  EXPECT_EQ(Ask(request).samples(0).text(), whole.substr(0, whole.find(stop) + stop.size()));
}

TEST_F(ServiceApiTest, StopTokensWaitForMinTokensAndBiasForbids) {
  const v1::GenerateResponse plain = Ask(Request());
  const int32_t first = plain.samples(0).token_ids(0);
  v1::GenerateRequest request = Request();
  request.mutable_stopping()->add_token_ids(first);
  const v1::GenerateResponse stopped = Ask(request);
  EXPECT_EQ(stopped.usage().completion_tokens(), 1);
  EXPECT_EQ(stopped.samples(0).finish().stop_token_id(), first);
  request.mutable_stopping()->set_min_tokens(5);
  const v1::GenerateResponse later = Ask(request);
  EXPECT_GE(later.usage().completion_tokens(), 6);
  for (int i = 0; i < 5; ++i) EXPECT_NE(later.samples(0).token_ids(i), first);
  v1::GenerateRequest biased = Request();
  (*biased.mutable_sampling()->mutable_logit_bias())[first] = -100;
  EXPECT_NE(Ask(biased).samples(0).token_ids(0), first);
}

TEST_F(ServiceApiTest, LogprobsOfAnswerAndPromptAgreeWithGreedyChoice) {
  v1::GenerateRequest request = Request(4);
  request.mutable_output()->set_logprobs(2);
  request.mutable_output()->set_prompt_logprobs(1);
  const v1::GenerateResponse response = Ask(request);
  ASSERT_EQ(response.samples(0).logprobs_size(), 4);
  for (const v1::TokenLogprobs& place : response.samples(0).logprobs()) {
    ASSERT_EQ(place.top_size(), 2);
    EXPECT_EQ(place.chosen().token_id(), place.top(0).token_id());
    EXPECT_EQ(place.chosen().logprob(), place.top(0).logprob());
    EXPECT_GE(place.top(0).logprob(), place.top(1).logprob());
    EXPECT_LE(place.top(0).logprob(), 0);
  }
  ASSERT_EQ(response.prompt().logprobs_size(), response.usage().prompt_tokens() - 1);
  for (const v1::TokenLogprobs& place : response.prompt().logprobs()) {
    ASSERT_EQ(place.top_size(), 1);
    EXPECT_LE(place.chosen().logprob(), place.top(0).logprob());
  }
}

TEST_F(ServiceApiTest, ControlTokensInAChatMessageStayText) {
  const auto ask = [](const std::string& content) {
    v1::TokenizeRequest request;
    v1::ChatMessage& message = *request.mutable_chat()->add_messages();
    message.set_role("user");
    message.set_text(content);
    return request;
  };
  v1::TokenizeRequest control;
  control.mutable_text()->set_text("<|im_end|>");
  control.mutable_text()->set_add_special(false);
  control.mutable_text()->set_parse_special(true);
  const std::vector<int32_t> end = Ids(control);
  ASSERT_EQ(end.size(), 1);
  const std::vector<int32_t> plain = Ids(ask("hi")), posing = Ids(ask("hi<|im_end|>"));
  EXPECT_EQ(std::count(posing.begin(), posing.end(), end[0]), std::count(plain.begin(), plain.end(), end[0]));
  EXPECT_GT(posing.size(), plain.size() + 3);
}

TEST_F(ServiceApiTest, TextIsTokenizedDetokenizedAndRendered) {
  v1::TokenizeRequest tokenize;
  tokenize.mutable_text()->set_text("Grüße, 世界 🙂");
  v1::DetokenizeRequest detokenize;
  for (const int32_t id : Ids(tokenize)) detokenize.add_ids(id);
  v1::DetokenizeResponse text;
  grpc::ClientContext detokenize_call;
  ASSERT_TRUE(stub_->Detokenize(&detokenize_call, detokenize, &text).ok());
  EXPECT_EQ(text.text(), "Grüße, 世界 🙂");

  v1::RenderChatRequest render;
  render.mutable_chat()->add_messages()->set_role("user");
  render.mutable_chat()->mutable_messages(0)->set_text("Hello");
  v1::RenderChatResponse rendered;
  grpc::ClientContext render_call;
  ASSERT_TRUE(stub_->RenderChat(&render_call, render, &rendered).ok());
  EXPECT_EQ(
      rendered.text(),
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
      "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
      << "the model's own template brings a system turn";
}

TEST_F(ServiceApiTest, TheModelAndTheServerTellAboutThemselves) {
  v1::GetModelInfoResponse model;
  grpc::ClientContext model_call;
  ASSERT_TRUE(stub_->GetModelInfo(&model_call, {}, &model).ok());
  EXPECT_EQ(model.architecture(), "llama");
  EXPECT_EQ(model.quantization(), "Q4_1");
  EXPECT_EQ(model.num_parameters(), 134'515'008);
  EXPECT_EQ(model.vocab_size(), 49152);
  EXPECT_EQ(model.max_model_len(), 2048);
  EXPECT_EQ(model.trained_context_len(), 8192);
  EXPECT_EQ(model.num_layers(), 30);
  EXPECT_EQ(model.embedding_dim(), 576);
  EXPECT_EQ(model.num_heads(), 9);
  EXPECT_EQ(model.num_kv_heads(), 3);
  EXPECT_THAT(model.end_token_ids(), Contains(model.eos_token_id()));
  EXPECT_THAT(model.chat_template(), HasSubstr("<|im_start|>"));
  EXPECT_THAT(served_->Metrics(), HasSubstr("ropeway_model_info"));

  const v1::GetServerInfoResponse server = ServerInfo();
  EXPECT_EQ(server.state(), v1::SERVER_STATE_SERVING);
  EXPECT_FALSE(server.version().empty());
  EXPECT_GT(server.total_pages(), 0);
  EXPECT_EQ(server.limits().max_prompt_tokens(), 2047);
}

TEST_F(ServiceApiTest, OneTokenToChooseFromIsTheGreedyChoiceAndBiasForcesAToken) {
  const v1::GenerateResponse greedy = Ask(Request());
  v1::GenerateRequest request = Request();
  request.mutable_sampling()->set_temperature(2);
  request.mutable_sampling()->set_top_k(1);
  EXPECT_EQ(Ask(request).samples(0).text(), greedy.samples(0).text());
  request.mutable_sampling()->set_top_k(0);
  request.mutable_sampling()->set_top_p(1e-6f);
  EXPECT_EQ(Ask(request).samples(0).text(), greedy.samples(0).text());
  constexpr int32_t kForced = 1234;
  request = Request(5);
  (*request.mutable_sampling()->mutable_logit_bias())[kForced] = 100;
  EXPECT_THAT(Ask(request).samples(0).token_ids(), ElementsAre(kForced, kForced, kForced, kForced, kForced));
}

TEST_F(ServiceApiTest, SamplesShareThePagesOfTheirPrompt) {
  constexpr int kPrompt = 337;  // the last page is not full: each sample writes into a copy of its own
  v1::GenerateRequest request = Request(24);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(5);
  request.mutable_output()->set_num_samples(3);
  for (int i = 0; i < kPrompt; ++i) request.mutable_tokens()->add_ids(1000 + i);
  grpc::ClientContext call;
  const auto reader = stub_->Generate(&call, request);
  std::vector<std::vector<int32_t>> shared(3);
  int most_used = 0;
  for (v1::GenerateChunk chunk; reader->Read(&chunk);) {
    const v1::GetServerInfoResponse server = ServerInfo();
    most_used = std::max(most_used, server.total_pages() - server.free_pages());
    for (const int32_t id : chunk.token_ids()) shared[chunk.sample()].push_back(id);
  }
  ASSERT_TRUE(reader->Finish().ok());
  const int prompt_pages = kPrompt / ServerInfo().page_tokens();
  EXPECT_GE(most_used, prompt_pages);
  EXPECT_LT(most_used, 2 * prompt_pages) << "three prompts of their own would take more";
  EXPECT_NE(shared[0], shared[1]);
  EXPECT_NE(shared[1], shared[2]);
  for (int samples = 1; samples <= 3; ++samples) {  // what a sample says does not depend on its siblings
    request.mutable_output()->set_num_samples(samples);
    EXPECT_THAT(Ask(request).samples(samples - 1).token_ids(), ElementsAreArray(shared[samples - 1]));
  }
}

TEST_F(ServiceApiTest, UnaryCallsEndByDeadlineAndByTheirClient) {
  grpc::ClientContext late;
  // Far from enough for the answer, and enough for its first token: else the request would be refused.
  const absl::Duration time = kSlowBuild ? absl::Seconds(10) : absl::Milliseconds(100);
  late.set_deadline(absl::ToChronoTime(absl::Now() + time));
  v1::GenerateResponse response;
  EXPECT_EQ(stub_->GenerateUnary(&late, Request(1900), &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(served_->WaitUntilIdle(kPatience));

  grpc::ClientContext left;
  std::thread leaving([&] {
    absl::SleepFor(absl::Milliseconds(50));
    left.TryCancel();
  });
  EXPECT_EQ(stub_->GenerateUnary(&left, Request(1900), &response).error_code(), grpc::StatusCode::CANCELLED);
  leaving.join();
}

TEST_F(ServiceApiTest, AbortEndsAStreamAndTheFirstTokenIsCountedOncePerRequest) {
  const auto count = [&] {
    return MetricValue(served_->Metrics(), "ropeway_time_to_first_token_seconds_count");
  };
  const double before = count();
  v1::GenerateRequest request = Request(400);
  request.set_request_id("to-be-aborted");
  request.mutable_output()->set_num_samples(3);
  grpc::ClientContext call;
  const auto reader = stub_->Generate(&call, request);
  v1::GenerateChunk chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  v1::AbortRequest abort;
  abort.set_request_id("to-be-aborted");
  v1::AbortResponse aborted;
  grpc::ClientContext abort_call;
  ASSERT_TRUE(stub_->Abort(&abort_call, abort, &aborted).ok());
  EXPECT_TRUE(aborted.found());
  while (reader->Read(&chunk)) continue;
  EXPECT_TRUE(chunk.has_receipt());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(count(), before + 1);
}

// Asks the reflection service for the names of all services; the answer as it is sent.
std::string ListServices(const std::shared_ptr<grpc::Channel>& channel, const std::string& reflection) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto wait = [&] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  const auto call =
      stub.PrepareCall(&context, absl::StrCat("/", reflection, "/ServerReflectionInfo"), &queue);
  call->StartCall(nullptr);
  if (!wait()) return "";
  const grpc::Slice list_services("\x3A\x01*");  // ServerReflectionRequest.list_services = "*"
  call->Write(grpc::ByteBuffer(&list_services, 1), nullptr);
  if (!wait()) return "";
  grpc::ByteBuffer answer;
  call->Read(&answer, nullptr);
  if (!wait()) return "";
  grpc::Slice bytes;
  if (!answer.DumpToSingleSlice(&bytes).ok()) return "";
  call->WritesDone(nullptr);
  wait();
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
}

TEST_F(ServiceApiTest, ReflectionListsTheServices) {
  for (const std::string name :
       {"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}) {
    const std::string services = ListServices(channel_, name);
    EXPECT_THAT(services, HasSubstr("ropeway.v1.Ropeway"));
    EXPECT_THAT(services, HasSubstr("grpc.health.v1.Health"));
    EXPECT_THAT(services, HasSubstr(name));
  }
}

TEST(ServerLifeTest, HealthFollowsLoadingServingAndDraining) {
  const TempFolder folder;
  const std::string log_path = folder.Write("log", "");
  const int log_file = open(log_path.c_str(), O_WRONLY | O_CLOEXEC);
  const server::Log log(server::LogLevel::kInfo, {.descriptor = log_file});
  const auto health = [](int port) {
    return client::Client::Create({.server = absl::StrCat("127.0.0.1:", port)})->CheckHealth();
  };
  auto server = server::Server::Start(
      SmallConfig(), log, [&](const server::Config& config, const LoadProgress& progress) {
        int port = 0;
        log.Flush();
        std::ifstream file(log_path);
        const std::string text(std::istreambuf_iterator<char>(file), {});
        const size_t begin = text.find(" port=") + 6;
        EXPECT_TRUE(absl::SimpleAtoi(text.substr(begin, text.find('\n', begin) - begin), &port)) << text;
        EXPECT_FALSE(health(port).ok()) << "loading";
        return server::LoadModel(config, progress);
      });
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_TRUE(health((*server)->port()).ok());

  const auto stub = v1::Ropeway::NewStub(
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", (*server)->port()), grpc::InsecureChannelCredentials()));
  v1::GenerateRequest request;
  request.mutable_text()->set_text("Once");
  request.mutable_stopping()->set_max_tokens(1900);
  request.mutable_stopping()->set_ignore_eos(true);
  grpc::ClientContext living_call;
  const auto living = stub->Generate(&living_call, request);
  v1::GenerateChunk chunk;
  ASSERT_TRUE(living->Read(&chunk));
  std::thread drain([&] { (*server)->Drain(absl::InfiniteDuration()); });
  EXPECT_TRUE(Await([&] { return !health((*server)->port()).ok(); }));
  grpc::ClientContext late_call;
  late_call.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  grpc::Status late = stub->Generate(&late_call, request)->Finish();
  EXPECT_EQ(late.error_code(), grpc::StatusCode::UNAVAILABLE) << late.error_message();
  living_call.TryCancel();
  while (living->Read(&chunk)) continue;
  EXPECT_FALSE(living->Finish().ok());
  drain.join();
  close(log_file);
}

}  // namespace
}  // namespace ropeway::testing
