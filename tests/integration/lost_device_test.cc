// What clients see of a server whose device fails: the real model's text side, one of its layers on the
// emulated CUDA runtime.
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "client/ropeway_client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/engine/exec/executor_devices.h"
#include "tests/integration/model_server.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<server::ModelBundle> LoadOnEmulatedDevice(const server::Config& config,
                                                         const LoadProgress& progress) {
  absl::StatusOr<server::ModelBundle> bundle = server::LoadModel(config, progress);
  if (!bundle.ok()) return bundle;
  absl::StatusOr<std::unique_ptr<Executor>> executor =
      OpenOn(config.model, {.kind = DeviceKind::kHostKernels, .num_layers = 1});
  if (!executor.ok()) return executor.status();
  bundle->executor = *std::move(executor);
  return bundle;
}

class LostDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server::Config config = SmallConfig();
    config.device = server::Device::kCpu;
    ASSERT_OK_AND_ASSIGN(server_, server::Server::Start(config, log_, LoadOnEmulatedDevice,
                                                        {.on_lost = [this] { lost_.Notify(); }}));
    client_ = client::Client::Create(
        {.server = absl::StrCat("127.0.0.1:", server_->port()), .retry = {.max_attempts = 1}});
  }

  absl::Status Ask() {
    return client_
        ->Generate({.prompt = client::TextPrompt{.text = "Once"},
                    .sampling = {.temperature = 0.f},
                    .stopping = {.max_tokens = 4, .ignore_eos = true}})
        .status;
  }

  const server::Log log_{server::LogLevel::kError};
  absl::Notification lost_;
  std::unique_ptr<server::Server> server_;
  std::unique_ptr<client::Client> client_;
};

TEST_F(LostDeviceTest, AnErrorThatPassesFailsItsRequestOnly) {
  EXPECT_OK(Ask());
  cuda::emulation::LastDevice()->InjectError(cuda::emulation::kOutOfMemory, 5);
  EXPECT_THAT(Ask(), StatusIs(absl::StatusCode::kInternal, HasSubstr("cudaErrorMemoryAllocation")));
  EXPECT_OK(Ask());
  EXPECT_FALSE(lost_.HasBeenNotified());
}

TEST_F(LostDeviceTest, ALostDeviceEndsService) {
  EXPECT_OK(Ask());
  cuda::emulation::LastDevice()->InjectError(cuda::emulation::kKernelFailed, 5);
  EXPECT_THAT(Ask(), StatusIs(absl::StatusCode::kInternal, HasSubstr("injected")));
  ASSERT_TRUE(lost_.WaitForNotificationWithTimeout(kPatience));
  EXPECT_THAT(Ask(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("draining")));
  ASSERT_OK_AND_ASSIGN(const client::ServerInfo info, client_->GetServerInfo());
  EXPECT_EQ(info.state, "draining");
  server_->Drain(absl::ZeroDuration());
}

}  // namespace
}  // namespace ropeway::testing
