#include <atomic>

#include "client/cli/exit_code.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_http_server.h"
#include "tests/client/fake_server.h"
#include "tests/client/run_command.h"

namespace ropeway::client {
namespace {

using ::testing::HasSubstr;

class BenchCommandTest : public ::testing::Test {
 protected:
  BenchCommandTest() {
    server_.get_model_info = [](const v1::GetModelInfoRequest&, v1::GetModelInfoResponse& response) {
      response.set_vocab_size(50);
      response.set_name("small");
      return grpc::Status::OK;
    };
    server_.generate = [this](grpc::ServerContext&, const v1::GenerateRequest& request,
                              FakeServer::Writer& writer) {
      ++calls_;
      for (const int32_t id : request.tokens().ids()) wrong_ids_ += id < 0 || id >= 50;
      if (!request.stopping().ignore_eos()) ++without_ignore_eos_;
      for (int i = 0; i < request.stopping().max_tokens(); ++i) {
        v1::GenerateChunk chunk = Chunk("x", 1);
        if (i + 1 == request.stopping().max_tokens()) {
          chunk.mutable_usage()->set_prompt_tokens(request.tokens().ids_size());
          chunk.mutable_usage()->set_completion_tokens(i + 1);
          chunk.mutable_receipt()->set_cached_tokens(2);
        }
        writer.Write(chunk);
      }
      return grpc::Status::OK;
    };
  }

  FakeServer server_;
  std::atomic<int> calls_ = 0, wrong_ids_ = 0, without_ignore_eos_ = 0;
};

TEST_F(BenchCommandTest, RandomPrompts) {
  const CommandResult result =
      RunCommand({"bench", "--server", server_.address(), "--requests", "10", "--prompt_tokens", "6",
                  "--output_tokens", "4", "--concurrency", "3", "--warmup_requests", "2", "--json"});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["completed"], 10);
  EXPECT_EQ(json["model_id"], "small");
  EXPECT_EQ(json["total_input_tokens"], 60);
  EXPECT_EQ(json["total_cached_tokens"], 20);
  EXPECT_EQ(json["total_output_tokens"], 40);
  EXPECT_GT(json["output_throughput"], 0);
  EXPECT_LE(json["max_concurrent_requests"], 3);
  EXPECT_EQ(calls_, 12);
  EXPECT_EQ(wrong_ids_, 0);
  EXPECT_EQ(without_ignore_eos_, 0);
}

TEST_F(BenchCommandTest, PromptsFromAFileAsATable) {
  const CommandResult result =
      RunCommand({"bench", "--server", server_.address(), "--prompts_file", "-", "--output_tokens", "2",
                  "--warmup_requests", "0", "--stop_at_eos", "--request_rate", "1000"},
                 "one\ntwo\nthree\n");
  ASSERT_EQ(result.code, kExitOk) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Requests completed                        3"));
  EXPECT_THAT(result.out, HasSubstr("Time to first token"));
  EXPECT_EQ(without_ignore_eos_, 3);
}

TEST_F(BenchCommandTest, RefusalsAreCountedAndToldByTheExitCode) {
  server_.generate = [this](grpc::ServerContext&, const v1::GenerateRequest&, FakeServer::Writer&) {
    ++calls_;
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "full");
  };
  const CommandResult result = RunCommand(
      {"bench", "--server", server_.address(), "--requests", "3", "--warmup_requests", "0", "--json"});
  EXPECT_EQ(result.code, kExitError);
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["failed"], 3);
  EXPECT_EQ(json["errors_by_status"]["RESOURCE_EXHAUSTED"], 3);
  EXPECT_EQ(json["errors"], nlohmann::json({"full"}));
  EXPECT_EQ(calls_, 3);  // no retries
  EXPECT_THAT(result.err, HasSubstr("3 of 3 requests failed"));
}

TEST_F(BenchCommandTest, OpenAiRoute) {
  FakeHttpServer http(
      "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: "
      "[DONE]\n\n");
  const CommandResult result =
      RunCommand({"bench", "--backend", "openai", "--server", http.address(), "--requests", "2",
                  "--vocab_size", "9", "--prompt_tokens", "3", "--json"});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  EXPECT_EQ(nlohmann::json::parse(result.out)["completed"], 2);
}

TEST_F(BenchCommandTest, WrongSettingsAreUsageErrors) {
  for (const std::vector<std::string>& more : {std::vector<std::string>{"--shared_prefix_tokens", "200"},
                                               {"--backend", "openai"},
                                               {"--backend", "carrier_pigeon"},
                                               {"--concurrency", "-1"},
                                               {"--concurrency", "5000"},
                                               {"--prompts_file", "-"}}) {
    std::vector<std::string> arguments = {"bench", "--server", server_.address()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    EXPECT_EQ(RunCommand(arguments).code, kExitUsage) << more[0] << " " << more[1];
  }
  EXPECT_EQ(calls_, 0);
}

}  // namespace
}  // namespace ropeway::client
