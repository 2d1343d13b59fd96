#include "client/ropeway_client.h"

#include <atomic>
#include <cstdlib>
#include <thread>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::client {
namespace {

using ::ropeway::testing::IsOk;
using ::ropeway::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// Waits that a test does not see.
constexpr RetryPolicy kQuick{.max_attempts = 3, .first_backoff = absl::Milliseconds(1)};

class ClientTest : public ::testing::Test {
 protected:
  FakeServer server_;
  std::unique_ptr<Client> client_ = Client::Create({.server = server_.address(), .retry = kQuick});
  const Request request_{.prompt = TextPrompt{.text = "hi"}};
};

TEST_F(ClientTest, AnswerIsTheSumOfItsDeltas) {
  server_.generate = [](grpc::ServerContext&, const v1::GenerateRequest&, FakeServer::Writer& writer) {
    v1::GenerateChunk first = Chunk("Hel", 5);
    first.set_request_id("r9");
    first.mutable_prompt()->add_token_ids(1);
    writer.Write(first);
    writer.Write(Last(Chunk("lo", 6), v1::FINISH_REASON_LENGTH));
    return grpc::Status::OK;
  };
  std::vector<std::string> texts;
  const Answer answer =
      client_->Generate(request_, {}, [&](const Delta& delta) { texts.push_back(delta.text); });
  ASSERT_OK(answer.status);
  EXPECT_THAT(texts, ElementsAre("Hel", "lo"));
  ASSERT_EQ(answer.samples.size(), 1);
  EXPECT_EQ(answer.samples[0].text, "Hello");
  EXPECT_THAT(answer.samples[0].token_ids, ElementsAre(5, 6));
  EXPECT_EQ(answer.samples[0].finish.reason, FinishReason::kLength);
  EXPECT_EQ(answer.request_id, "r9");
  EXPECT_THAT(answer.prompt.token_ids, ElementsAre(1));
  EXPECT_EQ(answer.usage.prompt_tokens, 3);
  EXPECT_EQ(answer.usage.completion_tokens, 2);
  ASSERT_TRUE(answer.receipt);
  EXPECT_EQ(answer.receipt->seed, 7);
  EXPECT_EQ(answer.attempts, 1);
}

TEST_F(ClientTest, SamplesAreKeptApart) {
  server_.generate = [](grpc::ServerContext&, const v1::GenerateRequest&, FakeServer::Writer& writer) {
    writer.Write(Chunk("a", 1, 1));
    writer.Write(Chunk("b", 2, 0));
    writer.Write(Chunk("c", 3, 1));
    return grpc::Status::OK;
  };
  Request request = request_;
  request.output.num_samples = 2;
  const Answer answer = client_->Generate(request);
  ASSERT_OK(answer.status);
  ASSERT_EQ(answer.samples.size(), 2);
  EXPECT_EQ(answer.samples[0].text, "b");
  EXPECT_EQ(answer.samples[1].text, "ac");
}

TEST_F(ClientTest, ASampleThatNobodyAskedForIsAnError) {
  for (const int32_t sample : {-1, 1, 2000000000}) {
    server_.generate = [sample](grpc::ServerContext&, const v1::GenerateRequest&,
                                FakeServer::Writer& writer) {
      writer.Write(Chunk("a", 1, sample));
      return grpc::Status::OK;
    };
    EXPECT_THAT(client_->Generate(request_).status,
                StatusIs(absl::StatusCode::kInternal, HasSubstr("sample")));
  }
}

TEST_F(ClientTest, AFullServerIsTriedAgain) {
  std::atomic<int> calls = 0;
  server_.generate = [&](grpc::ServerContext& context, const v1::GenerateRequest&,
                         FakeServer::Writer& writer) {
    if (++calls < 3) {
      context.AddTrailingMetadata("grpc-retry-pushback-ms", "1");
      return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "full");
    }
    writer.Write(Last(Chunk("ok", 1), v1::FINISH_REASON_STOP));
    return grpc::Status::OK;
  };
  const Answer answer = client_->Generate(request_);
  ASSERT_OK(answer.status);
  EXPECT_EQ(answer.samples[0].text, "ok");
  EXPECT_EQ(answer.attempts, 3);
}

