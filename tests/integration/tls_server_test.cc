// TLS of the whole server: who gets in, and certificates that change while it serves.
#include <unistd.h>

#include <atomic>
#include <thread>

#include "gmock/gmock.h"
#include "openssl/ssl.h"
#include "tests/integration/guarded_server.h"
#include "tests/testing/await.h"
#include "tests/testing/patient_socket.h"

namespace ropeway::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The common name of the certificate that a server shows to who speaks at most this version of TLS; empty
// where there is no handshake.
std::string ShownName(int port, int max_version = TLS1_3_VERSION) {
  const int client = PatientSocket();
  EXPECT_TRUE(ConnectTo(port, client));
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_security_level(context, 0);  // old versions, too
  SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
  SSL_CTX_set_max_proto_version(context, max_version);
  const unsigned char kH2[] = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(context, kH2, sizeof kH2);
  SSL* const tls = SSL_new(context);
  SSL_set_fd(tls, client);
  std::string name;
  if (SSL_connect(tls) == 1) {
    char buffer[100] = {};
    X509* const certificate = SSL_get1_peer_certificate(tls);
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, buffer, sizeof buffer);
    X509_free(certificate);
    name = buffer;
  }
  SSL_free(tls);
  SSL_CTX_free(context);
  close(client);
  return name;
}

class TlsServerTest : public GuardedServerTest {
 protected:
  // Until the server shows it to those who come.
  bool WaitUntilShown(const std::string& name) const {
    for (const absl::Time end = absl::Now() + kPatience; absl::Now() < end;
         absl::SleepFor(absl::Milliseconds(20)))
      if (ShownName(server_->port()) == name) return true;
    return false;
  }
};

TEST_F(TlsServerTest, OnlyTlsOfTodayGetsIn) {
  Start(TlsConfig());
  EXPECT_OK(Ask(Options()));
  client::ClientOptions plain = Options();
  plain.tls.reset();
  EXPECT_THAT(Ask(plain), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot connect")));
  client::ClientOptions strict = Options();
  strict.tls->authorities = TestAuthority("stranger").certificate();
  EXPECT_THAT(Ask(strict), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("TLS handshake failed")));
  EXPECT_EQ(ShownName(server_->port(), TLS1_3_VERSION), "server");
  EXPECT_EQ(ShownName(server_->port(), TLS1_2_VERSION), "server");
  EXPECT_EQ(ShownName(server_->port(), TLS1_1_VERSION), "");
  EXPECT_NEAR(MetricValue(Metrics(), "ropeway_tls_certificate_expiry_timestamp_seconds"),
              static_cast<double>(absl::ToUnixSeconds(absl::Now() + absl::Hours(24))), 600);
}

TEST_F(TlsServerTest, WithAClientAuthorityOnlyItsClientsGetIn) {
  server::Config config = TlsConfig();
  config.tls_client_ca = folder_.File("ca.pem");
  Start(config);
  EXPECT_OK(Ask(Options(authority_.Sign("client"))));
  const auto refused = StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot connect"));
  EXPECT_THAT(Ask(Options()), refused);
  EXPECT_THAT(Ask(Options(TestAuthority("authority").Sign("client"))), refused);
  EXPECT_THAT(Ask(Options(authority_.Sign("client", {.from = -absl::Hours(2), .until = -absl::Hours(1)}))),
              refused);
}

TEST_F(TlsServerTest, NewCertificatesAreTakenAndStreamsGoOn) {
  Start(TlsConfig());
  std::atomic<int> deltas = 0;
  const auto old = client::Client::Create(Options());
  absl::Status stream;
  std::thread streaming(
      [&] { stream = old->Generate(ShortRequest(400), {}, [&](const client::Delta&) { ++deltas; }).status; });
  EXPECT_TRUE(Await([&] { return deltas >= 3; }));
  PutCertificate(authority_.Sign("renewed"));
  EXPECT_TRUE(WaitUntilShown("renewed"));
  EXPECT_LT(deltas, 400) << "the stream was still running";
  streaming.join();
  EXPECT_OK(stream);
  EXPECT_OK(old->GetServerInfo().status()) << "the connection goes on, too";
  EXPECT_OK(Ask(Options()));
  EXPECT_THAT(Metrics(), Not(HasSubstr("result=\"ok\",what=\"tls\"} 0\n")));
}

