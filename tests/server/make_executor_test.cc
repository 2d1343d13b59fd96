#include "server/make_executor.h"

#include <string>

#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

class MakeExecutorTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(WriteTinyModel("qwen3", folder_.path())); }
  void TearDown() override { cuda::emulation::DeviceOptions() = {}; }

  absl::StatusOr<server::MadeExecutor> Make(server::Config config,
                                            const server::CudaBackendOpener& open_backend) const {
    config.kv_cache_mb = 1;
    config.threads = 1;
    absl::StatusOr<OpenedModel> model = OpenModel(folder_.path());
    if (!model.ok()) return model.status();
    return server::MakeExecutor(config, *std::move(model), open_backend);
  }

  const TempFolder folder_;
  const server::CudaBackendOpener emulated_ = [] {
    return &cuda::emulation::EmulatedBackend(cuda::emulation::HostKernels());
  };
  const server::CudaBackendOpener none_ = [] {
    return absl::UnavailableError("there is no CUDA driver: none");
  };
};

TEST_F(MakeExecutorTest, TakesTheGpuThatIsThere) {
  for (const char* device : {"auto", "cuda"}) {
    ASSERT_OK_AND_ASSIGN(const server::MadeExecutor made,
                         Make({.device = device, .dtype = "f32"}, emulated_));
    EXPECT_THAT(made.kernels, MatchesRegex("cuda: .*, f32"));
    EXPECT_EQ(made.warning, "");
    EXPECT_EQ(made.num_threads, 1);
  }
}

TEST_F(MakeExecutorTest, SharesTheModelAmongGpus) {
  ASSERT_OK_AND_ASSIGN(const server::MadeExecutor made,
                       Make({.device = "cuda", .tensor_parallel = 2, .dtype = "f32"}, emulated_));
  EXPECT_THAT(made.kernels, MatchesRegex("cuda: 2 x .*, f32"));
  EXPECT_EQ(made.num_threads, 2);
}

TEST_F(MakeExecutorTest, GoesOnWithTheCpuAndSaysWhy) {
  ASSERT_OK_AND_ASSIGN(const server::MadeExecutor made, Make({.device = "auto"}, none_));
  EXPECT_EQ(made.warning, "there is no CUDA driver: none");
  EXPECT_THAT(made.kernels, Not(HasSubstr("cuda")));
}

TEST_F(MakeExecutorTest, AModelThatNoGpuTakesRunsOnTheCpu) {
  cuda::emulation::DeviceOptions().memory_bytes = 1 << 16;
  ASSERT_OK_AND_ASSIGN(const server::MadeExecutor made, Make({.device = "auto", .dtype = "f32"}, emulated_));
  EXPECT_THAT(made.warning, HasSubstr("65536 that are free"));
}

TEST_F(MakeExecutorTest, DoesNotLookForGpusWhereTheCpuIsWanted) {
  bool looked = false;
  const server::CudaBackendOpener open = [&]() -> absl::StatusOr<const cuda::Backend*> {
    looked = true;
    return absl::UnavailableError("none");
  };
  ASSERT_OK_AND_ASSIGN(const server::MadeExecutor made, Make({.device = "cpu"}, open));
  EXPECT_FALSE(looked);
  EXPECT_EQ(made.warning, "");
}

TEST_F(MakeExecutorTest, RefusesWhereTheGpuIsWantedAndNotThere) {
  EXPECT_THAT(Make({.device = "cuda"}, none_).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--device=cuda: there is no CUDA driver")));
  EXPECT_THAT(Make({.device = "auto", .kv_type = "fp8"}, none_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("without a GPU, is \"fp8\"")));
}

}  // namespace
}  // namespace ropeway::testing