TEST_F(ClientTest, AttemptsEndAndTheLastErrorIsTold) {
  std::atomic<int> calls = 0;
  server_.generate = [&](grpc::ServerContext&, const v1::GenerateRequest&, FakeServer::Writer&) {
    ++calls;
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
  };
  EXPECT_THAT(client_->Generate(request_).status, StatusIs(absl::StatusCode::kUnavailable, "draining"));
  EXPECT_EQ(calls, 3);
}

TEST_F(ClientTest, AServerMayForbidRetries) {
  std::atomic<int> calls = 0;
  server_.generate = [&](grpc::ServerContext& context, const v1::GenerateRequest&, FakeServer::Writer&) {
    ++calls;
    context.AddTrailingMetadata("grpc-retry-pushback-ms", "-1");
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "prompt needs more pages than there are");
  };
  EXPECT_THAT(client_->Generate(request_).status, StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_EQ(calls, 1);
}

TEST_F(ClientTest, NothingIsDeliveredTwice) {
  std::atomic<int> calls = 0;
  server_.generate = [&](grpc::ServerContext&, const v1::GenerateRequest&, FakeServer::Writer& writer) {
    ++calls;
    writer.Write(Chunk("half", 1));
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
  };
  const Answer answer = client_->Generate(request_);
  EXPECT_THAT(answer.status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("was lost: gone")));
  EXPECT_EQ(answer.samples[0].text, "half");
  EXPECT_FALSE(answer.receipt);
  EXPECT_EQ(calls, 1);
}

TEST_F(ClientTest, AServerThatGivesUpIsNoConnectionThatIsLost) {
  std::atomic<int> calls = 0;
  server_.generate = [&](grpc::ServerContext& context, const v1::GenerateRequest&,
                         FakeServer::Writer& writer) {
    writer.Write(Chunk("half", 1));
    if (++calls == 1) context.AddTrailingMetadata("grpc-retry-pushback-ms", "1000");
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "shutting down", calls == 2 ? "details" : "");
  };
  for (int call = 1; call <= 2; ++call) {
    EXPECT_THAT(
        client_->Generate(request_).status,
        StatusIs(absl::StatusCode::kUnavailable,
                 server_.address() + " broke off its answer: shutting down; ask again, or another server"));
    EXPECT_EQ(calls, call);
  }
}

