#include <cstdlib>

#include "client/bench/load_target.h"
#include "client/bench/sse.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_http_server.h"
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

constexpr char kOk[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

TEST(SseTest, DataComesOutHoweverTheBytesAreCut) {
  const std::string stream =
      "data: one\n\n: a comment\nevent: x\ndata:two\r\n\r\ndata: \xc3\xa9\n\ndata: [DONE]\n\n";
  for (size_t size = 1; size <= stream.size(); ++size) {
    std::vector<std::string> data;
    SseParser parser([&](absl::string_view event) { data.emplace_back(event); });
    for (size_t i = 0; i < stream.size(); i += size) ASSERT_OK(parser.Feed(stream.substr(i, size)));
    EXPECT_THAT(data, ElementsAre("one", "two", "\xc3\xa9", "[DONE]")) << "pieces of " << size;
  }
}

TEST(SseTest, ALineWithoutEndIsRefused) {
  SseParser parser([](absl::string_view) {});
  const std::string piece(1 << 20, 'x');
  absl::Status status;
  for (size_t bytes = 0; status.ok() && bytes <= SseParser::kMaxLineBytes; bytes += piece.size())
    status = parser.Feed(piece);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a line of more than")));
}

TEST(OpenAiTargetTest, MeasuresAStream) {
  FakeHttpServer server(std::string(kOk) +
                        "data: {\"choices\":[{\"text\":\"Hel\",\"finish_reason\":null}]}\n\n"
                        "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":null}]}\n\n"
                        "data: {\"choices\":[{\"text\":\"lo\"}]}\n\n"
                        "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n"
                        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":3,"
                        "\"prompt_tokens_details\":{\"cached_tokens\":2}}}\n\n"
                        "data: [DONE]\n\n");
  const auto target = MakeOpenAiTarget({.server = server.address()}, {.model = "m"});
  const RequestRecord record = target->Run({.prompt = std::vector<int32_t>{1, 2, 3, 4}, .output_tokens = 3});
  EXPECT_OK(record.status);
  EXPECT_EQ(record.prompt_tokens, 4);
  EXPECT_EQ(record.cached_tokens, 2);
  EXPECT_EQ(record.output_tokens, 3);
  EXPECT_EQ(record.gaps.size(), 2);  // the message that only says why it ended is none
  EXPECT_GE(record.last_seconds, record.first_seconds);
  const auto body = nlohmann::json::parse(server.bodies().at(0));
  EXPECT_EQ(body["prompt"], nlohmann::json({1, 2, 3, 4}));
  EXPECT_EQ(body["max_tokens"], 3);
  EXPECT_EQ(body["model"], "m");
  EXPECT_EQ(body["stream"], true);
  EXPECT_EQ(body["ignore_eos"], true);
}

// curl counts milliseconds, of which 0 are no limit.
TEST(OpenAiTargetTest, AnyTimeoutEndsAnAnswer) {
  const std::string long_answer(1 << 20, '\n');
  FakeHttpServer server(std::string(kOk) + long_answer);
  for (const double seconds : {1e-9, 0.0004}) {
    const auto target = MakeOpenAiTarget({.server = server.address()}, {.timeout_seconds = seconds});
    EXPECT_THAT(target->Run({.prompt = "x", .output_tokens = 1}).status,
                StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("--timeout")))
        << seconds;
  }
  for (const double seconds : {1e12, 1e300}) {
    FakeHttpServer quick(std::string(kOk) + "data: {\"choices\":[{\"text\":\"Hel\"}]}\n\n");
    const auto target = MakeOpenAiTarget({.server = quick.address()}, {.timeout_seconds = seconds});
    EXPECT_OK(target->Run({.prompt = "x", .output_tokens = 1}).status) << seconds;
  }
}

