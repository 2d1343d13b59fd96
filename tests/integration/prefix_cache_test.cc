// What prompts begin with is computed once, and answers do not tell: their bytes are those of a server
// without a prefix cache. With the real model.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "tests/integration/model_server.h"
#include "tests/testing/patience.h"

namespace ropeway::testing {
namespace {

constexpr int32_t kPageTokens = 16;

// About 400 tokens.
std::string Story() {
  std::string story;
  for (int day = 1; day <= 20; ++day)
    story += "On day " + std::to_string(day) + " the cable car carried " + std::to_string(day * 37 % 100) +
             " people over the river and up to the old castle. ";
  return story;
}

class PrefixCacheTest : public ::testing::Test {
 protected:
  explicit PrefixCacheTest(server::PrefixCache scope = server::PrefixCache::kTenant) {
    server::Config config = SmallConfig();
    config.prefix_cache = scope;
    served_ = std::make_unique<ModelServer>(config);
    stub_ = v1::Ropeway::NewStub(grpc::CreateChannel(served_->address(), grpc::InsecureChannelCredentials()));
  }
  ~PrefixCacheTest() override { EXPECT_TRUE(served_->WaitUntilIdle(kPatience)); }

  static v1::GenerateRequest Request(const std::string& text, const std::string& tenant = "") {
    v1::GenerateRequest request;
    request.mutable_text()->set_text(text);
    request.set_tenant(tenant);
    request.mutable_sampling()->set_temperature(0);
    request.mutable_stopping()->set_max_tokens(12);
    request.mutable_stopping()->set_ignore_eos(true);
    request.mutable_output()->set_logprobs(2);
    return request;
  }

