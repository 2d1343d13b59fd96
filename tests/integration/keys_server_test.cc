// Keys of the whole server: who gets in, as whom, and how much they get; and that nothing of a key is ever told.
#include <atomic>
#include <cstdio>
#include <thread>

#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "server/keys/key_file.h"
#include "tests/integration/every_method.h"
#include "tests/integration/keyed_server.h"
#include "tests/testing/await.h"

namespace ropeway::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class KeysServerTest : public KeyedServerTest {};

TEST_F(KeysServerTest, WithAKeyTheyGetInAndWithoutNot) {
  const std::string alice = AddKey("alice", {.tenant = "acme"});
  Start(KeysConfig());
  EXPECT_OK(Ask(With(alice)));
  EXPECT_THAT(Ask(With("")), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("ROPEWAY_API_KEY")));
  EXPECT_THAT(Ask(With(server::NewApiKey().Text())),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("not authenticated")));
  EXPECT_OK(client::Client::Create(With(""))->CheckHealth()) << "health asks for none unless it is told to";
  EXPECT_EQ(MetricValue(Metrics(), "ropeway_keys"), 1);
  EXPECT_EQ(MetricValue(Metrics(), "ropeway_auth_refusals_total"), 2);
}

TEST_F(KeysServerTest, NoMethodOfAnyServiceAnswersWithoutAKey) {
  const std::string alice = AddKey("alice", {.tenant = "acme"});
  server::Config config = KeysConfig();
  config.health_needs_key = config.metrics_needs_key = server::Needed::kYes;
  Start(config);
  const std::string address = absl::StrCat("127.0.0.1:", server_->port());
  const auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  int asked = 0;
  for (const std::string& method : EveryMethod({"ropeway.v1.Ropeway"})) {
    for (const std::string& authorization :
         {std::string(), std::string("Bearer x"), std::string("Bearer ")}) {
      const MethodAnswer answer = AskMethod(channel, method, authorization);
      EXPECT_TRUE(answer.is_closed()) << method << answer.status.error_message();
      ++asked;
    }
    const MethodAnswer answer = AskMethod(channel, method, "Bearer " + alice);
    EXPECT_NE(answer.status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << method;
  }
  EXPECT_GE(asked, 3 * 13);
  EXPECT_THAT(Metrics(), "not authenticated\n");
}

TEST_F(KeysServerTest, ManyRefusalsAreCountedAndFewAreLogged) {
  AddKey("alice", {.tenant = "acme"});
  Start(KeysConfig());
  const auto client = client::Client::Create(With(server::NewApiKey().Text()));
  for (int i = 0; i < 200; ++i) EXPECT_FALSE(client->GetServerInfo().ok());
  EXPECT_EQ(MetricValue(Metrics(), "ropeway_auth_refusals_total"), 200);
  EXPECT_LT(WaitForLog("not let in", 1), 60);
}

TEST_F(KeysServerTest, MonitorsSeeStateAndMetricsAndGenerateNothing) {
  const std::string watch = AddKey("watch", {.role = server::KeyRole::kMonitor});
  const std::string alice = AddKey("alice", {.tenant = "acme"});
  server::Config config = KeysConfig();
  config.metrics_needs_key = server::Needed::kYes;
  Start(config);
  EXPECT_OK(client::Client::Create(With(watch))->GetServerInfo().status());
  EXPECT_THAT(Ask(With(watch)), StatusIs(absl::StatusCode::kPermissionDenied, "not permitted"));
  const int port = server_->metrics_port();
  EXPECT_THAT(HttpGet(port, "/metrics", "Authorization: Bearer " + watch), HasSubstr("ropeway_keys"));
  EXPECT_EQ(HttpGet(port, "/metrics", "Authorization: Bearer " + alice), "not permitted\n");
  EXPECT_EQ(HttpGet(port, "/metrics"), "not authenticated\n");
  EXPECT_THAT(LogText(), ContainsRegex("method=scrape peer=\"?ipv4:127.0.0.1:[1-9]"));
  EXPECT_EQ(HttpGet(port, "/other"), "not authenticated\n");
  server_ = nullptr;
}

TEST_F(KeysServerTest, TenantsAreTheKeys) {
  const std::string alice = AddKey("alice", {.tenant = "acme"}), bob = AddKey("bob", {.tenant = "bobs"}),
                    broker = AddKey("broker", {.tenant = "brokers", .any_tenant = true});
  Start(KeysConfig());
  client::Request request = ShortRequest();
  request.tenant = "acme";
  EXPECT_OK(Ask(With(alice), request));
  EXPECT_OK(Ask(With(broker), request));
  EXPECT_THAT(Ask(With(bob), request), StatusIs(absl::StatusCode::kPermissionDenied, "not permitted"));
  // Abort reaches the own tenant's requests alone, whoever knows the name.
  request = ShortRequest(2000);
  request.request_id = "long";
  std::atomic<bool> begun = false;
  absl::Status end;
  std::thread streaming([&] {
    end = client::Client::Create(With(alice))
              ->Generate(request, {}, [&](const client::Delta&) { begun = true; })
              .status;
  });
  EXPECT_TRUE(Await([&] { return begun.load(); }));
  const auto bobs = client::Client::Create(With(bob));
  const absl::StatusOr<bool> unfound = bobs->Abort("long", "");
  EXPECT_TRUE(unfound.ok() && !*unfound);
  EXPECT_THAT(bobs->Abort("long", "acme").status(),
              StatusIs(absl::StatusCode::kPermissionDenied, "not permitted"));
  const absl::StatusOr<bool> found = client::Client::Create(With(alice))->Abort("long", "");
  EXPECT_TRUE(found.ok() && *found);
  streaming.join();
  EXPECT_TRUE(absl::IsCancelled(end)) << end;
}

TEST_F(KeysServerTest, WhatOneTenantAskedIsNoHitForAnother) {
  const std::string alice = AddKey("alice", {.tenant = "acme"}), bob = AddKey("bob", {.tenant = "bobs"});
  Start(KeysConfig());
  client::Request request = ShortRequest();
  std::string story;
  for (int i = 0; i < 100; ++i) absl::StrAppend(&story, "Once upon a time there was number ", i, ". ");
  request.prompt = client::TextPrompt{.text = story};
  const auto cached = [&](const std::string& key) {
    const client::Answer answer = client::Client::Create(With(key))->Generate(request);
    EXPECT_OK(answer.status);
    return answer.receipt ? answer.receipt->cached_tokens : -1;
  };
  EXPECT_EQ(cached(alice), 0);
  EXPECT_GT(cached(alice), 0);
  EXPECT_EQ(cached(bob), 0);
  EXPECT_GT(cached(bob), 0);
}

TEST_F(KeysServerTest, ACertificateIsAnIdentity) {
  // As RFC 2253 has it, the last part of the name comes first.
  AddKey("bob", {.subject = "O=Acme,CN=bob", .tenant = "bobs"});
  server::Config config = TlsConfig();
  config.keys_file = folder_.File("keys");
  config.tls_client_ca = folder_.File("ca.pem");
  Start(config);
  EXPECT_OK(Ask(Options(authority_.Sign("bob", {}, "Acme"))));
  const auto refused = StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("not authenticated"));
  EXPECT_THAT(Ask(Options(authority_.Sign("bob", {}, "Other"))), refused);
  client::ClientOptions both = Options(authority_.Sign("bob", {}, "Acme"));
  both.api_key = server::NewApiKey().Text();
  EXPECT_THAT(Ask(both), refused) << "a wrong key is no better for a certificate";
}