TEST_F(ClientTest, TheDeadlineReachesTheServerAndEndsTheCall) {
  std::atomic<bool> had_deadline = false;
  server_.generate = [&](grpc::ServerContext& context, const v1::GenerateRequest&, FakeServer::Writer&) {
    had_deadline = context.deadline() != std::chrono::system_clock::time_point::max();
    while (!context.IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  };
  const Answer answer = client_->Generate(request_, {.timeout = absl::Milliseconds(50)});
  EXPECT_THAT(answer.status, StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  EXPECT_TRUE(had_deadline);
}

TEST_F(ClientTest, ANegativeTimeoutIsRefusedBeforeACall) {
  std::atomic<int> calls = 0;
  server_.generate = [&](grpc::ServerContext&, const v1::GenerateRequest&, FakeServer::Writer&) {
    ++calls;
    return grpc::Status::OK;
  };
  const Answer answer = client_->Generate(request_, {.timeout = absl::Seconds(-1)});
  EXPECT_THAT(answer.status,
              StatusIs(absl::StatusCode::kInvalidArgument, "timeout must be in [0, inf], is -1s"));
  EXPECT_EQ(calls, 0);
}

TEST_F(ClientTest, CancelFromTheCallback) {
  server_.generate = [](grpc::ServerContext& context, const v1::GenerateRequest&,
                        FakeServer::Writer& writer) {
    writer.Write(Chunk("a", 1));
    while (!context.IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  };
  Cancellation cancellation;
  const Answer answer = client_->Generate(
      request_, {}, [&](const Delta&) { cancellation.Cancel(); }, &cancellation);
  EXPECT_THAT(answer.status, StatusIs(absl::StatusCode::kCancelled, _));
  EXPECT_EQ(answer.samples[0].text, "a");
  // A cancelled Cancellation stays so: the next call ends at once.
  EXPECT_THAT(client_->Generate(request_, {}, nullptr, &cancellation).status,
              StatusIs(absl::StatusCode::kCancelled, _));
}

TEST_F(ClientTest, CancelWhileWaitingToTryAgain) {
  absl::Notification refused;
  server_.generate = [&](grpc::ServerContext& context, const v1::GenerateRequest&, FakeServer::Writer&) {
    context.AddTrailingMetadata("grpc-retry-pushback-ms", "3600000");
    refused.Notify();
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "full");
  };
  Cancellation cancellation;
  std::thread canceller([&] {
    refused.WaitForNotification();
    cancellation.Cancel();
  });
  EXPECT_THAT(client_->Generate(request_, {}, nullptr, &cancellation).status,
              StatusIs(absl::StatusCode::kCancelled, _));
  canceller.join();
}

TEST_F(ClientTest, UnaryCalls) {
  server_.tokenize = [](const v1::TokenizeRequest& request, v1::TokenizeResponse& response) {
    response.add_ids(request.has_chat() ? 2 : 1);
    response.add_tokens("\xff");
    return grpc::Status::OK;
  };
  server_.detokenize = [](const v1::DetokenizeRequest& request, v1::DetokenizeResponse& response) {
    response.set_text(absl::StrCat(request.ids_size(), request.show_special() ? "s" : ""));
    return grpc::Status::OK;
  };
  server_.abort = [](const v1::AbortRequest& request, v1::AbortResponse& response) {
    response.set_found(request.request_id() == "r" && request.tenant() == "t");
    return grpc::Status::OK;
  };
  ASSERT_OK_AND_ASSIGN(const Tokens of_text, client_->Tokenize(TextPrompt{.text = "x"}));
  EXPECT_THAT(of_text.ids, ElementsAre(1));
  EXPECT_THAT(of_text.tokens, ElementsAre("\xff"));
  ASSERT_OK_AND_ASSIGN(const Tokens of_chat, client_->Tokenize(ChatPrompt{}));
  EXPECT_THAT(of_chat.ids, ElementsAre(2));
  ASSERT_OK_AND_ASSIGN(const std::string text, client_->Detokenize({1, 2}, true));
  EXPECT_EQ(text, "2s");
  ASSERT_OK_AND_ASSIGN(const bool found, client_->Abort("r", "t"));
  EXPECT_TRUE(found);
  EXPECT_THAT(client_->GetModelInfo().status(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("no Ropeway server")));
}

TEST_F(ClientTest, Health) {
  EXPECT_OK(client_->CheckHealth());
  server_.SetServing(false);
  EXPECT_THAT(client_->CheckHealth(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("not serving")));
  EXPECT_THAT(client_->WaitUntilServing(absl::ZeroDuration()), StatusIs(absl::StatusCode::kUnavailable, _));
  std::thread starter([&] { server_.SetServing(true); });
  EXPECT_OK(client_->WaitUntilServing(absl::Minutes(1)));
  starter.join();
}

TEST(ClientLimitsTest, ARequestThatIsTooLargeIsRefusedOnceWithTheLimit) {
  FakeServer server(/*max_request_bytes=*/1000);
  const auto client = Client::Create({.server = server.address(), .retry = kQuick});
  const TextPrompt prompt{.text = std::string(2000, 'x')};
  const auto too_large = StatusIs(absl::StatusCode::kInvalidArgument,
                                  AllOf(HasSubstr("the request must have at most 1000 bytes"),
                                        HasSubstr("max_request_bytes"), HasSubstr("has 2")));
  const Answer answer = client->Generate({.prompt = prompt});
  EXPECT_THAT(answer.status, too_large);
  EXPECT_EQ(answer.attempts, 1);
  EXPECT_THAT(client->Tokenize(prompt).status(), too_large);
}

TEST(ClientLimitsTest, AnAnswerThatIsTooLargeIsRefusedOnceWithTheLimit) {
  FakeServer server;
  std::atomic<int> calls = 0;
  server.detokenize = [&](const v1::DetokenizeRequest&, v1::DetokenizeResponse& response) {
    ++calls;
    response.set_text(std::string(2000, 'x'));
    return grpc::Status::OK;
  };
  const auto client =
      Client::Create({.server = server.address(), .retry = kQuick, .max_message_bytes = 1000});
  EXPECT_THAT(client->Detokenize({1}, false).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("the answer has 2003 bytes"), HasSubstr("at most 1000"))));
  EXPECT_EQ(calls, 1);
}

