// Many streams of the real model at once. What must come out of it: every stream says what it says alone,
// whatever its neighbours do, and when all have gone, nothing of them is left.
#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cancellation.h"
#include "client/ropeway_client.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "tests/integration/model_server.h"
#include "tests/testing/patience.h"

namespace ropeway::testing {
namespace {

constexpr int kTokens = 16;

const char* const kPrompts[] = {
    "Once upon a time",
    "The capital of France is",
    "def fibonacci(n):\n",
    "In the year 1969, three men flew to the moon. They",
    "List of colours: red, green,",
    "To whom it may concern: I am writing to you since",
    "0, 1, 1, 2, 3, 5, 8, 13,",
    "Water boils at a temperature of",
};

// Stream i of a test: prompts of different lengths, greedy and drawn by turns.
client::Request RequestOf(int i, int tokens = kTokens) {
  client::Request request;
  std::string prompt = kPrompts[i % std::size(kPrompts)];
  if (i % 5 == 4) prompt = absl::StrCat(std::string(300, ' '), kPrompts[0], prompt, prompt, prompt, prompt);
  request.prompt = client::TextPrompt{.text = prompt};
  request.sampling = {.temperature = i % 2 == 0 ? 0.f : 0.8f, .seed = 1000 + i};
  request.stopping = {.max_tokens = tokens, .ignore_eos = true};
  return request;
}

// Runs count bodies on a thread each and waits for all.
void InParallel(int count, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&body, i] { body(i); });
  for (std::thread& thread : threads) thread.join();
}

// The answers that requests [0, count) get one after the other.
std::vector<std::vector<int32_t>> AnswersAlone(client::Client& client, int count, int tokens = kTokens) {
  std::vector<std::vector<int32_t>> answers;
  for (int i = 0; i < count; ++i) {
    const client::Answer answer = client.Generate(RequestOf(i, tokens));
    EXPECT_TRUE(answer.status.ok()) << answer.status;
    answers.push_back(answer.samples[0].token_ids);
  }
  return answers;
}

bool IsPrefix(const std::vector<int32_t>& begin, const std::vector<int32_t>& all) {
  return begin.size() <= all.size() && std::equal(begin.begin(), begin.end(), all.begin());
}

TEST(EngineStreamsTest, EveryStreamSaysWhatItSaysAlone) {
  constexpr int kStreams = 32;
  ModelServer served;
  const auto client = client::Client::Create({.server = served.address()});
  const auto alone = AnswersAlone(*client, kStreams);
  std::atomic<int> cancelled = 0;
  InParallel(kStreams, [&](int i) {
    client::Cancellation cancellation;
    const int leave_after = i % 4 == 3 ? i % kTokens : kTokens;  // every fourth leaves early
    int seen = 0;
    const client::Answer answer = client->Generate(
        RequestOf(i), {},
        [&](const client::Delta& delta) {
          seen += static_cast<int>(delta.token_ids.size());
          if (seen >= leave_after && leave_after < kTokens) cancellation.Cancel();
        },
        &cancellation);
    if (leave_after == kTokens) {
      EXPECT_TRUE(answer.status.ok()) << answer.status;
      EXPECT_EQ(answer.samples[0].token_ids, alone[i]) << "stream " << i;
    } else {
      cancelled += absl::IsCancelled(answer.status);
      EXPECT_TRUE(IsPrefix(answer.samples[0].token_ids, alone[i])) << "stream " << i;
    }
  });
  EXPECT_GT(cancelled, 0);
  EXPECT_TRUE(served.WaitUntilIdle(kPatience));
}

TEST(EngineStreamsTest, PagesThatRunOutChangeNoAnswer) {
  constexpr int kStreams = 8, kLong = 30;
  server::Config config = SmallConfig();
  config.kv_cache_mb = 4;  // about 170 tokens; the streams come to more, so that some are computed again
  config.max_model_len = 160;
  ModelServer served(config);
  const auto client = client::Client::Create({.server = served.address()});
  const auto alone = AnswersAlone(*client, kStreams, kLong);
  const auto preemptions = [&] { return MetricValue(served.Metrics(), "ropeway_preemptions_total"); };
  // On a busy machine streams may come one after the other.
  for (const absl::Time end = absl::Now() + kPatience; preemptions() == 0 && absl::Now() < end;) {
    InParallel(kStreams, [&](int i) {
      const client::Answer answer = client->Generate(RequestOf(i, kLong));
      EXPECT_TRUE(answer.status.ok()) << answer.status;
      EXPECT_EQ(answer.samples[0].token_ids, alone[i]) << "stream " << i;
    });
    EXPECT_TRUE(served.WaitUntilIdle(kPatience));
  }
  EXPECT_GT(preemptions(), 0);
}

// A call that is begun and whose answer is never read.
class NeverReads {
 public:
  explicit NeverReads(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 512);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stub_ = v1::Ropeway::NewStub(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
    v1::GenerateRequest request;
    request.mutable_text()->set_text("Once upon a time");
    request.mutable_stopping()->set_max_tokens(1000);
    request.mutable_stopping()->set_ignore_eos(true);
    request.mutable_output()->set_logprobs(20);  // large messages
    reader_ = stub_->Generate(&context_, request);
  }
  ~NeverReads() {
    context_.TryCancel();
    reader_->Finish();
  }

 private:
  std::unique_ptr<v1::Ropeway::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateChunk>> reader_;
};

