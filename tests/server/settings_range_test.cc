// Every least and most value of every setting: the server serves with it, or refuses it in one line that
// names the setting.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "server/config/setting.h"
#include "server/make_executor.h"
#include "server/server.h"
#include "tests/testing/byte_tokenizer.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::ByteTokenizer;
using ::ropeway::testing::TempFolder;
using ::testing::AnyOf;
using ::testing::HasSubstr;

// A tiny model with a text side of bytes.
absl::StatusOr<ModelBundle> LoadTiny(const Config& config, const LoadProgress& progress) {
  ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(config.model));
  ModelBundle bundle;
  bundle.served.tokenizer = std::make_unique<ByteTokenizer>(opened.spec.vocab_size);
  bundle.served.end_token_ids = EndTokenIds(*bundle.served.tokenizer);
  ASSIGN_OR_RETURN(MadeExecutor made, MakeExecutor(config, std::move(opened), progress, [] {
                     return absl::UnavailableError("there is no CUDA driver");
                   }));
  bundle.device = made.device;
  bundle.executor = std::move(made.executor);
  return bundle;
}

std::unique_ptr<v1::Ropeway::Stub> StubOf(int port) {
  return v1::Ropeway::NewStub(
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
}

// Asks for two tokens of each sample.
grpc::Status Ask(int port, int32_t samples = 1) {
  v1::GenerateRequest request;
  request.mutable_tokens()->add_ids(65);
  request.mutable_stopping()->set_max_tokens(2);
  request.mutable_output()->set_num_samples(samples);
  grpc::ClientContext call;
  v1::GenerateResponse response;
  return StubOf(port)->GenerateUnary(&call, request, &response);
}

int32_t MaxSamplesTold(int port) {
  grpc::ClientContext call;
  v1::GetServerInfoResponse response;
  EXPECT_TRUE(StubOf(port)->GetServerInfo(&call, {}, &response).ok());
  return response.limits().max_samples();
}

class SettingsRangeTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(ropeway::testing::WriteTinyModel("qwen3", folder_.path())); }

  Config TinyConfig() const {
    Config config;
    config.model = folder_.path();
    config.listen = "127.0.0.1:0";
    config.metrics_listen = "127.0.0.1:0";
    config.device = Device::kCpu;
    config.threads = 1;
    config.kv_cache_mb = 1;
    return config;
  }

  const TempFolder folder_;
  const Log log_{LogLevel::kError};
};

TEST_F(SettingsRangeTest, TheServerServesOrRefusesInOneLine) {
  int served = 0, refused = 0;
  for (const Setting& setting : Settings()) {
    for (const std::string& value : setting.extremes) {
      SCOPED_TRACE(absl::StrCat("--", setting.name, "=", value));
      Config config = TinyConfig();
      ASSERT_OK(setting.set("it", value, config));
      absl::Status status = config.Validate();
      std::unique_ptr<Server> server;
      if (status.ok()) {
        absl::StatusOr<std::unique_ptr<Server>> started = Server::Start(config, log_, LoadTiny);
        status = started.status();
        if (started.ok()) server = *std::move(started);
      }
      if (server == nullptr) {
        ++refused;
        EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(setting.name)));
        EXPECT_FALSE(absl::StrContains(status.message(), '\n')) << status;
        continue;
      }
      ++served;
      const grpc::Status answer = Ask(server->port());
      // Budgets and lengths of nearly nothing refuse every request, and say so.
      EXPECT_THAT(answer.error_code(), AnyOf(grpc::StatusCode::OK, grpc::StatusCode::INVALID_ARGUMENT))
          << answer.error_message();
      EXPECT_TRUE(answer.ok() || absl::StrContains(answer.error_message(), "must be"))
          << answer.error_message();
    }
  }
  EXPECT_GT(served, 50);
  EXPECT_GT(refused, 4);
}

// Samples run together, so that fewer places or smaller steps allow fewer of them.
TEST_F(SettingsRangeTest, AsManySamplesAreTakenAsAreTold) {
  const struct {
    int32_t max_running, max_tokens_per_step, max_samples, told;
  } cases[] = {{1, 256, 16, 1}, {5, 256, 16, 5}, {64, 1, 16, 1}, {64, 9, 16, 4}, {64, 256, 16, 16}};
  for (const auto& test : cases) {
    Config config = TinyConfig();
    config.max_running = test.max_running;
    config.max_tokens_per_step = test.max_tokens_per_step;
    config.request.max_samples = test.max_samples;
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Server> server, Server::Start(config, log_, LoadTiny));
    EXPECT_TRUE(Ask(server->port(), test.told).ok());
    EXPECT_EQ(MaxSamplesTold(server->port()), test.told);
    const grpc::Status refused = Ask(server->port(), test.told + 1);
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(refused.error_message(),
              absl::StrCat("output.num_samples must be in [1, ", test.told, "], is ", test.told + 1));
  }
}

}  // namespace
}  // namespace ropeway::server
