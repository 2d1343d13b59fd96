// What admins ask of a server, by the library and by the command line, and that nobody else does.
#include <signal.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "absl/synchronization/notification.h"
#include "client/admin_client.h"
#include "client/cli/exit_code.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "proto/ropeway/v1/admin.pb.h"
#include "tests/client/run_command.h"
#include "tests/integration/every_method.h"
#include "tests/integration/keyed_server.h"
#include "tests/integration/server_process.h"
#include "tests/testing/await.h"

namespace ropeway::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class AdminServerTest : public KeyedServerTest {
 protected:
  AdminServerTest() {
    root_ = AddKey("root", {.role = server::KeyRole::kAdmin});
    watch_ = AddKey("watch", {.role = server::KeyRole::kMonitor});
    alice_ = AddKey("alice", {.tenant = "acme"});
  }
  ~AdminServerTest() override { unsetenv("ROPEWAY_API_KEY"); }

  server::Config AdminConfig() const {
    server::Config config = KeysConfig();
    config.admin_listen = "127.0.0.1:0";
    return config;
  }
  void Start(server::Server::Events events = {}) {
    auto server = server::Server::Start(AdminConfig(), log_, server::LoadModel, std::move(events));
    ASSERT_OK(server);
    server_ = *std::move(server);
  }

  std::string AdminAddress() const { return absl::StrCat("127.0.0.1:", server_->admin_port()); }
  client::AdminClient Admin(const std::string& key) const {
    return client::AdminClient({.server = AdminAddress(), .api_key = key, .retry = {.max_attempts = 1}});
  }
  client::CommandResult Command(std::vector<std::string> arguments) const {
    setenv("ROPEWAY_API_KEY", root_.c_str(), 1);
    arguments.insert(arguments.begin(), "admin");
    arguments.insert(arguments.end(), {"--server", AdminAddress(), "--max_attempts", "1"});
    return client::RunCommand(arguments);
  }

  std::string root_, watch_, alice_;
};

TEST_F(AdminServerTest, EveryMethodNeedsAnAdminsKey) {
  Start();
  v1::DrainRequest::descriptor();
  const auto admin = grpc::CreateChannel(AdminAddress(), grpc::InsecureChannelCredentials());
  int methods = 0;
  for (const std::string& method : EveryMethod({"ropeway.v1.Admin"})) {
    EXPECT_EQ(AskMethod(admin, method, "").status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << method;
    if (method.find("ropeway.v1.Admin") == std::string::npos) continue;
    ++methods;
    for (const std::string& key : {alice_, watch_}) {
      const MethodAnswer answer = AskMethod(admin, method, "Bearer " + key);
      EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << method;
      EXPECT_EQ(answer.messages, 0) << method;
    }
  }
  EXPECT_EQ(methods, 5);
  // The other listener has none of it.
  const auto other =
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()), grpc::InsecureChannelCredentials());
  EXPECT_EQ(AskMethod(other, "/ropeway.v1.Admin/Drain", "Bearer " + root_).status.error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(AskMethod(admin, "/ropeway.v1.Ropeway/GetServerInfo", "Bearer " + root_).status.error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_OK(Ask(With(alice_))) << "nothing was drained";
}

TEST_F(AdminServerTest, ListsAndCancelsRequestsOfAnyTenant) {
  Start();
  std::atomic<bool> begun = false;
  client::Request request = ShortRequest(2000);
  request.request_id = "long";
  std::thread streaming([&] {
    const absl::Status end = client::Client::Create(With(alice_))
                                 ->Generate(request, {}, [&](const client::Delta&) { begun = true; })
                                 .status;
    EXPECT_TRUE(absl::IsCancelled(end)) << end;
  });
  EXPECT_TRUE(Await([&] { return begun.load(); }));
  EXPECT_EQ(Command({"list"}).out, "long tenant=acme\n1 living\n");
  EXPECT_EQ(Command({"cancel", "long"}).code, client::kExitUsage) << "it is another tenant's";
  const client::CommandResult cancelled = Command({"cancel", "long", "--tenant", "acme"});
  EXPECT_EQ(cancelled.code, client::kExitOk) << cancelled.err;
  streaming.join();
  EXPECT_EQ(Command({"list"}).out, "0 living\n");
  EXPECT_THAT(LogText(), HasSubstr("admin method=CancelRequest key=root code=OK"));
}

TEST_F(AdminServerTest, ChangesTheLevelOfTheLog) {
  Start();
  EXPECT_EQ(Command({"log-level", "error"}).out, "error (was debug)\n");
  const std::string before = LogText();
  EXPECT_OK(Ask(With(alice_)));
  EXPECT_EQ(LogText(), before);
  EXPECT_EQ(Command({"log-level", "info"}).out, "info (was error)\n");
  EXPECT_OK(Ask(With(alice_)));
  EXPECT_NE(LogText(), before);
  const client::CommandResult wrong = Command({"log-level", "loud"});
  EXPECT_EQ(wrong.code, client::kExitUsage);
  EXPECT_THAT(wrong.err, HasSubstr("level must be one of debug, info, warning, error; is \"loud\""));
}

TEST_F(AdminServerTest, ReloadsAtOnceAndTellsWhatIsWrong) {
  server::Config config = AdminConfig();
  config.reload_interval = absl::Hours(1);
  auto server = server::Server::Start(config, log_);
  ASSERT_OK(server);
  server_ = *std::move(server);
  const std::string bob = AddKey("bob", {.tenant = "bobs"});
  EXPECT_FALSE(Ask(With(bob)).ok());
  EXPECT_EQ(Command({"reload"}).out, "keys: in use\n");
  EXPECT_OK(Ask(With(bob)));
  folder_.Write("keys", "bob\n");
  const client::CommandResult wrong = Command({"reload"});
  EXPECT_EQ(wrong.code, client::kExitError);
  EXPECT_THAT(wrong.out,
              AllOf(HasSubstr("keys: the old ones stay: "), HasSubstr("keys:1: \"bob\" has neither")));
  EXPECT_OK(Ask(With(bob)));
}

TEST_F(AdminServerTest, DrainsOnce) {
  std::atomic<int> asked = 0;
  Start({.on_drain = [&] { ++asked; }});
  EXPECT_EQ(Command({"drain"}).out, "draining; living requests: 0\n");
  EXPECT_OK(Admin(root_).Drain().status());
  EXPECT_EQ(asked, 1);
  EXPECT_THAT(Ask(With(alice_)), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("draining")));
  EXPECT_THAT(client::Client::Create(With(""))->CheckHealth(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("not serving")));
}