TEST_F(KeysServerTest, KeysComeAndGoWhileItServes) {
  const std::string alice = AddKey("alice", {.tenant = "acme"});
  Start(KeysConfig());
  std::atomic<int> deltas = 0;
  absl::Status end;
  std::thread streaming([&] {
    end = client::Client::Create(With(alice))
              ->Generate(ShortRequest(300), {}, [&](const client::Delta&) { ++deltas; })
              .status;
  });
  EXPECT_TRUE(Await([&] { return deltas >= 3; }));
  ASSERT_OK(server::RemoveFromKeyFile(folder_.File("keys"), "alice"));
  const std::string bob = AddKey("bob", {.tenant = "bobs"});
  for (const absl::Time until = absl::Now() + kPatience; absl::Now() < until && !Ask(With(bob)).ok();)
    absl::SleepFor(absl::Milliseconds(20));
  EXPECT_OK(Ask(With(bob)));
  EXPECT_THAT(Ask(With(alice)), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("")));
  streaming.join();
  EXPECT_OK(end) << "what runs comes to its end";
  // At once: a file without keys, seen between the truncation and the write, would be a right one.
  folder_.Write("new", "bob running=-1\n");
  ASSERT_EQ(rename(folder_.File("new").c_str(), folder_.File("keys").c_str()), 0);
  EXPECT_EQ(WaitForLog("the old ones stay what=keys", 1), 1);
  EXPECT_THAT(LogText(), HasSubstr("keys:1: running must be a whole number in [1, 1048576], is \\\"-1\\\""));
  EXPECT_OK(Ask(With(bob)));
  EXPECT_THAT(Metrics(), HasSubstr("result=\"failed\",what=\"keys\"} 1\n"));
}