// Sets variables of the environment for one test.
class ProxyVariables {
 public:
  explicit ProxyVariables(const std::string& proxy) {
    for (const char* name : kNames) setenv(name, proxy.c_str(), /*overwrite=*/1);
    unsetenv("no_proxy");
  }
  ~ProxyVariables() {
    for (const char* name : kNames) unsetenv(name);
  }

 private:
  static constexpr const char* kNames[] = {"http_proxy", "https_proxy"};
};

TEST(ClientProxyTest, AServerOnThisMachineIsReachedWithoutOne) {
  const ProxyVariables variables("http://127.0.0.1:1");
  FakeServer server;
  EXPECT_OK(Client::Create({.server = server.address()})->CheckHealth());
}

TEST(ClientProxyTest, TheErrorNamesTheProxyWithoutItsPassword) {
  const ProxyVariables variables("http://user:secret@127.0.0.1:1");
  // An address of documentation (RFC 5737), which nobody has.
  const auto client = Client::Create({.server = "192.0.2.1:50051", .retry = {.max_attempts = 1}});
  const auto through = StatusIs(
      absl::StatusCode::kUnavailable,
      AllOf(HasSubstr("cannot connect to 192.0.2.1:50051 through the proxy 127.0.0.1:1 (https_proxy)"),
            HasSubstr("no_proxy"), Not(HasSubstr("secret"))));
  EXPECT_THAT(client->GetServerInfo().status(), through);
  EXPECT_THAT(client->CheckHealth(), through);
}

TEST(ClientWithoutServerTest, AnAddressThatIsNoneIsRefusedByEveryCall) {
  const auto client = Client::Create({.server = "http://127.0.0.1:50051"});
  const auto refused = StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no scheme"));
  EXPECT_THAT(client->Generate({.prompt = TextPrompt{.text = "x"}}).status, refused);
  EXPECT_THAT(client->GetServerInfo().status(), refused);
  EXPECT_THAT(client->CheckHealth(), refused);
  EXPECT_THAT(client->WaitUntilServing(absl::Minutes(1)), refused);
}

TEST(ClientWithoutServerTest, TheErrorSaysWhatToDo) {
  // Port 1 (tcpmux) is not listened on.
  const auto client = Client::Create({.server = "127.0.0.1:1", .retry = {.max_attempts = 1}});
  const auto cannot_connect =
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr("cannot connect to 127.0.0.1:1"), HasSubstr("running?")));
  EXPECT_THAT(client->Generate({.prompt = TextPrompt{.text = "x"}}).status, cannot_connect);
  EXPECT_THAT(client->GetServerInfo().status(), cannot_connect);
  EXPECT_THAT(client->CheckHealth(), cannot_connect);
}

}  // namespace
}  // namespace ropeway::client
