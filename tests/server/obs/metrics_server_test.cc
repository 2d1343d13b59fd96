#include "server/obs/metrics_server.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/obs/http_answer.h"
#include "server/obs/metrics.h"
#include "tests/testing/patient_socket.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::ConnectTo;
using ::ropeway::testing::PatientSocket;
using ::ropeway::testing::StatusIs;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kGet[] = "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n";

std::string Answer(absl::string_view request) {
  return AnswerHttp(request, {[] { return std::string("one 1\n"); }}).value_or("");
}

TEST(HttpAnswerTest, AnswersGetAndHead) {
  EXPECT_THAT(Answer(kGet), StartsWith("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; "));
  EXPECT_THAT(Answer(kGet), HasSubstr("\r\nContent-Length: 6\r\nConnection: close\r\n\r\none 1\n"));
  EXPECT_THAT(Answer("HEAD /metrics HTTP/1.1\r\n\r\n"),
              EndsWith("\r\nContent-Length: 6\r\nConnection: close\r\n\r\n"));
  EXPECT_THAT(Answer("GET /metrics?name=x HTTP/1.0\n\n"), StartsWith("HTTP/1.1 200 OK"));
}

TEST(HttpAnswerTest, RefusesInWords) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"GET / HTTP/1.1\r\n\r\n", "404 Not Found"},
      {"HEAD /metricsx HTTP/1.1\r\n\r\n", "404 Not Found"},
      {"POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"},
      {"GET /metrics\r\n\r\n", "400 Bad Request"},
      {"PRI * HTTP/2.0\r\n\r\n", "400 Bad Request"},
      {"\r\n\r\n", "400 Bad Request"},
      {std::string(kMaxHttpHeaderBytes, 'a'), "431 Request Header Fields Too Large"},
      {absl::StrCat("GET /metrics HTTP/1.1\r\nX: ", std::string(kMaxHttpHeaderBytes, 'a'), "\r\n\r\n"),
       "431"},
  };
  for (const auto& [request, status] : cases)
    EXPECT_THAT(Answer(request), StartsWith(absl::StrCat("HTTP/1.1 ", status))) << request.substr(0, 40);
  EXPECT_THAT(Answer("HEAD / HTTP/1.1\r\n\r\n"), EndsWith("\r\n\r\n"));
  EXPECT_THAT(Answer("POST /metrics HTTP/1.1\r\n\r\n"), HasSubstr("\r\nAllow: GET, HEAD\r\n"));
}

TEST(HttpAnswerTest, WaitsForTheEndOfTheHeader) {
  for (size_t size = 0; size + 1 < sizeof kGet - 1; ++size)
    EXPECT_EQ(AnswerHttp(absl::string_view(kGet, size), {[] { return std::string(); }}), std::nullopt)
        << size;
}

// A connection to a port of this machine, with the beginning of a request sent.
int BeginRequest(int port, absl::string_view bytes, int receive_buffer = 0) {
  const int connection = PatientSocket();
  if (receive_buffer > 0)
    setsockopt(connection, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  EXPECT_TRUE(ConnectTo(port, connection));
  EXPECT_EQ(send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL), std::ssize(bytes));
  return connection;
}

// All that comes until the server closes.
std::string ReadAll(int connection) {
  std::string answer, part(4096, '\0');
  for (ssize_t size; (size = recv(connection, part.data(), part.size(), 0)) > 0;)
    answer.append(part, 0, size);
  close(connection);
  return answer;
}

std::string Scrape(int port) { return ReadAll(BeginRequest(port, kGet)); }

class MetricsServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(server_, MetricsServer::Start("127.0.0.1:0", std::make_shared<Metrics>("m")));
  }

  // How long a scrape takes, once it was answered in full.
  absl::Duration TimeScrape() {
    const absl::Time asked = absl::Now();
    EXPECT_THAT(Scrape(server_->port()), HasSubstr("ropeway_requests_running{model_name=\"m\"} 0\n"));
    return absl::Now() - asked;
  }

  std::unique_ptr<MetricsServer> server_;
};

TEST_F(MetricsServerTest, APortInUseIsAnErrorThatNamesTheAddress) {
  const std::string address = absl::StrCat("127.0.0.1:", server_->port());
  EXPECT_THAT(MetricsServer::Start(address, std::make_shared<Metrics>("m")),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(absl::StrCat(address, ": address in use"))));
}