TEST_F(KeysServerTest, LimitsOfAKeyHoldAndLeaveOthersAlone) {
  const std::string alice = AddKey("alice", {.tenant = "acme", .limits = {.running = 1, .queued = 2}});
  const std::string minute = AddKey("minute", {.tenant = "acme", .limits = {.tokens_per_minute = 60}});
  const std::string pages = AddKey("pages", {.tenant = "acme", .limits = {.kv_pages = 8}});
  const std::string free = AddKey("free", {.tenant = "acme"});
  Start(KeysConfig());
  std::atomic<int> ok = 0, refused = 0, most_running = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const absl::Status status = Ask(With(alice), ShortRequest(60));
      ok += status.ok();
      refused += absl::IsResourceExhausted(status);
      if (!status.ok()) {
        EXPECT_THAT(status.message(), HasSubstr("the key has 1 requests running and 2 waiting"));
      }
    });
  }
  for (int i = 0; i < 200 && ok + refused < 8; ++i, absl::SleepFor(absl::Milliseconds(5)))
    most_running =
        std::max<int>(most_running, static_cast<int>(MetricValue(Metrics(), "ropeway_requests_running")));
  EXPECT_OK(Ask(With(free)));
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(ok, 3);
  EXPECT_GE(refused, 1);
  EXPECT_EQ(ok + refused, 8);
  EXPECT_LE(most_running, 2);
  EXPECT_TRUE(AwaitQueued(0));

  EXPECT_OK(Ask(With(minute), ShortRequest(20)));
  EXPECT_OK(Ask(With(minute), ShortRequest(20)));
  EXPECT_THAT(Ask(With(minute), ShortRequest(50)),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("tokens of the key for this minute")));
  EXPECT_THAT(Ask(With(minute), ShortRequest(100)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("60 tokens")));
  EXPECT_OK(Ask(With(pages), ShortRequest(50)));
  EXPECT_THAT(Ask(With(pages), ShortRequest(1000)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 8 KV pages")));
}

TEST_F(KeysServerTest, WhoWaitsForATurnMayBeAbortedGiveUpAndExpire) {
  const std::string alice = AddKey("alice", {.tenant = "acme", .limits = {.running = 1}});
  Start(KeysConfig());
  const auto client = client::Client::Create(With(alice));
  std::atomic<bool> begun = false;
  client::Request first = ShortRequest(2000);
  first.request_id = "first";
  std::thread running([&] {
    const absl::Status end = client->Generate(first, {}, [&](const client::Delta&) { begun = true; }).status;
    EXPECT_TRUE(absl::IsCancelled(end)) << end;
  });
  EXPECT_TRUE(Await([&] { return begun.load(); }));
  EXPECT_THAT(client->Generate(ShortRequest(), {.timeout = absl::Milliseconds(300)}).status,
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("")));
  // The client knows of its deadline before the server.
  EXPECT_TRUE(AwaitQueued(0));
  client::Request second = ShortRequest();
  second.request_id = "second";
  std::thread waiting([&] {
    const absl::Status end = client->Generate(second).status;
    EXPECT_TRUE(absl::IsCancelled(end)) << end;
  });
  EXPECT_TRUE(AwaitQueued(1));
  const auto found = client->Abort("second", "");
  EXPECT_TRUE(found.ok() && *found);
  waiting.join();
  EXPECT_TRUE(AwaitQueued(0));
  client::Cancellation cancellation;
  std::thread leaving([&] {
    EXPECT_TRUE(absl::IsCancelled(client->Generate(ShortRequest(), {}, nullptr, &cancellation).status));
  });
  EXPECT_TRUE(AwaitQueued(1));
  cancellation.Cancel();
  leaving.join();
  std::thread last([&] { EXPECT_OK(client->Generate(ShortRequest()).status); });
  EXPECT_TRUE(AwaitQueued(1));
  EXPECT_TRUE(client->Abort("first", "").ok());
  running.join();
  last.join();
}

// What waits is waited for by a drain, and ended by one that has no time.
TEST_F(KeysServerTest, ADrainEndsThoseWhoWaitForATurn) {
  const std::string alice = AddKey("alice", {.tenant = "acme", .limits = {.running = 1}});
  Start(KeysConfig());
  const auto client = client::Client::Create(With(alice));
  std::vector<std::thread> threads;
  std::atomic<int> ended = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      EXPECT_TRUE(absl::IsUnavailable(client->Generate(ShortRequest(2000)).status));
      ++ended;
    });
  }
  EXPECT_TRUE(AwaitQueued(3));
  server_->Drain(absl::ZeroDuration());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ended, 4);
}

}  // namespace
}  // namespace ropeway::testing