// What clients were told, added up.
struct Told {
  std::atomic<int> with_token = 0, ok = 0, ended = 0;
  std::atomic<int64_t> prompt_tokens = 0, completion_tokens = 0;
};

// One stream among many, which ends by itself, by its client or by its deadline.
void RunOne(client::Client& client, int i, Told& told) {
  absl::BitGen random;
  client::Cancellation cancellation;
  const int leave_after = i % 3 == 1 ? absl::Uniform(random, 1, kTokens) : kTokens + 1;
  const client::CallOptions options{.timeout = i % 7 == 2 ? absl::Milliseconds(absl::Uniform(random, 1, 400))
                                                          : kPatience};
  int seen = 0;
  const client::Answer answer = client.Generate(
      RequestOf(i), options,
      [&](const client::Delta& delta) {
        seen += static_cast<int>(delta.token_ids.size());
        if (seen >= leave_after) cancellation.Cancel();
      },
      &cancellation);
  told.with_token += seen > 0;
  if (!answer.receipt.has_value()) return;
  ++told.ended;
  told.ok += answer.status.ok();
  told.prompt_tokens += answer.usage.prompt_tokens;
  told.completion_tokens += answer.usage.completion_tokens;
}

TEST(EngineStreamsTest, ComingAndGoingLeavesNothingBehind) {
  constexpr int kStreams = 64;
  server::Config config = SmallConfig();
  config.stream_buffer_bytes = 1 << 16;
  ModelServer served(config);
  const auto client = client::Client::Create({.server = served.address()});
  Told told;
  {
    std::deque<NeverReads> never;
    never.emplace_back(served.address());
    never.emplace_back(served.address());
    InParallel(kStreams, [&](int i) { RunOne(*client, i, told); });
    EXPECT_GT(told.ok, kStreams / 3);
  }
  EXPECT_TRUE(served.WaitUntilIdle(kPatience));

  const std::string metrics = served.Metrics();
  EXPECT_EQ(MetricValue(metrics, "ropeway_kv_pages_used"), 0);
  EXPECT_EQ(MetricValue(metrics, "ropeway_requests_running"), 0);
  EXPECT_EQ(MetricValue(metrics, "ropeway_requests_waiting"), 0);
  // A client that leaves may miss what the server had begun to send, so the server counts at least what
  // clients saw.
  const double first_tokens = MetricValue(metrics, "ropeway_time_to_first_token_seconds_count");
  const double later_tokens = MetricValue(metrics, "ropeway_inter_token_latency_seconds_count");
  const double generated = MetricValue(metrics, "ropeway_generation_tokens_total");
  EXPECT_GE(first_tokens, told.with_token);
  EXPECT_LE(first_tokens, kStreams + 2);
  EXPECT_EQ(first_tokens + later_tokens, generated);
  EXPECT_GE(generated, told.completion_tokens);
  EXPECT_GE(MetricValue(metrics, "ropeway_prompt_tokens_total"), told.prompt_tokens);
  EXPECT_GE(MetricValue(metrics, "ropeway_requests_finished_total"), told.ended);
  EXPECT_EQ(MetricValue(metrics, "ropeway_request_duration_seconds_count"),
            MetricValue(metrics, "ropeway_requests_finished_total"));
}

TEST(EngineStreamsTest, MetricsAddUpToTheReceipts) {
  constexpr int kStreams = 12;
  ModelServer served;
  const std::string before = served.Metrics();
  for (const char* series :
       {"code=\"INTERNAL\",method=\"Generate\"", "code=\"RESOURCE_EXHAUSTED\",method=\"Tokenize\""})
    EXPECT_THAT(before, ::testing::HasSubstr(absl::StrCat(series, "} 0\n")))
        << "an alert would miss the first such call";
  const auto client = client::Client::Create({.server = served.address()});
  Told told;
  std::atomic<double> queue_ms = 0, prefill_ms = 0, decode_ms = 0;
  InParallel(kStreams, [&](int i) {
    const client::Answer answer = client->Generate(RequestOf(i));
    ASSERT_TRUE(answer.status.ok()) << answer.status;
    ASSERT_TRUE(answer.receipt.has_value());
    told.prompt_tokens += answer.usage.prompt_tokens;
    told.completion_tokens += answer.usage.completion_tokens;
    queue_ms += answer.receipt->queue_ms;
    prefill_ms += answer.receipt->prefill_ms;
    decode_ms += answer.receipt->decode_ms;
  });
  EXPECT_TRUE(served.WaitUntilIdle(kPatience));
  const std::string metrics = served.Metrics();
  EXPECT_EQ(MetricValue(metrics, "ropeway_time_to_first_token_seconds_count"), kStreams);
  EXPECT_EQ(MetricValue(metrics, "ropeway_prompt_tokens_total"), told.prompt_tokens);
  EXPECT_EQ(MetricValue(metrics, "ropeway_generation_tokens_total"), told.completion_tokens);
  EXPECT_EQ(MetricValue(metrics, "ropeway_requests_finished_total"), kStreams);
  EXPECT_NEAR(MetricValue(metrics, "ropeway_request_queue_seconds_sum") * 1000, queue_ms, 0.01 * kStreams);
  EXPECT_NEAR(MetricValue(metrics, "ropeway_request_prefill_seconds_sum") * 1000, prefill_ms,
              0.01 * kStreams);
  EXPECT_NEAR(MetricValue(metrics, "ropeway_request_decode_seconds_sum") * 1000, decode_ms, 0.01 * kStreams);
}

}  // namespace
}  // namespace ropeway::testing
