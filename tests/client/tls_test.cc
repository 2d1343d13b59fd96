// TLS and keys, from the client library, the command line and both targets of the load generator.
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "client/bench/load_target.h"
#include "client/cli/exit_code.h"
#include "client/ropeway_client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"
#include "tests/client/run_command.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::client {
namespace {

using ::ropeway::testing::IsOk;
using ::ropeway::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string PathOf(const std::string& name) { return "tests/golden/tls/" + name; }

std::string Pem(const std::string& name) {
  std::ifstream file(PathOf(name));
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::shared_ptr<grpc::ServerCredentials> ServerTls(bool asks_for_certificate) {
  grpc::SslServerCredentialsOptions options(asks_for_certificate
                                                ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                                : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  options.pem_root_certs = Pem("authority.pem");
  options.pem_key_cert_pairs = {{.private_key = Pem("server.key"), .cert_chain = Pem("server.pem")}};
  return grpc::SslServerCredentials(options);
}

class TlsTest : public ::testing::Test {
 protected:
  TlsTest() {
    for (FakeServer* server : {&server_, &strict_server_}) {
      server->generate = [this](grpc::ServerContext& context, const v1::GenerateRequest&,
                                FakeServer::Writer& writer) {
        const auto found = context.client_metadata().find("authorization");
        authorization_ = found == context.client_metadata().end()
                             ? "none"
                             : std::string(found->second.data(), found->second.size());
        writer.Write(Last(Chunk("ok", 1), v1::FINISH_REASON_STOP));
        return grpc::Status::OK;
      };
    }
  }

  static absl::Status Ask(const ClientOptions& options) {
    return Client::Create(options)->Generate({.prompt = TextPrompt{.text = "hi"}}).status;
  }
  ClientOptions OptionsOf(const FakeServer& server, const TlsOptions& tls) {
    return {.server = server.address(), .tls = tls, .retry = {.max_attempts = 1}};
  }

  FakeServer server_{-1, ServerTls(false)};
  FakeServer strict_server_{-1, ServerTls(true)};
  const TlsOptions trusting_{.authorities = Pem("authority.pem")};
  const TlsOptions known_{
      .authorities = Pem("authority.pem"), .certificate = Pem("client.pem"), .key = Pem("client.key")};
  std::string authorization_;
};

TEST_F(TlsTest, AServerOfATrustedAuthorityIsAsked) {
  EXPECT_OK(Ask(OptionsOf(server_, trusting_)));
  EXPECT_OK(Client::Create(OptionsOf(server_, trusting_))->CheckHealth());
}

TEST_F(TlsTest, AServerThatAsksForACertificateGetsIt) {
  EXPECT_OK(Ask(OptionsOf(strict_server_, known_)));
  EXPECT_THAT(Ask(OptionsOf(strict_server_, trusting_)),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot connect to")));
}

TEST_F(TlsTest, WhatIsNotTrustedIsNotAsked) {
  const auto untrusted = StatusIs(absl::StatusCode::kUnavailable, HasSubstr("the TLS handshake failed"));
  EXPECT_THAT(Ask(OptionsOf(server_, {.authorities = Pem("stranger.pem")})), untrusted);
  EXPECT_THAT(Ask(OptionsOf(server_, {})), untrusted);
}

TEST_F(TlsTest, OneSideWithoutTlsIsSaid) {
  FakeServer plain;
  EXPECT_THAT(
      Ask(OptionsOf(plain, trusting_)),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("the TLS handshake failed: it speaks no TLS")));
  EXPECT_THAT(Ask({.server = server_.address(), .retry = {.max_attempts = 1}}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot connect to")));
}

TEST_F(TlsTest, OptionsThatContradictAreRefused) {
  const std::string certificate = Pem("client.pem"), key = Pem("client.key");
  for (const TlsOptions& tls :
       {TlsOptions{.certificate = certificate}, TlsOptions{.key = key}, TlsOptions{.authorities = "text"},
        TlsOptions{.certificate = "text", .key = key}, TlsOptions{.certificate = certificate, .key = "text"}})
    EXPECT_THAT(Ask(OptionsOf(server_, tls)),
                StatusIs(absl::StatusCode::kInvalidArgument, Not(HasSubstr("text"))));
}

TEST_F(TlsTest, TheKeyGoesWithEveryCallAndIntoNoError) {
  ClientOptions options = OptionsOf(server_, trusting_);
  EXPECT_OK(Ask(options));
  EXPECT_EQ(authorization_, "none");
  options.api_key = "s3cret";
  EXPECT_OK(Ask(options));
  EXPECT_EQ(authorization_, "Bearer s3cret");
  for (const char* key : {"s3cret\n", "s3 cret", "s3cr\xc3\xa9t"}) {
    options.api_key = key;
    EXPECT_THAT(Ask(options), StatusIs(absl::StatusCode::kInvalidArgument, Not(HasSubstr("s3"))));
  }
}

TEST_F(TlsTest, TheCommandLineReadsFilesAndTheEnvironment) {
  const std::vector<std::string> generate = {"generate", "--prompt", "hi", "--max_attempts", "1", "--server"};
  const auto run = [&](const FakeServer& server, std::vector<std::string> more) {
    std::vector<std::string> arguments = generate;
    arguments.push_back(server.address());
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunCommand(arguments);
  };
  const std::string ca = PathOf("authority.pem"), cert = PathOf("client.pem"), key = PathOf("client.key");
  setenv("ROPEWAY_API_KEY", "s3cret", /*overwrite=*/1);
  EXPECT_EQ(run(server_, {"--ca", ca}).out, "ok\n");
  EXPECT_EQ(authorization_, "Bearer s3cret");
  unsetenv("ROPEWAY_API_KEY");
  EXPECT_EQ(run(strict_server_, {"--ca", ca, "--cert", cert, "--key", key}).out, "ok\n");
  EXPECT_EQ(run(server_, {"--tls"}).code, kExitUnavailable);
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"--ca", "tests"},
                                                {"--ca", "README.md"},
                                                {"--ca", ca, "--cert", cert},
                                                {"--key", "no/such/file"},
                                                {"--cert", "/dev/null"}}) {
    const CommandResult result = run(server_, wrong);
    EXPECT_EQ(result.code, kExitUsage) << result.err;
    EXPECT_THAT(result.out, "");
  }
}

TEST_F(TlsTest, TheLoadGeneratorUsesTheSame) {
  const std::vector<std::string> bench = {"bench",
                                          "--requests",
                                          "2",
                                          "--vocab_size",
                                          "9",
                                          "--output_tokens",
                                          "1",
                                          "--ca",
                                          PathOf("authority.pem"),
                                          "--server",
                                          strict_server_.address()};
  EXPECT_NE(RunCommand(bench).code, kExitOk);
  std::vector<std::string> with_certificate = bench;
  with_certificate.insert(with_certificate.end(),
                          {"--cert", PathOf("client.pem"), "--key", PathOf("client.key")});
  const CommandResult result = RunCommand(with_certificate);
  EXPECT_EQ(result.code, kExitOk) << result.err;
  // The same with curl; a gRPC server has no such route, but is asked only after the handshake.
  ClientOptions connection = OptionsOf(strict_server_, known_);
  const WorkItem item{.prompt = "hi", .output_tokens = 1};
  const absl::Status after_handshake = MakeOpenAiTarget(connection, {})->Run(item).status;
  EXPECT_FALSE(after_handshake.ok());
  EXPECT_THAT(std::string(after_handshake.message()), Not(HasSubstr("cannot connect")));
  connection.tls->authorities = Pem("stranger.pem");
  EXPECT_THAT(MakeOpenAiTarget(connection, {})->Run(item).status,
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot connect to https://")));
}

}  // namespace
}  // namespace ropeway::client