TEST(OpenAiTargetTest, WithoutUsageMessagesAreCounted) {
  FakeHttpServer server(std::string(kOk) +
                        "data: {\"choices\":[{\"text\":\"a\"}]}\n\n"
                        "data: {\"choices\":[{\"text\":\"b\",\"finish_reason\":\"length\"}]}\n\n");
  const RequestRecord record = MakeOpenAiTarget({.server = "http://" + server.address()}, {})
                                   ->Run({.prompt = "hi", .output_tokens = 2});
  EXPECT_OK(record.status);
  EXPECT_EQ(record.output_tokens, 2);
  EXPECT_EQ(nlohmann::json::parse(server.bodies().at(0))["prompt"], "hi");
}

absl::Status StatusFor(const std::string& response) {
  FakeHttpServer server(response);
  return MakeOpenAiTarget({.server = server.address()}, {})->Run({.prompt = "hi", .output_tokens = 2}).status;
}

TEST(OpenAiTargetTest, FailuresAreFailures) {
  EXPECT_THAT(StatusFor("HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\nno slot"),
              StatusIs(absl::StatusCode::kInternal, "HTTP 503: no slot"));
  EXPECT_THAT(StatusFor(kOk), StatusIs(absl::StatusCode::kInternal, HasSubstr("no tokens")));
  for (const char* event :
       {"data: [\n\n", "data: {\"error\":{\"message\":\"full\"}}\n\n", "data: {\"choices\":3}\n\n",
        "data: {\"choices\":[3],\"usage\":{\"prompt_tokens\":\"x\"}}\n\n"})
    EXPECT_THAT(StatusFor(std::string(kOk) + event), StatusIs(absl::StatusCode::kInternal, _)) << event;
  EXPECT_THAT(
      MakeOpenAiTarget({.server = "127.0.0.1:1"}, {})->Run({.prompt = "hi", .output_tokens = 2}).status,
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot connect to")));
}

TEST(OpenAiTargetTest, AProxyIsUsedExceptToThisMachineAndNamedInErrors) {
  FakeHttpServer proxy(std::string(kOk) + "data: {\"choices\":[{\"text\":\"a\"}]}\n\n");
  const WorkItem item{.prompt = "hi", .output_tokens = 1};
  setenv("http_proxy", proxy.address().c_str(), /*overwrite=*/1);
  EXPECT_OK(MakeOpenAiTarget({.server = "model.example:80"}, {})->Run(item).status);
  EXPECT_EQ(proxy.bodies().size(), 1);
  EXPECT_THAT(MakeOpenAiTarget({.server = "127.0.0.1:1"}, {})->Run(item).status,
              StatusIs(absl::StatusCode::kUnavailable, Not(HasSubstr("proxy"))));
  setenv("http_proxy", "http://user:secret@127.0.0.1:1", /*overwrite=*/1);
  EXPECT_THAT(
      MakeOpenAiTarget({.server = "model.example:80"}, {})->Run(item).status,
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr("model.example:80/v1/completions through the proxy 127.0.0.1:1 (http_proxy)"),
                     Not(HasSubstr("secret")))));
  unsetenv("http_proxy");
}

TEST(OpenAiTargetTest, CountsBeyondTheTypeAndDeepErrorsDoNoHarm) {
  FakeHttpServer server(std::string(kOk) +
                        "data: {\"choices\":[{\"text\":\"a\"}],\"usage\":{\"prompt_tokens\":99999999999,"
                        "\"completion_tokens\":-1}}\n\n");
  const RequestRecord record =
      MakeOpenAiTarget({.server = server.address()}, {})->Run({.prompt = "hi", .output_tokens = 1});
  EXPECT_OK(record.status);
  EXPECT_EQ(record.prompt_tokens, INT32_MAX);
  EXPECT_EQ(record.output_tokens, 1);
  constexpr int kDepth = 1'000'000;
  EXPECT_THAT(StatusFor(std::string(kOk) + "data: {\"error\":" + std::string(kDepth, '[') +
                        std::string(kDepth, ']') + "}\n\n"),
              StatusIs(absl::StatusCode::kInternal, _));
}

}  // namespace
}  // namespace ropeway::client