TEST_F(MetricsServerTest, TellsTheGuardWhoAsks) {
  std::string asked;
  const auto guard = [&](const std::optional<std::string>&, absl::string_view peer) {
    asked = std::string(peer);
    return absl::UnauthenticatedError("not authenticated");
  };
  ASSERT_OK_AND_ASSIGN(server_, MetricsServer::Start("127.0.0.1:0", std::make_shared<Metrics>("m"), guard));
  EXPECT_THAT(Scrape(server_->port()), StartsWith("HTTP/1.1 401"));
  server_ = nullptr;  // whose thread wrote it
  EXPECT_THAT(asked, StartsWith("ipv4:127.0.0.1:"));
}

TEST_F(MetricsServerTest, TakesARequestInPartsAndAHead) {
  const int connection = BeginRequest(server_->port(), "HEAD /met");
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(send(connection, "rics HTTP/1.1\r\n\r\n", 17, MSG_NOSIGNAL), 17);
  const std::string answer = ReadAll(connection);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n"));
  EXPECT_THAT(answer, Not(HasSubstr("Content-Length: 0\r\n")));
}

// A connection that is closed with bytes unread is reset, and with it the answer may be gone.
TEST_F(MetricsServerTest, BytesBehindARequestTakeItsAnswerFromNobody) {
  for (int i = 0; i < 50; ++i) {
    const int connection = BeginRequest(server_->port(), absl::StrCat(kGet, std::string(20'000, 'x')));
    absl::SleepFor(absl::Milliseconds(1));
    ASSERT_THAT(ReadAll(connection), StartsWith("HTTP/1.1 200 OK"));
  }
}

TEST_F(MetricsServerTest, AnswersAtOnceWhileOthersStallTheirRequests) {
  std::vector<int> stalled;
  for (int i = 0; i < 300; ++i)  // more than it keeps
    stalled.push_back(BeginRequest(server_->port(), "GET /metrics HTTP/1.1\r\nX: "));
  EXPECT_LT(TimeScrape(), absl::Seconds(2));
  for (const int connection : stalled) close(connection);
}

TEST_F(MetricsServerTest, AnswersAtOnceWhileOthersDoNotReadTheirAnswers) {
  std::vector<int> stalled;
  for (int i = 0; i < 60; ++i) stalled.push_back(BeginRequest(server_->port(), kGet, /*receive_buffer=*/1));
  EXPECT_LT(TimeScrape(), absl::Seconds(2));
  for (const int connection : stalled) close(connection);
}

TEST_F(MetricsServerTest, ClosesWhoDoesNotComeToTheEndOfARequest) {
  const absl::Time begin = absl::Now();
  EXPECT_EQ(ReadAll(BeginRequest(server_->port(), "GET /metrics")), "");
  EXPECT_GT(absl::Now() - begin, absl::Seconds(4));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(30));
}

TEST_F(MetricsServerTest, AnswersWhereTheProcessHasNoFileLeft) {
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlim_t before = limit.rlim_cur;
  TimeScrape();  // the server has all its files by now
  const int scraper = PatientSocket();
  int highest = scraper;
  for (int file = 0; file < 1000; ++file)
    if (fcntl(file, F_GETFD) >= 0) highest = std::max(highest, file);
  limit.rlim_cur = static_cast<rlim_t>(highest) + 1;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  std::vector<int> all;
  for (int copy; (copy = dup(STDERR_FILENO)) >= 0;) all.push_back(copy);
  EXPECT_TRUE(ConnectTo(server_->port(), scraper));
  EXPECT_EQ(send(scraper, kGet, sizeof kGet - 1, MSG_NOSIGNAL), std::ssize(kGet) - 1);
  EXPECT_THAT(ReadAll(scraper), HasSubstr("ropeway_requests_running"));
  for (const int copy : all) close(copy);
  limit.rlim_cur = before;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_LT(TimeScrape(), absl::Seconds(5));
}

TEST_F(MetricsServerTest, EndsAtOnceWhoeverIsConnected) {
  const int stalled = BeginRequest(server_->port(), "GET");
  const absl::Time told = absl::Now();
  server_ = nullptr;
  EXPECT_LT(absl::Now() - told, absl::Seconds(1));
  close(stalled);
}

}  // namespace
}  // namespace ropeway::server