  v1::GenerateResponse Ask(const v1::GenerateRequest& request) {
    grpc::ClientContext call;
    v1::GenerateResponse response;
    const grpc::Status status = stub_->GenerateUnary(&call, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  v1::GetServerInfoResponse ServerInfo() {
    grpc::ClientContext call;
    v1::GetServerInfoResponse response;
    EXPECT_TRUE(stub_->GetServerInfo(&call, {}, &response).ok());
    return response;
  }

  // Samples and prompt as bytes; what differs from call to call is left out.
  static std::string Bytes(v1::GenerateResponse response) {
    response.clear_request_id();
    response.clear_receipt();
    return response.SerializeAsString();
  }

  std::unique_ptr<ModelServer> served_;
  std::unique_ptr<v1::Ropeway::Stub> stub_;
};

class NoPrefixCacheTest : public PrefixCacheTest {
 protected:
  NoPrefixCacheTest() : PrefixCacheTest(server::PrefixCache::kOff) {}
};

class SharedPrefixCacheTest : public PrefixCacheTest {
 protected:
  SharedPrefixCacheTest() : PrefixCacheTest(server::PrefixCache::kShared) {}
};

TEST_F(PrefixCacheTest, TheSecondToAskIsAnsweredFromTheCacheWithTheSameBytes) {
  const v1::GenerateResponse first = Ask(Request(Story())), second = Ask(Request(Story()));
  EXPECT_EQ(first.receipt().cached_tokens(), 0);
  const int32_t prompt = first.usage().prompt_tokens();
  EXPECT_EQ(second.receipt().cached_tokens(), (prompt - 1) / kPageTokens * kPageTokens);
  EXPECT_EQ(Bytes(first), Bytes(second));
  const std::string metrics = served_->Metrics();
  EXPECT_EQ(MetricValue(metrics, "ropeway_prefix_cache_hit_tokens_total"), second.receipt().cached_tokens());
  EXPECT_EQ(MetricValue(metrics, "ropeway_prefix_cache_queried_tokens_total"), 2 * prompt);
  EXPECT_GE(MetricValue(metrics, "ropeway_prefix_cache_pages"), prompt / kPageTokens);
  EXPECT_EQ(MetricValue(metrics, "ropeway_prefix_cache_resident_pages"),
            MetricValue(metrics, "ropeway_prefix_cache_pages"));
  EXPECT_EQ(MetricValue(metrics, "ropeway_kv_pages_used"), 0);
  const v1::PrefixCacheInfo told = ServerInfo().prefix_cache();
  EXPECT_EQ(told.scope(), "tenant");
  EXPECT_EQ(told.pages(), MetricValue(metrics, "ropeway_prefix_cache_pages"));
  EXPECT_EQ(told.idle_pages(), told.pages());
  EXPECT_EQ(told.hit_tokens(), second.receipt().cached_tokens());
  EXPECT_EQ(told.queried_tokens(), 2 * prompt);
  EXPECT_EQ(told.evicted_pages(), 0);
}

TEST_F(PrefixCacheTest, PromptsThatPartShareWhatComesBefore) {
  const v1::GenerateRequest other = Request(Story() + "Then something else happened:");
  const std::string alone = Bytes(Ask(other));
  EXPECT_TRUE(served_->WaitUntilIdle(kPatience));
  const v1::GenerateResponse longer = Ask(Request(Story() + "Nobody knew why, until"));
  EXPECT_GT(longer.receipt().cached_tokens(), 200);
  const v1::GenerateResponse again = Ask(other);
  EXPECT_GT(again.receipt().cached_tokens(), longer.receipt().cached_tokens() - 1);
  EXPECT_EQ(Bytes(again), alone);
}

TEST_F(PrefixCacheTest, SamplesAndPromptLogprobsKeepTheirBytes) {
  v1::GenerateRequest request = Request(Story());
  request.mutable_sampling()->set_temperature(0.9f);
  request.mutable_sampling()->set_seed(7);
  request.mutable_sampling()->set_repetition_penalty(1.2f);
  request.mutable_output()->set_num_samples(3);
  v1::GenerateRequest scored = Request(Story());
  scored.mutable_output()->set_prompt_logprobs(1);
  const v1::GenerateResponse samples = Ask(request), scores = Ask(scored);
  EXPECT_EQ(scores.receipt().cached_tokens(), 0) << "log-probabilities of the prompt are computed";
  const v1::GenerateResponse samples_again = Ask(request);
  EXPECT_GT(samples_again.receipt().cached_tokens(), 200);
  EXPECT_EQ(Bytes(samples), Bytes(samples_again));
  EXPECT_EQ(Bytes(scores), Bytes(Ask(scored)));
}

TEST_F(PrefixCacheTest, ChatsGoOnBehindTheirAnswers) {
  v1::GenerateRequest request = Request("");
  request.mutable_stopping()->set_max_tokens(40);
  request.mutable_stopping()->set_ignore_eos(false);
  v1::ChatMessage* question = request.mutable_chat()->add_messages();
  question->set_role("user");
  question->set_text("Tell me about cable cars, please.");
  const v1::GenerateResponse answer = Ask(request);
  ASSERT_EQ(answer.samples_size(), 1);
  v1::ChatMessage* said = request.mutable_chat()->add_messages();
  said->set_role("assistant");
  said->set_text(answer.samples(0).text());
  v1::ChatMessage* next = request.mutable_chat()->add_messages();
  next->set_role("user");
  next->set_text("And who invented them?");
  const v1::GenerateResponse second = Ask(request);
  EXPECT_GT(second.receipt().cached_tokens(), answer.usage().prompt_tokens())
      << "the answer's own pages are found";
}

TEST_F(PrefixCacheTest, TenantsDoNotFindEachOthersPrompts) {
  Ask(Request(Story(), "a"));
  EXPECT_EQ(Ask(Request(Story(), "b")).receipt().cached_tokens(), 0);
  EXPECT_GT(Ask(Request(Story(), "a")).receipt().cached_tokens(), 200);
}

TEST_F(SharedPrefixCacheTest, TenantsFindEachOthersPrompts) {
  Ask(Request(Story(), "a"));
  EXPECT_GT(Ask(Request(Story(), "b")).receipt().cached_tokens(), 200);
}

TEST_F(NoPrefixCacheTest, ComputesEverythingAgain) {
  const v1::GenerateResponse first = Ask(Request(Story())), second = Ask(Request(Story()));
  EXPECT_EQ(second.receipt().cached_tokens(), 0);
  EXPECT_EQ(Bytes(first), Bytes(second));
  EXPECT_EQ(MetricValue(served_->Metrics(), "ropeway_prefix_cache_pages"), 0);
}

}  // namespace
}  // namespace ropeway::testing