// Exit code 2, and the last line says where the fault is; no line tells a secret.
TEST_F(AdminServerTest, TheProgramDoesNotStartWithFilesThatAreWrong) {
  const std::string keys = "--keys_file=" + folder_.File("wrong");
  const auto refused = [&](const std::vector<std::string>& more, const std::string& fault) {
    ServerProcess process(Arguments(more));
    EXPECT_EQ(process.Wait(), 2) << process.Log();
    EXPECT_THAT(process.Log(), HasSubstr("ropeway_server: "));
    EXPECT_THAT(process.Log(), AllOf(HasSubstr(fault), Not(HasSubstr(root_.substr(20)))));
  };
  refused({keys}, "wrong");
  folder_.Write("wrong", "# keys\nalice key=" + root_ + " tenant=acme\n");
  refused({keys}, "wrong:2: key must be ID:SALT:DIGEST");
  folder_.Write("wrong", "alice subject=CN=a\n");
  refused({keys}, "wrong:1: \"alice\" has no tenant");
  folder_.Write("wrong", "alice subject=CN=a tenant=t kv_pages=-5\n");
  refused({keys}, "wrong:1: kv_pages must be a whole number in [1, 1073741824], is \"-5\"");
  refused({"--tls_cert=" + folder_.File("cert.pem"), "--tls_key=" + folder_.File("ca.pem")},
          "ca.pem: there is no private key");
  refused({"--tls_cert=" + folder_.File("none.pem"), "--tls_key=" + folder_.File("key.pem")}, "none.pem");
}

TEST_F(AdminServerTest, TheProgramDrainsForAnAdminAndReloadsOnHangup) {
  const int port = 20'000 + getpid() % 10'000;
  std::vector<std::string> arguments =
      Arguments({"--keys_file=" + folder_.File("keys"), absl::StrCat("--admin_listen=127.0.0.1:", port),
                 "--reload_interval=1h"});
  ServerProcess process(arguments);
  const int served = process.WaitUntilServing();
  ASSERT_NE(served, 0) << process.Log();
  const std::string bob = AddKey("bob", {.tenant = "bobs"});
  const client::ClientOptions options = {
      .server = absl::StrCat("127.0.0.1:", served), .api_key = bob, .retry = {.max_attempts = 1}};
  EXPECT_FALSE(Ask(options).ok());
  process.Signal(SIGHUP);
  for (const absl::Time end = absl::Now() + kPatience; absl::Now() < end && !Ask(options).ok();)
    absl::SleepFor(absl::Milliseconds(20));
  EXPECT_OK(Ask(options));
  client::AdminClient admin({.server = absl::StrCat("127.0.0.1:", port), .api_key = root_});
  EXPECT_OK(admin.Drain().status());
  EXPECT_EQ(process.Wait(), 0) << process.Log();
  EXPECT_THAT(process.Log(), AllOf(HasSubstr("drained"), Not(HasSubstr(root_.substr(20)))));
}

}  // namespace
}  // namespace ropeway::testing