TEST_F(TlsServerTest, ACertificateThatIsNotValidYetIsUsedOnceItIs) {
  PutCertificate(authority_.Sign("server"));
  Start(TlsConfig());
  PutCertificate(authority_.Sign("soon", {.from = absl::Seconds(5)}));
  EXPECT_EQ(WaitForLog("certificate 1 is not valid before", 1), 1);
  EXPECT_EQ(ShownName(server_->port()), "server");
  EXPECT_EQ(MetricValue(Metrics(), "ropeway_files_unused"), 1);
  EXPECT_TRUE(WaitUntilShown("soon"));
  EXPECT_EQ(WaitForLog("files were read again what=tls", 1), 1);
  EXPECT_EQ(MetricValue(Metrics(), "ropeway_files_unused"), 0);
}

TEST_F(TlsServerTest, WhatIsWrongAtAReloadLeavesTheOldAndSaysSoOnce) {
  const Certified first = authority_.Sign("server");
  PutCertificate(first);
  Start(TlsConfig());
  const std::string kWrong = "files that changed are not used, the old ones stay what=tls";
  const auto is_kept = [&](const std::string& fault, int lines) {
    EXPECT_EQ(WaitForLog(kWrong, lines), lines);
    absl::SleepFor(absl::Milliseconds(500));
    EXPECT_EQ(WaitForLog(kWrong, lines), lines) << "once for each change";
    EXPECT_THAT(LogText(), HasSubstr(fault));
    EXPECT_EQ(ShownName(server_->port()), "server");
    EXPECT_OK(Ask(Options()));
    EXPECT_THAT(Metrics(), HasSubstr(absl::StrCat("result=\"failed\",what=\"tls\"} ", lines, "\n")));
  };
  const auto replace = [&](const std::string& name, const std::string& content) {
    folder_.Write("new", content);
    ASSERT_EQ(rename(folder_.File("new").c_str(), folder_.File(name).c_str()), 0);
  };
  replace("key.pem", authority_.Sign("other").key);
  is_kept("not the key of the certificate", 1);
  ASSERT_EQ(unlink(folder_.File("key.pem").c_str()), 0);
  is_kept("key.pem", 2);
  replace("key.pem", first.key);
  EXPECT_EQ(WaitForLog("files were read again what=tls", 1), 1);
  replace("cert.pem",
          authority_.Sign("old", {.from = -absl::Hours(2), .until = -absl::Hours(1)}).certificate);
  is_kept("certificate 1 expired at", 3);
  EXPECT_THAT(LogText(), Not(HasSubstr("PRIVATE KEY")));
  PutCertificate(authority_.Sign("renewed"));
  EXPECT_TRUE(WaitUntilShown("renewed"));
}

TEST_F(TlsServerTest, WhatIsWrongAtTheStartIsRefusedInOneLine) {
  server::Config config = TlsConfig();
  folder_.Write("key.pem", authority_.Sign("other").key);
  const absl::Status status = server::Server::Start(config, log_).status();
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not the key of the certificate")));
}

TEST_F(TlsServerTest, SaysLoudlyThatItIsOpenBeyondLoopback) {
  server::Config config = SmallConfig();
  config.listen = config.metrics_listen = "0.0.0.0:0";
  Start(config);
  EXPECT_THAT(LogText(), HasSubstr("THE METRICS ARE OPEN TO THE NETWORK FOR EVERYBODY address=0.0.0.0:0"));
  EXPECT_THAT(LogText(), HasSubstr("OPEN TO THE NETWORK WITHOUT TLS"));
  EXPECT_THAT(LogText(), HasSubstr("OPEN TO THE NETWORK FOR EVERYBODY"));
}

TEST_F(TlsServerTest, SaysNothingOfItWhereNobodyElseComes) {
  Start(SmallConfig());
  EXPECT_THAT(LogText(), Not(HasSubstr("OPEN TO THE NETWORK")));
}

}  // namespace
}  // namespace ropeway::testing
