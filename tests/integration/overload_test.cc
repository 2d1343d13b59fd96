// The server among more clients than it can serve, and among some that do not play by the rules.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/ropeway/v1/ropeway.pb.h"
#include "tests/integration/model_server.h"
#include "tests/integration/server_process.h"
#include "tests/testing/http2_client.h"
#include "tests/testing/patient_socket.h"

namespace ropeway::testing {
namespace {

using ::testing::HasSubstr;

client::Request ShortRequest(int max_tokens = 1) {
  return {.prompt = client::TextPrompt{.text = "Once"},
          .sampling = {.temperature = 0.f},
          .stopping = {.max_tokens = max_tokens, .ignore_eos = true}};
}

std::unique_ptr<client::Client> ClientOf(int port, int max_attempts = 1) {
  return client::Client::Create(
      {.server = absl::StrCat("127.0.0.1:", port), .retry = {.max_attempts = max_attempts}});
}

int Connect(int port) {
  const int client = PatientSocket();
  if (ConnectTo(port, client)) return client;
  close(client);
  return -1;
}

// As many idle connections as there may be files: some are refused, and when they have left all is as before.
TEST(OverloadTest, OutlivesMoreConnectionsThanThereMayBeOpenFiles) {
  std::vector<std::string> arguments = {"-c", "ulimit -n 64 && exec \"$@\"", "sh", ROPEWAY_SERVER_PROGRAM};
  for (const std::string& argument : Arguments()) arguments.push_back(argument);
  ServerProcess process(arguments, "/bin/sh");
  const int port = process.WaitUntilServing();
  ASSERT_NE(port, 0) << process.Log();
  const auto early = ClientOf(port);
  ASSERT_TRUE(early->Generate(ShortRequest()).status.ok());
  for (int round = 0; round < 2; ++round) {
    std::vector<int> idle;
    for (int i = 0; i < 100; ++i) idle.push_back(Connect(port));
    absl::SleepFor(absl::Milliseconds(200));
    EXPECT_TRUE(early->Generate(ShortRequest()).status.ok()) << "old connections go on";
    for (const int connection : idle) close(connection);
    const client::Answer answer = ClientOf(port, /*max_attempts=*/10)->Generate(ShortRequest());
    EXPECT_TRUE(answer.status.ok()) << answer.status << process.Log();
  }
  EXPECT_THAT(process.Log(), HasSubstr("connection"));
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 0) << process.Log();
}

// What max_running and max_queue promise together is taken, though it comes at once.
TEST(OverloadTest, TakesABurstOfAllThatMayLive) {
  constexpr int kBurst = 64 + 256;
  ModelServer served;
  const auto client = ClientOf(served.server().port());
  std::atomic<int> ok = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kBurst; ++i) {
    threads.emplace_back([&] {
      const client::Answer answer = client->Generate(ShortRequest());
      EXPECT_TRUE(answer.status.ok()) << answer.status;
      ok += answer.status.ok();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ok, kBurst);
}

std::string LongMessage() {
  v1::GenerateRequest request;
  request.mutable_text()->set_text("Once");
  request.mutable_stopping()->set_max_tokens(8);
  request.mutable_stopping()->set_ignore_eos(true);
  return request.SerializeAsString();
}

// A connection that reads nothing keeps no place when the engine is done with its requests, never all of
// them, and loses its calls.
TEST(OverloadTest, AConnectionThatReadsNothingDoesNotKeepOthersOut) {
  server::Config config = SmallConfig();
  config.slow_reader_timeout = absl::Seconds(3);
  ModelServer served(config);
  Http2Client deaf(served.server().port(), /*receive_window=*/0);
  for (int i = 0; i < 330; ++i) deaf.Begin(LongMessage());
  for (int i = 0; i < 400; ++i) deaf.Pump();
  const auto client = ClientOf(served.server().port());
  const client::Answer among = client->Generate(ShortRequest());
  EXPECT_TRUE(among.status.ok()) << among.status << ": some places are kept for others";
  for (const absl::Time end = absl::Now() + kPatience; deaf.resets() < 320 && absl::Now() < end;) deaf.Pump();
  EXPECT_GE(deaf.resets(), 320);
  EXPECT_TRUE(client->Generate(ShortRequest()).status.ok());
  EXPECT_TRUE(served.WaitUntilIdle(kPatience));
}

TEST(OverloadTest, AScrapeIsAnsweredBesideAClientThatReadsSlowly) {
  ModelServer served;
  const auto client = ClientOf(served.server().port());
  int seen = 0;
  std::atomic<bool> reading = true;
  std::thread scraper([&] {
    while (reading) {
      const absl::Time begin = absl::Now();
      EXPECT_THAT(served.Metrics(), HasSubstr("ropeway_requests_running"));
      EXPECT_LT(absl::Now() - begin, absl::Seconds(5));
      absl::SleepFor(absl::Milliseconds(50));
    }
  });
  const client::Answer answer = client->Generate(ShortRequest(200), {}, [&](const client::Delta&) {
    if (++seen <= 4) absl::SleepFor(absl::Seconds(1));
  });
  reading = false;
  scraper.join();
  EXPECT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.samples[0].token_ids.size(), 200);
}

// Every end is counted once, and by its own name.
TEST(OverloadTest, CountsDeadlinesAndCallsThatAreGivenUp) {
  ModelServer served;
  const auto client = ClientOf(served.server().port());
  constexpr int kCalls = 10;
  for (int i = 0; i < kCalls; ++i) {
    const client::Answer answer = client->Generate(ShortRequest(1900), {.timeout = absl::Milliseconds(300)});
    EXPECT_TRUE(absl::IsDeadlineExceeded(answer.status)) << answer.status;
  }
  Http2Client hasty(served.server().port());
  for (int i = 0; i < kCalls; ++i) hasty.BeginEndless(1000);
  for (int i = 0; i < 50; ++i) hasty.Pump();
  for (int i = 0; i < kCalls; ++i) hasty.Reset(i);
  for (int i = 0; i < 50; ++i) hasty.Pump();
  ASSERT_TRUE(served.WaitUntilIdle(kPatience));
  const auto calls = [&](const std::string& code) {
    return MetricValue(served.Metrics(),
                       absl::StrCat("ropeway_calls_total{model_name=\"SmolLM2-135M-Instruct.Q4_1\",code=\"",
                                    code, "\",method=\"Generate\"}"));
  };
  for (const absl::Time end = absl::Now() + kPatience; calls("CANCELLED") < kCalls && absl::Now() < end;)
    absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(calls("CANCELLED"), kCalls);
  EXPECT_EQ(calls("DEADLINE_EXCEEDED"), kCalls);
  EXPECT_EQ(calls("INVALID_ARGUMENT"), 0);
}

}  // namespace
}  // namespace ropeway::testing
